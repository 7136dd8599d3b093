// A native addon that does not load: built for a newer processor, or no addon. Whoever starts a
// cluster with it is told what to do, and nothing is made.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { cairn } from "./support.js";

const build = path.resolve("build");
const addon = readFileSync(path.join(build, "native/cairn.node"));
const folder = mkdtempSync(path.join(tmpdir(), "cairn-addon-"));

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** What `cairn up` says with these bytes for its addon. */
async function refusalWith(bytes: Uint8Array): Promise<string> {
  writeFileSync(path.join(folder, "cairn.node"), bytes);
  vi.stubEnv("CAIRN_NATIVE_BUILD", path.relative(build, folder));
  const dir = path.join(folder, "cluster");
  const { code, stderr } = await cairn(dir, "up");
  expect(code).toBe(1);
  expect(existsSync(dir)).toBe(false);
  return stderr;
}

const remedy = `rm -r ${folder} && npm run build`;

describe("an addon that does not load", () => {
  it("says so when it is no addon", async () => {
    const refusal = await refusalWith(Buffer.from("no ELF file"));
    expect(refusal).toContain("the native addon does not load");
    expect(refusal).toContain(remedy);
  });

  const cache = readFileSync(path.join(build, "native/CMakeCache.txt"), "utf8");
  const needsV3 = /^CAIRN_X86_64_V3:BOOL=ON$/m.test(cache);

  it("is marked with what it needs of a processor", () => {
    expect(isaNeeded(addon)).toBe(needsV3 ? 0b100 : undefined);
  });

  it.runIf(needsV3)("says so when it needs more than this processor has", async () => {
    const future = Buffer.from(addon);
    future.writeUInt32LE(1 << 30, placeOfIsaNeeded(future));
    const refusal = await refusalWith(future);
    expect(refusal).toContain("CPU ISA level is lower than required");
    expect(refusal).toContain(remedy);
  });
});

/** GNU_PROPERTY_X86_ISA_1_NEEDED with its length of 4 (x86-64 psABI, "Program Property"). */
const isaProperty = Buffer.from([0x02, 0x80, 0x00, 0xc0, 4, 0, 0, 0]);

function placeOfIsaNeeded(elf: Buffer): number {
  return elf.indexOf(isaProperty) + isaProperty.length;
}

/** A bit for each level, baseline first; undefined without that property. */
function isaNeeded(elf: Buffer): number | undefined {
  return elf.includes(isaProperty) ? elf.readUInt32LE(placeOfIsaNeeded(elf)) : undefined;
}
