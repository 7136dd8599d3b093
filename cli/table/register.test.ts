// How the words and options of a line reach a verb's action: a small table, parsed.
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { sizeValue } from "../options.js";
import { families } from "../verbs/index.js";
import { verbHelp } from "./help.js";
import { asIs, flag, negated, repeated, required } from "./option-rows.js";
import { registerVerbs, verbFirst } from "./register.js";
import { destImage, image, imageOrSnapshot, maybe, pool, rest, snapshot, word } from "./slots.js";
import { type Slot, verb } from "./verb.js";

/** What an action of a verb with these slots is called with. */
async function called(line: string, ...slots: Slot[]): Promise<unknown[]> {
  let values: unknown[] = [];
  const row = verb({
    name: "go far",
    aliases: ["go away"],
    summary: "Go.",
    slots,
    options: { force: flag("really"), progress: negated("none"), tag: repeated("t", "", asIs) },
    examples: ["cairn go far"],
    load: async () =>
      (async (...given: unknown[]) => {
        values = given;
      }) as never,
  });
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  registerVerbs(program, [row]);
  await program.parseAsync(line.split(" "), { from: "user" });
  return values;
}

const wordsOf = async (line: string, ...slots: Slot[]) =>
  (await called(line, ...slots)).slice(0, slots.length);

const refused = (line: string, ...slots: Slot[]) =>
  called(line, ...slots).then(
    () => undefined,
    (thrown: unknown) => (thrown instanceof StorageError ? thrown.message : String(thrown)),
  );

const place = { pool: "rbd", namespace: "" };

describe("specs", () => {
  it.each([
    ["go far disk1", { ...place, image: "disk1" }],
    ["go far fast/disk1", { pool: "fast", namespace: "", image: "disk1" }],
    ["go far fast/team/disk1", { pool: "fast", namespace: "team", image: "disk1" }],
    ["go far -p fast disk1", { pool: "fast", namespace: "", image: "disk1" }],
    ["go far --image disk1", { ...place, image: "disk1" }],
    [
      "go far --pool fast --namespace team --image a",
      { pool: "fast", namespace: "team", image: "a" },
    ],
    ["go away --pool rbd rbd/disk1", { ...place, image: "disk1" }],
  ])("%s", async (line, spec) => {
    expect((await called(line, image("it")))[0]).toEqual(spec);
  });

  it("of snapshots, and of what is made beside them", async () => {
    const spec = { ...place, image: "a", snap: "s" };
    expect((await called("go far a@s", snapshot("it")))[0]).toEqual(spec);
    expect((await called("go far a --snap s", snapshot("it")))[0]).toEqual(spec);
    expect((await called("go far a", imageOrSnapshot("it")))[0]).toEqual({ ...place, image: "a" });
    const two = [snapshot("it"), destImage("new")];
    expect(await wordsOf("go far a@s fast/b", ...two)).toMatchObject([
      spec,
      { pool: "fast", image: "b" },
    ]);
    expect(
      await wordsOf("go far --image a --snap s --dest b --dest-pool fast", ...two),
    ).toMatchObject([spec, { pool: "fast", image: "b" }]);
    expect(await wordsOf("go far --dest b a@s", ...two)).toMatchObject([spec, { image: "b" }]);
  });

  it.each([
    ["go far", /missing required argument 'pool\/image'/],
    ["go far a b", /too many arguments: 1 expected, 2 given/],
    ["go far a --image b", /too many arguments/],
    ["go far a@s", /it has a snapshot/],
    ["go far a/b/c/d", /not of the form/],
    ["go far /a", /not of the form/],
    ["go far a@", /not of the form/],
    ["go far fast/a --pool rbd", /the pool is given twice: "fast" and --pool rbd/],
    ["go far a%", /no image name/],
    ["go far fast/a%b/c", /no image name/],
  ])("%s is refused", async (line, message) => {
    expect(await refused(line, image("it"))).toMatch(message);
  });

  it("a snapshot has to be named", async () => {
    expect(await refused("go far a", snapshot("it"))).toMatch(/which snapshot of rbd\/a/);
  });
});

describe("other words", () => {
  it("a slot that may be left out leaves words to those behind it", async () => {
    const slots = [maybe(word("n", "", asIs)), word("file", "", asIs)];
    expect(await wordsOf("go far f", ...slots)).toEqual([undefined, "f"]);
    expect(await wordsOf("go far 3 f", ...slots)).toEqual(["3", "f"]);
  });

  it("pools have a default; all that is left goes to a last slot", async () => {
    expect((await called("go far", pool("")))[0]).toEqual(place);
    expect((await called("go far fast/team", pool("")))[0]).toEqual({
      pool: "fast",
      namespace: "team",
    });
    expect((await called("go far a b c", rest("w", "", asIs)))[0]).toEqual(["a", "b", "c"]);
    expect(await refused("go far", rest("w", "", asIs))).toMatch(/missing required argument 'w'/);
  });

  it("options come parsed, also those in front of the verb", async () => {
    expect(await called("go far --tag a --tag b --no-progress --force")).toEqual([
      { tag: ["a", "b"], progress: false, force: true },
    ]);
    expect(verbFirst(["-p", "fast", "--no-progress", "ls", "-l"], families)).toEqual([
      "ls",
      "-l",
      "-p",
      "fast",
      "--no-progress",
    ]);
    expect(verbFirst(["--help"], families)).toEqual(["--help"]);
    expect(verbFirst(["-m", "h:1", "status", "--", "a"], families)).toEqual([
      "status",
      "-m",
      "h:1",
      "--",
      "a",
    ]);
  });
});

it("the help of a verb names its arguments, options, defaults and examples", () => {
  const row = verb({
    name: "go",
    summary: "Go somewhere.",
    slots: [image("where to")],
    options: { size: required("size", "how far", sizeValue, { short: "s" }) },
    examples: ["cairn go rbd/a -s 1G"],
    load: async () => async () => undefined,
  });
  const help = verbHelp(row, [row]);
  for (const part of [
    "Usage: cairn go --size <size> [pool/image] [options]",
    "  pool/image  where to",
    "  -s, --size <size> ",
    "how far (mandatory)",
    "  cairn go rbd/a -s 1G",
    "  0 success, 1 failure, 2 wrong arguments",
  ]) {
    expect(help).toContain(part);
  }
});
