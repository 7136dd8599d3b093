// `cairn crush test` as a user calls it: arguments, formats, errors with their exit codes, and a
// reader that goes away.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { Command, CommanderError } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exitCodeOf } from "../common/errors.js";
import { defaultMap, printCrushMap } from "../crush/index.js";
import { native } from "../native/index.js";
import { testAction } from "./crush.js";
import { registerVerbs } from "./table/register.js";
import { crushTest } from "./verbs/daemons.js";

class Collector extends Writable {
  text = "";
  writeCount = 0;

  constructor(private readonly closesAfter = Number.POSITIVE_INFINITY) {
    super({ highWaterMark: 1024 });
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.writeCount += 1;
    if (this.writeCount > this.closesAfter) {
      done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
      return;
    }
    this.text += chunk.toString();
    setImmediate(done);
  }
}

let folder = "";
let mapPath = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "crush-cli-"));
  mapPath = join(folder, "map.txt");
  const osds = [0, 1, 2, 3].map((id) => ({ id, host: `host${id}`, weight: 1 }));
  writeFileSync(mapPath, printCrushMap(defaultMap(osds)));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function cairn(args: string[], stdout = new Collector()): Promise<Collector> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  const action = testAction({ native, stdout, stderr: new Collector() });
  registerVerbs(program, [{ ...crushTest, load: async () => action as never }]);
  await program.parseAsync(["crush", "test", ...args], { from: "user" });
  return stdout;
}

const range = ["--rule", "0", "--num-rep", "2", "--min-x", "0"];

describe("cairn crush test", () => {
  it("prints crushtool's lines, with MAPFILE before, between and after --weight", async () => {
    const weights = ["--weight", "0", "0", "--weight", "1", "0.5"];
    const first = await cairn([mapPath, ...range, "--max-x", "9", ...weights]);
    expect(first.text).toMatch(/^(CRUSH rule 0 x \d+ \[[1-3],[1-3]\]\n){10}$/);
    for (const args of [
      [...weights, mapPath, ...range, "--max-x", "9"],
      ["--weight", "0", "0", mapPath, "--weight", "1", "0.5", ...range, "--max-x", "9"],
    ])
      expect((await cairn(args)).text).toBe(first.text);
  });

  it("prints JSON", async () => {
    const { text } = await cairn([mapPath, ...range, "--max-x", "1", "--format", "json"]);
    const { mappings } = JSON.parse(text) as { mappings: { x: number; osds: number[] }[] };
    expect(mappings.map((mapping) => [mapping.x, mapping.osds.length])).toEqual([
      [0, 2],
      [1, 2],
    ]);
  });

  it("prints a summary", async () => {
    const args = [mapPath, ...range, "--max-x", "999", "--weight", "3", "0", "--summary"];
    const { text } = await cairn(args);
    expect(text).toContain("osd.3\t0\n");
    expect(text).toContain("1000 mappings, 0 bad");
    const json = JSON.parse((await cairn([...args, "--format", "json"])).text) as {
      osds: { count: number }[];
      meanCount: number;
    };
    expect(json.osds.reduce((sum, osd) => sum + osd.count, 0)).toBe(2000);
    expect(json.meanCount).toBeCloseTo(2000 / 3);
  });

  it("stops quietly when the reader has gone", async () => {
    const stdout = new Collector(2);
    await cairn([mapPath, ...range, "--max-x", "999999"], stdout);
    expect(stdout.writeCount).toBe(3);
  });

  it.each([
    [["--weight", "0"], "a weight from 0 to 1"],
    [["--weight", "0", "x"], "a weight from 0 to 1"],
    [["--weight", "x", "1"], "isn't an OSD number"],
    [["--num-rep", "65"], "--num-rep is 65"],
    [["--min-x", "10"], "--max-x is 9"],
  ])("exit code 2 for %j", async (args, message) => {
    const run = cairn([mapPath, ...range, "--max-x", "9", ...args]);
    const error = await run.catch((thrown: unknown) => thrown);
    expect(String(error)).toContain(message);
    expect(exitCodeOf(error)).toBe(2);
  });

  it("leaves a missing option to the parser", async () => {
    await expect(cairn([mapPath, "--rule", "0"])).rejects.toThrow(CommanderError);
  });

  it("exit code 1 for a missing file, a bad map and a missing rule", async () => {
    const badPath = join(folder, "bad.txt");
    writeFileSync(badPath, "device 0 osd.0\ndevice 0 osd.1\n");
    for (const [path, rule, message] of [
      [join(folder, "none.txt"), "0", "cannot read"],
      [badPath, "0", "bad.txt: line 2: device 0 is defined twice"],
      [mapPath, "5", "no rule 5; it has: 0"],
    ] as const) {
      const args = [path, "--rule", rule, "--num-rep", "2", "--min-x", "0", "--max-x", "1"];
      const error = await cairn(args).catch((thrown: unknown) => thrown);
      expect(String(error)).toContain(message);
      expect(exitCodeOf(error)).toBe(1);
    }
  });
});
