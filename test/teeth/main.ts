// The command: see README.md. Exit code 0 when every planted bug was caught and no hunter cried
// without one; 1 otherwise; 2: usage.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type PlantedBug, plantedBugs } from "./bugs.js";
import { type HunterName, hunt } from "./hunters.js";

const usage = `usage: npm run teeth -- [--seconds N] [--every] [--bug NAME]...
  --seconds N   a hunter's time for one bug (default 120)
  --every       each hunter that a bug names has to catch it, not one of them
  --bug NAME    only these bugs
`;

const root = join(fileURLToPath(import.meta.url), "../../..");
const controlSeconds = 10;
/** Each uses one processor. */
const simulationsAtOnce = 2;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A hunter that finds something where nothing is planted proves nothing. */
async function isQuiet(name: HunterName): Promise<boolean> {
  const { outcome, seconds, tail } = await hunt(root, name, undefined, controlSeconds);
  say(`no bug: ${name} ${outcome} after ${seconds.toFixed(1)} s`);
  if (outcome !== "clean") say(tail);
  return outcome === "clean";
}

/** @returns how many of the hunts came out well */
async function countGood(hunts: (() => Promise<boolean>)[], atOnce: number): Promise<number> {
  const waiting = [...hunts];
  let good = 0;
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (await next()) good += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return good;
}

async function catchBug(bug: PlantedBug, limitSeconds: number, every: boolean): Promise<boolean> {
  let catches = 0;
  for (const name of bug.hunters) {
    const { outcome, seconds, tail } = await hunt(root, name, bug.name, limitSeconds);
    if (outcome === "caught") {
      say(`${bug.name} (${bug.what}): caught by ${name} after ${seconds.toFixed(1)} s`);
      catches += 1;
      if (every) continue;
      return true;
    }
    say(`${bug.name}: ${name} ended ${outcome} after ${seconds.toFixed(1)} s`);
    if (outcome === "broken") say(tail);
  }
  if (catches === bug.hunters.length) return true;
  const by = catches === 0 ? "" : " by all of them";
  say(`${bug.name} (${bug.what}): NOT CAUGHT${by}`);
  return false;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "120" },
      every: { type: "boolean", default: false },
      bug: { type: "string", multiple: true },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const limitSeconds = Number(values.seconds);
  const wanted = values.bug;
  const bugs = plantedBugs.filter(({ name }) => wanted === undefined || wanted.includes(name));
  const known = new Set(plantedBugs.map(({ name }) => name));
  const unknown = wanted?.filter((name) => !known.has(name)) ?? [];
  if (unknown.length > 0 || !(limitSeconds > 0)) {
    process.stderr.write(`teeth: unknown ${unknown.join(", ") || "--seconds"}\n${usage}`);
    return 2;
  }
  const { every } = values;
  const used = bugs.flatMap((bug) => (every ? bug.hunters : bug.hunters.slice(0, 1)));
  // With --every there are chaos and fsx, which want the machine for themselves.
  const atOnce = every ? 1 : simulationsAtOnce;
  const hunters = [...new Set(used)];
  const quiet = await countGood(
    hunters.map((name) => () => isQuiet(name)),
    atOnce,
  );
  const caught = await countGood(
    bugs.map((bug) => () => catchBug(bug, limitSeconds, every)),
    atOnce,
  );
  say(`planted bugs caught ${caught}/${bugs.length}`);
  return quiet === hunters.length && caught === bugs.length ? 0 : 1;
}

process.exitCode = await main();
