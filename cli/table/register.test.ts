// How the words and options of a line reach a verb's action: a small table, parsed.
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { StorageError } from "../../common/errors.js";
import { sizeValue } from "../options.js";
import { families } from "../verbs/index.js";
import { verbHelp } from "./help.js";
import { orImageId, orSnapId } from "./id-slots.js";
import { asIs, flag, negated, repeated, required } from "./option-rows.js";
import { registerVerbs, verbFirst } from "./register.js";
import {
  destImage,
  groupBesideImage,
  image,
  imageBesideGroup,
  imageOrSnapshot,
  maybe,
  pool,
  rest,
  snapshot,
  word,
} from "./slots.js";
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

describe("ids in place of names", () => {
  const byId = () => orImageId(orSnapId(snapshot("it")));
  const id = "00ff";

  it.each([
    [`go far --image-id ${id} --snap s`, { ...place, image: id, imageId: id, snap: "s" }],
    [`go far --image-id ${id} --snap-id 4`, { ...place, image: id, imageId: id, snapId: 4 }],
    ["go far fast/a --snap-id 4", { pool: "fast", namespace: "", image: "a", snapId: 4 }],
    ["go far --image a --snap-id 4", { ...place, image: "a", snapId: 4 }],
    ["go far fast/a@s", { pool: "fast", namespace: "", image: "a", snap: "s" }],
    [
      `go far -p fast --namespace team --image-id ${id} --snap s`,
      { pool: "fast", namespace: "team", image: id, imageId: id, snap: "s" },
    ],
  ])("%s", async (line, spec) => {
    expect((await called(line, byId()))[0]).toEqual(spec);
  });

  it.each([
    [`go far --image-id ${id} --image a --snap s`, /the image is named twice/],
    [`go far --image-id ${id} a --snap s`, /too many arguments/],
    [`go far --image-id ${id}`, /which snapshot of rbd\/00ff/],
    ["go far a@s --snap-id 4", /the snapshot is named twice/],
    ["go far a --snap s --snap-id 4", /the snapshot is named twice/],
    ["go far --snap-id 4", /missing required argument/],
    [`go far --image-id a/b --snap s`, /no image name/],
  ])("%s is refused", async (line, message) => {
    expect(await refused(line, byId())).toMatch(message);
  });

  it("a group's member is in the pool of the group, or its own", async () => {
    const slots = [groupBesideImage("it"), orImageId(imageBesideGroup("it"))];
    const line = `go far fast/g --pool fast --image-id ${id}`;
    const member = { namespace: "", image: id, imageId: id };
    expect((await called(line, ...slots))[1]).toEqual({ ...member, pool: "fast" });
    const other = `go far fast/g --image-pool rbd --image-id ${id}`;
    expect((await called(other, ...slots))[1]).toEqual({ ...member, pool: "rbd" });
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
