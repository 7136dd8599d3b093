// The command line of `npm run sim`.
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { type FaultKind, faultKinds, type Mode } from "./faults.js";

/** So many seeds, from 1 on, are the default; every mark must be reached over them. */
export const defaultSeeds = 150;

export const help = `usage: npm run sim -- [options]
  --seeds N         so many seeds (default ${defaultSeeds})
  --from S          the first of them (default 1)
  --fresh           the first of them at random
  --seed S          this seed alone; its trace goes to build/sim/seed-S.trace
  --seconds N       ends at the first finding, or before the first seed behind so many seconds
  --mode MODE       safety or liveness (default: drawn from the seed)
  --drift PPM       the most that clocks drift, in parts in a million (default: drawn)
  --faults A,B      only these faults: ${faultKinds.join(", ")}
`;

export interface Arguments {
  seeds: bigint[];
  /** one seed, replayed with its trace in a file */
  replay: boolean;
  /** marks that were not reached are findings */
  needsAllMarks: boolean;
  seconds: number | undefined;
  mode: Mode | undefined;
  /** at most, in parts in a million */
  driftPpm: number | undefined;
  faults: FaultKind[] | undefined;
}

/** @throws Error that says what is wrong */
export function argumentsOf(argv: readonly string[]): Arguments | "help" {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      help: { type: "boolean", default: false },
      seeds: { type: "string" },
      seed: { type: "string" },
      from: { type: "string" },
      fresh: { type: "boolean", default: false },
      seconds: { type: "string" },
      mode: { type: "string" },
      drift: { type: "string" },
      faults: { type: "string" },
    },
  });
  if (values.help) return "help";
  const count = Number(wholeNumber("--seeds", values.seeds) ?? defaultSeeds);
  const first = values.fresh ? freshSeed() : (wholeNumber("--from", values.from) ?? 1n);
  const only = wholeNumber("--seed", values.seed);
  const seconds = wholeNumber("--seconds", values.seconds);
  const drift = wholeNumber("--drift", values.drift);
  const { mode, faults, seed } = values;
  const isPlain = [mode, faults, seed, seconds, drift].every((value) => value === undefined);
  return {
    seeds:
      only === undefined
        ? Array.from({ length: count }, (_, index) => first + BigInt(index))
        : [only],
    replay: only !== undefined,
    needsAllMarks: isPlain && count >= defaultSeeds,
    seconds: seconds === undefined ? undefined : Number(seconds),
    mode: modeOf(mode),
    driftPpm: drift === undefined ? undefined : Number(drift),
    faults: faults?.split(",").map(faultOf),
  };
}

/** A seed that nobody has run before; the caller prints it. */
export function freshSeed(): bigint {
  return BigInt(randomBytes(5).readUIntBE(0, 5));
}

function wholeNumber(name: string, text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,19}$/.test(text)) throw new Error(`${name} takes a whole number, not "${text}"`);
  return BigInt(text);
}

function modeOf(text: string | undefined): Mode | undefined {
  if (text === undefined || text === "safety" || text === "liveness") return text;
  throw new Error(`--mode is safety or liveness, not "${text}"`);
}

function faultOf(text: string): FaultKind {
  const found = faultKinds.find((kind) => kind === text);
  if (found === undefined) throw new Error(`there is no fault "${text}": ${faultKinds.join(", ")}`);
  return found;
}
