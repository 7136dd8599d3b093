// What a terminal shows of work that takes long.
import { afterEach, expect, it, vi } from "vitest";
import { startProgress } from "./progress.js";

const wasTty = process.stderr.isTTY;

afterEach(() => {
  process.stderr.isTTY = wasTty;
  vi.restoreAllMocks();
});

it("shows what is done and the whole in the same units", () => {
  let shown = "";
  vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    shown += String(chunk);
    return true;
  });
  process.stderr.isTTY = true;
  const report = startProgress("importing rbd/a", true);
  report.update(16 * 2 ** 20, 64 * 2 ** 20);
  report.end();
  expect(shown).toContain("25% 16 MiB of 64 MiB");
});
