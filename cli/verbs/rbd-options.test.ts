// Every option that `rbd help VERB` names is an option of the same verb here, but for those that
// are listed in left-out.ts with the reason. test/golden/rbd has what rbd says.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { families } from "./index.js";
import { leftOut } from "./left-out.js";

interface RbdVerb {
  words: string[];
  options: string[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../test/golden/rbd/help.json", import.meta.url), "utf8"),
) as Record<string, RbdVerb>;

const all = families.flatMap(({ verbs }) => verbs);
const dashed = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function verbOf(name: string) {
  return all.find((verb) => verb.name === name || verb.aliases.includes(name));
}

function optionsOf(name: string): string[] {
  return Object.entries(verbOf(name)?.options ?? {}).map(
    ([key, { kind }]) => `--${kind === "negated" ? "no-" : ""}${dashed(key)}`,
  );
}

describe("the verbs of rbd help", () => {
  it.each(Object.entries(golden))("%s has rbd's options", (name, { options }) => {
    const own = optionsOf(name);
    const missing = options.filter(
      (option) => !own.includes(option) && leftOut[option] === undefined,
    );
    expect(missing).toEqual([]);
  });

  it.each(Object.entries(golden))("%s takes rbd's words, in number", (name, { words }) => {
    const slots = verbOf(name)?.slots ?? [];
    expect(slots.length).toBeGreaterThanOrEqual(words.length);
    // What comes beyond rbd's words may be left out.
    expect(slots.slice(words.length).every((slot) => slot.optional)).toBe(true);
  });

  it("lists no difference that there is not", () => {
    const used = new Set(Object.values(golden).flatMap(({ options }) => options));
    const own = new Set(Object.keys(golden).flatMap(optionsOf));
    const stale = Object.keys(leftOut).filter((option) => !used.has(option) || own.has(option));
    expect(stale).toEqual([]);
  });
});
