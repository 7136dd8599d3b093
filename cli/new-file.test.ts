// Exports to files that are killed: no half of one gets the name, and nothing stays behind.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { toNewFile } from "./new-file.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "cairn-new-file-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const victim = `
  import { toNewFile } from ${JSON.stringify(new URL("./new-file.ts", import.meta.url).pathname)};
  await toNewFile(process.argv[2], async (output) => {
    await output.write("half");
    process.stdout.write("half");
    await new Promise((resolve) => setTimeout(resolve, 600_000));
  });
`;

it("that is killed has no name, and its bytes go with the next one", async () => {
  const script = path.join(folder, "victim.mts");
  writeFileSync(script, victim);
  const file = path.join(folder, "a.diff");
  const child = spawn(process.execPath, ["--import", "tsx", script, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  // One that is at work is left alone.
  await toNewFile(path.join(folder, "b.diff"), async (output) => void (await output.write("b")));
  const partial = `.a.diff.${hostname()}.${child.pid}.cairn-export`;
  expect(readdirSync(folder).sort()).toEqual([partial, "b.diff", "victim.mts"].sort());
  await expect(
    toNewFile(file, async () => {
      throw new Error("no more");
    }),
  ).rejects.toThrow();
  expect(readdirSync(folder)).toContain(partial);
  child.kill("SIGKILL");
  await new Promise((resolve) => child.once("exit", resolve));
  expect(readdirSync(folder)).not.toContain("a.diff");
  await toNewFile(file, async (output) => void (await output.write("whole")));
  expect(readFileSync(file, "utf8")).toBe("whole");
  expect(readdirSync(folder).sort()).toEqual(["a.diff", "b.diff", "victim.mts"]);
  await expect(toNewFile(file, async () => undefined)).rejects.toMatchObject({
    code: "already_exists",
  });
}, 30_000);

it("that finds no room says what to do", async () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), {
    code: "ENOSPC",
  });
  const filled = toNewFile(path.join(folder, "a.diff"), () => Promise.reject(full));
  await expect(filled).rejects.toMatchObject({
    code: "no_space",
    remedy: expect.stringContaining("Make room"),
  });
});
