// What follows where on a command line, with names that a cluster would give.
import { describe, expect, it } from "vitest";
import type { ImageKey } from "../../client/image/keys.js";
import { usableFamilies as families } from "../verbs/index.js";
import { complete, type NameSource } from "./completion.js";

const asked: string[] = [];

const isTrashed = (image: ImageKey) => typeof image !== "string" && image.id === "00ff";

const names: NameSource = {
  pools: async () => ["rbd", "fast"],
  images: async (pool, namespace) => {
    asked.push(`${pool}/${namespace}`);
    return namespace === "team" ? ["vm9"] : ["disk1", "disk2"];
  },
  snapshots: async (pool, namespace, image) =>
    pool === "rbd" && namespace === "" && (image === "disk1" || isTrashed(image))
      ? ["monday", "tuesday"]
      : [],
  snapshotIds: async (_pool, _namespace, image) =>
    image === "disk1" || isTrashed(image) ? ["3", "14"] : [],
  groups: async () => ["web"],
  namespaces: async (pool) => (pool === "rbd" ? ["team"] : []),
  trash: async (_pool, namespace) => (namespace === "team" ? ["00aa"] : ["00ff"]),
  osds: async () => ["0", "1"],
};

const following = async (line: string) => (await complete(families, line.split(" "), names)).words;

describe("complete", () => {
  it("completes verbs, also nested ones and behind help", async () => {
    expect(await following("res")).toEqual(["resize"]);
    expect(await following("lock ")).toEqual(["add", "ls", "rm"]);
    expect(await following("osd block")).toEqual(["blocklist"]);
    expect(await following("osd blocklist ")).toEqual(["add", "ls", "rm"]);
    expect(await following("help lock r")).toEqual(["rm"]);
    expect(await following("hel")).toEqual(["help"]);
    expect(await following("nonsense ")).toEqual([]);
  });

  it("completes options and their values", async () => {
    expect(await following("resize rbd/disk1 --al")).toEqual(["--allow-shrink"]);
    expect(await following("resize --no-p")).toEqual(["--no-progress"]);
    expect(await following("bench --io-type ")).toEqual(["read", "write", "rw", "readwrite"]);
    expect(await following("ls --format=j")).toEqual(["--format=json"]);
    expect(await following("ls -p ")).toEqual(["rbd", "fast"]);
    expect(await following("resize --size ")).toEqual([]);
  });

  it("completes pools, then images and namespaces", async () => {
    expect(await following("info ")).toEqual(["rbd/", "fast/"]);
    expect(await following("info f")).toEqual(["fast/"]);
    expect(await following("info rbd/")).toEqual(["rbd/disk1", "rbd/disk2", "rbd/team/"]);
    expect(await following("info rbd/team/")).toEqual(["rbd/team/vm9"]);
    expect(await following("osd out ")).toEqual(["0", "1"]);
    expect(await following("osd set nos")).toEqual(["noscrub", "nosnaptrim"]);
  });

  it("completes snapshots, groups and what is in the trash", async () => {
    expect(await following("snap rm rbd/disk1@")).toEqual([
      "rbd/disk1@monday",
      "rbd/disk1@tuesday",
    ]);
    expect(await following("info disk1@mon")).toEqual(["disk1@monday"]);
    expect(await following("snap rm rbd/")).toEqual(["rbd/disk1@", "rbd/disk2@", "rbd/team/"]);
    expect(await following("clone rbd/disk1@monday fast/d")).toEqual(["fast/disk1", "fast/disk2"]);
    expect(await following("group snap ls rbd/")).toEqual(["rbd/web", "rbd/team/"]);
    expect(await following("trash restore rbd/")).toEqual(["rbd/00ff", "rbd/team/"]);
    expect(await following("config image s")).toEqual(["set"]);
  });

  it("completes a name in the default pool once it has begun", async () => {
    expect(await following("info di")).toEqual(["disk1", "disk2"]);
    expect(await following("snap rm di")).toEqual(["disk1@", "disk2@"]);
  });

  it("completes names that options say in parts", async () => {
    expect(await following("info --image d")).toEqual(["disk1", "disk2"]);
    expect(await following("info -p rbd --namespace team --image ")).toEqual(["vm9"]);
    expect(await following("snap rm --image disk1 --snap ")).toEqual(["monday", "tuesday"]);
    expect(await following("diff rbd/disk1 --from-snap m")).toEqual(["monday"]);
    expect(await following("diff rbd/disk1 --from-snap=m")).toEqual(["--from-snap=monday"]);
    expect(await following("group info --group ")).toEqual(["web"]);
  });

  it("completes ids in place of names", async () => {
    expect(await following("snap purge --image-id ")).toEqual(["00ff"]);
    expect(await following("info --namespace team --image-id ")).toEqual(["00aa"]);
    expect(await following("trash rm rbd/team/")).toEqual(["rbd/team/00aa"]);
    expect(await following("snap rm --image-id 00ff --snap m")).toEqual(["monday"]);
    expect(await following("snap rm --image-id 00ff --snap-id ")).toEqual(["3", "14"]);
    expect(await following("children disk1 --snap-id 1")).toEqual(["14"]);
    expect(await following("snap rm --image-i")).toEqual(["--image-id"]);
    expect(await following("group image rm --image-i")).toEqual(["--image-id"]);
    expect(await following("group image add --image-i")).toEqual([]);
  });

  it("completes features", async () => {
    expect(await following("create --image-feature ex")).toEqual(["exclusive-lock"]);
    expect(await following("feature disable rbd/disk1 fast-diff obj")).toEqual(["object-map"]);
  });

  it("completes the word of the right place", async () => {
    const { words, paths } = await complete(families, ["import", ""], names);
    expect({ words, paths }).toEqual({ words: [], paths: "file" });
    expect(await following("import file.raw rbd/disk")).toEqual(["rbd/disk1", "rbd/disk2"]);
    expect(await following("import --no-progress file.raw fa")).toEqual(["fast/"]);
    expect(await following("info rbd/disk1 ")).toEqual([]);
  });

  it("asks for images only when a pool is named", async () => {
    asked.length = 0;
    await following("info --format ");
    await following("info ");
    expect(asked).toEqual([]);
  });
});
