// Every option that `rbd help VERB` names is an option of the same verb here, but for those that
// are listed below with the reason. test/golden/rbd has what rbd says.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { families } from "./index.js";

interface RbdVerb {
  words: string[];
  options: string[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../test/golden/rbd/help.json", import.meta.url), "utf8"),
) as Record<string, RbdVerb>;

const byId = "images are named; one in the trash is restored first";

/** Of every verb that has them in rbd. */
const leftOutEverywhere: Readonly<Record<string, string>> = {
  "--journal-object-size": "there are no journals: docs/ARCHITECTURE.md",
  "--journal-pool": "there are no journals",
  "--journal-splay-width": "there are no journals",
  "--mirror-image-mode": "mirroring is later work",
};

/** By verb and option. */
const leftOut: Readonly<Record<string, string>> = {
  "children --snap-id": "snapshots are named",
  "create --thick-provision": "images are thin: blocks are shared by snapshots and clones",
  "group image remove --image-id": byId,
  "info --image-id": byId,
  "migration commit --force": "a commit that is refused says what is in the way",
  "migration prepare --flatten": "`cairn flatten` does it before or afterwards",
  "migration prepare --snap": "an import has all that its file shows",
  "snap list --image-id": byId,
  "snap purge --image-id": byId,
  "snap remove --image-id": byId,
  "snap remove --snap-id": "snapshots are named",
  "snap unprotect --image-id": byId,
};

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
