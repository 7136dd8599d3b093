// A guest boots from its own boot loader on a replicated volume: `npm start -- --once`, twice. The
// guest counts its boots on its disk, so the second run shows that the first one's writes are
// there.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(join(root, ".e2e-"));

function start(...args: string[]) {
  return spawnSync(
    process.execPath,
    [join(root, "scripts/start.mjs"), "--dir", join(folder, "cluster"), ...args],
    { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 230_000 },
  );
}

describe("npm start", () => {
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("boots the demo guest, and its writes last over a restart of everything", () => {
    for (const boot of [1, 2]) {
      const run = start("--once");
      expect(run.status, `${run.stdout}\n${run.stderr}`).toBe(0);
      expect(run.stdout).toContain(`booted ${boot} times`);
      expect(run.stdout).toContain("GUEST-READY");
    }
  });

  it("refuses wrong arguments with exit code 2 and a missing image with 1", () => {
    expect(start("--nonsense").status).toBe(2);
    const missing = start("--once", "--image", join(folder, "no-such.qcow2"));
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain("no such file");
  });
});
