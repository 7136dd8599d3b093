// A short run of the command on a real cluster: one fixed seed, and a fresh one that it prints.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../../..");

function fsx(...options: string[]): string {
  const tsx = join(root, "node_modules/tsx/dist/cli.mjs");
  const program = join(root, "test/fsx/main.ts");
  const output = execFileSync(process.execPath, [tsx, program, ...options], { encoding: "utf8" });
  process.stdout.write(output.split("\n", 1)[0] ?? "");
  return output;
}

describe("npm run fsx", () => {
  it("finds no difference with a fixed seed and with a fresh one", () => {
    expect(fsx("--ops", "1500", "--seed", "1")).toContain("no difference");
    expect(fsx("--ops", "2500")).toContain("no difference");
  });

  it("refuses what it does not know", () => {
    expect(() => fsx("--ops", "none")).toThrow();
    expect(() => fsx("--seed", "0x1")).toThrow();
  });
});
