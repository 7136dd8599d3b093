// A short budget of the simulation: fixed seeds, a fresh one, and the promise that a seed replays.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { argumentsOf, freshSeed } from "./arguments.js";
import { Coverage, exempt } from "./coverage.js";
import { SeededRandom } from "./random.js";
import { runSeed } from "./run-seed.js";
import { type NativeTime, ProcessClock, VirtualTime } from "./virtual-time.js";

/** These had findings once, with the workload of that time. */
const regressionSeeds = [20n, 125n, 138n];
const fixedSeeds = [2n, 3n, 7n, 10n, 12n, 19n, 21n, 27n, 30n, 33n];

describe("simulated clusters", () => {
  it.each([...regressionSeeds, ...fixedSeeds])("seed %s has no finding", async (seed) => {
    const result = await runSeed({ seed, coverage: new Coverage() });
    expect(result.findings).toEqual([]);
    expect(result.operations).toBeGreaterThan(50);
    expect(result.faults.size).toBeGreaterThan(0);
  });

  it("a seed that nobody has run before has no finding", async () => {
    const seed = freshSeed();
    process.stdout.write(`fresh seed of the simulation: npm run sim -- --seed ${seed}\n`);
    const result = await runSeed({ seed, coverage: new Coverage() });
    expect(result.findings).toEqual([]);
  });

  it("the same seed gives the same trace, another one another", async () => {
    const hashes: string[] = [];
    for (const seed of [12n, 12n, 19n]) {
      const { traceHash, traceLines } = await runSeed({ seed, coverage: new Coverage() });
      expect(traceLines).toBeGreaterThan(100);
      hashes.push(traceHash);
    }
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[2]).not.toBe(hashes[0]);
  });

  it("each mark that the seeds need not reach is counted by the test that is named for it", () => {
    for (const [mark, { test }] of Object.entries(exempt)) {
      const text = readFileSync(test, "utf8");
      // A step of peering has no count of its own: the test is about its first state.
      const [, state] = /^peering (\w+) -> /.exec(mark) ?? [];
      const wanted = state === undefined ? `hits("${mark}")` : `name: "${state}"`;
      const found = text.replaceAll(/(hits_of|probe_hits)\(/g, "hits(").includes(wanted);
      expect(found, `${mark} in ${test}`).toBe(true);
    }
  });

  it("names the marks that were never reached, but not those that need not be", () => {
    const coverage = new Coverage();
    const missing = coverage.neverReached();
    expect(missing).toContain("peering GetInfo -> Down");
    for (const mark of Object.keys(exempt)) expect(missing).not.toContain(mark);
    coverage.pgStep("GetInfo", "info", "Down");
    expect(coverage.neverReached()).not.toContain("peering GetInfo -> Down");
  });

  it("the command says what is wrong with its arguments", () => {
    expect(() => argumentsOf(["--faults", "flood"])).toThrow("there is no fault");
    expect(() => argumentsOf(["--seeds", "few"])).toThrow("whole number");
    expect(() => argumentsOf(["--drift", "a lot"])).toThrow("whole number");
    expect(argumentsOf(["--drift", "47000"])).toMatchObject({ driftPpm: 47_000 });
    const args = argumentsOf(["--seed", "5"]);
    expect(args).toMatchObject({ seeds: [5n], replay: true, needsAllMarks: false });
    const run = spawnSync(process.execPath, [
      "node_modules/tsx/dist/cli.mjs",
      "test/sim/main.ts",
      "--mode",
      "calm",
    ]);
    expect(run.status).toBe(2);
  });
});

/** A native half in which nothing ever happens. */
class EmptyTime implements NativeTime {
  private now = 0;
  nowNs(): number {
    return this.now;
  }
  runUntil(limitNs: number): number {
    this.now = limitNs;
    return limitNs;
  }
}

describe("virtual time", () => {
  it("runs timers by time, then in the order of their making, and promises between", async () => {
    const time = new VirtualTime(new EmptyTime());
    const clock = new ProcessClock(time);
    const order: string[] = [];
    clock.setTimer(5, () => order.push("late"));
    clock.setTimer(1, () => {
      order.push("first");
      void Promise.resolve().then(() => order.push("promise"));
    });
    clock.setTimer(1, () => order.push("second"));
    clock.setTimer(2, () => order.push("cancelled"))();
    expect(await time.run(3)).toBe(false);
    expect(order).toEqual(["first", "promise", "second"]);
    expect(await time.run(10, () => order.length === 4)).toBe(true);
    expect(clock.nowMs()).toBe(5);
  });

  it("a stopped process goes on later, a dead one never", async () => {
    const time = new VirtualTime(new EmptyTime());
    const [stopped, dead] = [new ProcessClock(time), new ProcessClock(time)];
    const order: string[] = [];
    stopped.setTimer(1, () => order.push("a"));
    stopped.setTimer(2, () => order.push("b"));
    dead.setTimer(1, () => order.push("dead"));
    stopped.stop();
    dead.kill();
    await time.run(10);
    expect(order).toEqual([]);
    stopped.resume();
    await time.run(1);
    expect(order).toEqual(["a", "b"]);
  });
});

describe("seeded randomness", () => {
  it("gives the same numbers for a seed, inside their bounds", () => {
    const [a, b] = [new SeededRandom(7n), new SeededRandom(7n)];
    for (let round = 0; round < 100; round += 1) {
      const value = a.between(3, 9);
      expect(b.between(3, 9)).toBe(value);
      expect(value).toBeGreaterThanOrEqual(3);
      expect(value).toBeLessThanOrEqual(9);
    }
    expect(new SeededRandom(8n).uint64()).not.toBe(new SeededRandom(7n).uint64());
    expect(a.uuid()).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });
});
