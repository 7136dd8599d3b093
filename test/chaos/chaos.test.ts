// A short storm of faults over real processes: one with a seed that stays, one with a new one.
import { spawn } from "node:child_process";
import { expect, it } from "vitest";

/** Its faults: powercut, kill, partition, split, clockjump, oneway, bitrot. */
const fixedSeed = 151_053;
const timeoutMs = 220_000;

function chaos(...args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", "test/chaos/main.ts", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return new Promise((resolve) => child.on("exit", (code) => resolve({ code, output })));
}

it.each([
  { what: `the seed ${fixedSeed}`, args: ["--seconds", "18", "--seed", `${fixedSeed}`] },
  { what: "a new seed", args: ["--seconds", "12"] },
])(
  "nothing that was acknowledged is lost under faults, with $what",
  async ({ args }) => {
    const { code, output } = await chaos(...args);
    process.stdout.write(output);
    expect(code, output).toBe(0);
    expect(output).toMatch(/^faults delivered [1-9]/m);
    expect(output).toMatch(/^operations [1-9][0-9]{2}/m);
    expect(output).toContain("violations 0, acked writes lost 0");
    expect(output).toMatch(/^stale-token writes refused [0-9]+, accepted 0$/m);
    expect(output).toMatch(/^bits flipped ([0-9]+), detected \1, repaired \1$/m);
  },
  timeoutMs,
);

it(
  "a one-way partition of an OSD stalls clients for less than 3 s",
  async () => {
    const { code, output } = await chaos("--single", "--faults", "oneway", "--seconds", "12");
    process.stdout.write(output);
    expect(code, output).toBe(0);
    expect(output).toContain("faults delivered 1 of 1: oneway 1");
    const stall = /^longest wait of a client after oneway: .* max ([0-9]+) ms$/m.exec(output);
    expect(Number(stall?.[1])).toBeLessThan(3000);
  },
  timeoutMs,
);

it("refuses what it cannot do, with exit code 2", async () => {
  const { code, output } = await chaos("--faults", "earthquake");
  expect(code).toBe(2);
  expect(output).toContain('there is no fault "earthquake"');
});
