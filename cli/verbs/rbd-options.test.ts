// Every option that `rbd help VERB` names is an option of the same verb here, but for those that
// are listed in left-out.ts with the reason. test/golden/rbd has what rbd says.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { families } from "./index.js";
import { leftOut, leftOutEverywhere, whyLeftOut } from "./left-out.js";

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
      (option) =>
        !own.includes(option) &&
        leftOutEverywhere[option] === undefined &&
        leftOut[`${name} ${option}`] === undefined,
    );
    expect(missing).toEqual([]);
  });

  it.each(Object.entries(golden))("%s takes rbd's words, in number", (name, { words }) => {
    const slots = verbOf(name)?.slots ?? [];
    expect(slots.length).toBeGreaterThanOrEqual(words.length);
    // What comes beyond rbd's words may be left out.
    expect(slots.slice(words.length).every((slot) => slot.optional)).toBe(true);
  });

  it("says why an option is left out, under every name of its verb", () => {
    for (const [key, reason] of Object.entries(leftOut)) {
      const [, name = "", option = ""] = /^(.*) (--.*)$/.exec(key) ?? [];
      const row = verbOf(name);
      const said = [row?.name ?? "", ...(row?.aliases ?? [])].map((verb) =>
        whyLeftOut(verb, option),
      );
      expect(new Set(said)).toEqual(new Set([reason]));
    }
  });

  it("lists no difference that there is not", () => {
    const stale = Object.keys(leftOut).filter((key) => {
      const [, name = "", option = ""] = /^(.*) (--.*)$/.exec(key) ?? [];
      return !golden[name]?.options.includes(option) || optionsOf(name).includes(option);
    });
    expect(stale).toEqual([]);
    const used = new Set(Object.values(golden).flatMap(({ options }) => options));
    expect(Object.keys(leftOutEverywhere).filter((option) => !used.has(option))).toEqual([]);
  });
});
