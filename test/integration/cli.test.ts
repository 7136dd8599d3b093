// The command line on a cluster of real processes, as somebody who knows rbd uses it: main verbs
// with what they print, both forms of a spec, wrong arguments (exit code 2) and failures (1) that
// name the verb that mends them.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterUsage, OsdUsage } from "../../cli/usage.js";
import type { ImageInfo, SnapshotInfo, TrashInfo } from "../../client/index.js";
import type { LogEntry } from "../../proto/commands.js";
import { cairn, cairnJson, program, startCairn } from "./support.js";

const folder = mkdtempSync(path.join(tmpdir(), "cairn-cli-verbs-"));
const dir = path.join(folder, "cluster");
const mebibyte = 2 ** 20;

beforeAll(async () => {
  const { code, stderr } = await cairn(dir, "up", "--osds", "3", "--osd-size", "4G");
  if (code !== 0) throw new Error(stderr);
  await ok("create rbd/disk1 --size 64M");
}, 120_000);

afterAll(async () => {
  await cairn(dir, "down", "--purge");
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

/** Runs a line that has to succeed. @returns what it printed */
async function ok(line: string): Promise<string> {
  const { code, stdout, stderr } = await cairn(dir, ...line.split(" "));
  if (code !== 0) throw new Error(`cairn ${line}: exit code ${code}\n${stderr}`);
  return stdout.trimEnd();
}

const json = <T>(line: string): Promise<T> => cairnJson<T>(dir, ...line.split(" "));

describe("the cluster", () => {
  it("df and osd df say what is used", async () => {
    const usage = await json<ClusterUsage>("df");
    expect(usage.pools.map(({ pool }) => pool)).toEqual(["rbd"]);
    expect(usage.raw.sizeBytes).toBeGreaterThan(2 ** 33);
    const osds = await json<OsdUsage[]>("osd df");
    expect(osds.map(({ id, pgs }) => [id, pgs > 0])).toEqual([
      [0, true],
      [1, true],
      [2, true],
    ]);
    expect(await ok("osd df --format table")).toMatch(/^┌─+┬/);
  });
});

describe("pools", () => {
  it("settings are shown, changed and refused", async () => {
    await ok("pool create small --size 2 --min-size 1 --pg-num 8");
    expect(await ok("pool get small min_size")).toBe("1");
    expect(await ok("pool set small min_size 2")).toMatch(/^min_size of the pool small is 2/);
    expect(await json("pool get small")).toMatchObject({ size: 2, min_size: 2, pg_num: 8 });
    const refused = await cairn(dir, "pool", "set", "small", "size", "17");
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/size is from 1 to 16/),
    });
    expect(await json("pool get small")).toMatchObject({ pgp_num: 8 });
    expect(await cairn(dir, "pool", "set", "small", "pg_num", "4")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/PGs cannot be merged/),
    });
    expect((await cairn(dir, "pool", "get", "none")).code).toBe(1);
    expect(await ok("pool init small")).toMatch(/small is for images/);
    await ok("pool rm small small");
  });

  it("the cluster log says so, and goes on with -w", async () => {
    const { child, line, ended } = await startCairn(dir, "log", "last", "1", "-w");
    expect(line).toMatch(/^20[0-9-]+T[0-9:.]+Z \[(info|warn)\]/);
    const said = new Promise<string>((resolve) => {
      child.stdout?.on("data", (chunk: Buffer) => {
        if (chunk.includes("pool logged")) resolve(chunk.toString());
      });
    });
    await ok("pool create logged --pg-num 8");
    expect(await said).toMatch(/\[info\] {2}pool logged \([0-9]+\) created: size 3, 8 PGs/);
    child.kill("SIGINT");
    expect(await ended).toBe(0);
    const entries = await json<LogEntry[]>("log last 1000");
    const messages = entries.map(({ message }) => message);
    expect(messages).toContain("pool small: minSize is 2, was 1");
    expect(messages).toContainEqual(expect.stringMatching(/^pool small .* removed$/));
    expect(messages).toContain("osd.0 is up");
    await ok("pool rm logged logged");
  });
});

describe("names", () => {
  it("both forms of a spec lead to the same image", async () => {
    const { id } = await json<ImageInfo>("info rbd/disk1");
    for (const form of [
      "info disk1",
      "info -p rbd disk1",
      "info --pool rbd --image disk1",
      "--pool rbd info disk1",
    ]) {
      expect((await json<ImageInfo>(form)).id).toBe(id);
    }
    const twice = await cairn(dir, "info", "rbd/disk1", "--pool", "other");
    expect(twice).toMatchObject({ code: 2, stderr: expect.stringMatching(/pool is given twice/) });
  });

  it("the other names of a verb do the same", async () => {
    expect(await ok("list rbd")).toBe(await ok("ls rbd"));
    // In a pipe: names for scripts to go through.
    const names = (await json<ImageInfo[]>("ls rbd")).map(({ name }) => name);
    expect(names.length).toBeGreaterThan(0);
    expect((await ok("ls rbd")).split("\n")).toEqual(names);
    expect(await ok("ls rbd --format table")).toMatch(/NAME.*SIZE.*CREATED/);
    expect(await ok("lock list disk1")).toBe(await ok("lock ls disk1"));
  });

  it("namespaces keep images apart", async () => {
    await ok("namespace create rbd/team");
    await ok("create rbd/team/disk1 -s 8M");
    expect((await json<ImageInfo[]>("ls rbd/team")).map(({ name }) => name)).toEqual(["disk1"]);
    expect((await json<ImageInfo>("info --namespace team disk1")).sizeBytes).toBe(8 * mebibyte);
    const held = await cairn(dir, "namespace", "rm", "rbd/team");
    expect(held.code).toBe(1);
    expect(held.stderr).toMatch(/has 1 images\n {2}Remove its images/);
    await ok("rm rbd/team/disk1");
    await ok("namespace rm --pool rbd --namespace team");
    expect(await ok("namespace ls rbd")).toBe("");
  });

  it("renames", async () => {
    await ok("create old -s 8M");
    expect(await ok("rename old new")).toBe("rbd/old is rbd/new now");
    expect((await cairn(dir, "info", "old")).stderr).toMatch(/`cairn ls rbd` lists the images/);
    expect((await cairn(dir, "mv", "new", "other/new")).code).toBe(2);
    await ok("rm new");
  });
});

it("the shell completes names of the cluster", async () => {
  await ok("create disk2 -s 8M");
  await ok("snap create disk2@monday");
  expect(await ok("completion words -- info rbd/disk")).toBe("rbd/disk1\nrbd/disk2");
  expect(await ok("completion words -- snap rm rbd/disk2@")).toBe("rbd/disk2@monday");
  expect(await ok("completion words -- ls --pool r")).toBe("rbd");
  await ok("snap purge disk2");
  await ok("rm disk2");
});

describe("snapshots", () => {
  const names = async () => (await json<SnapshotInfo[]>("snap ls disk1")).map(({ name }) => name);

  it("are made, renamed, protected and removed", async () => {
    await ok("snap create rbd/disk1@monday");
    await ok("snap add --image disk1 --snap tuesday");
    expect(await names()).toEqual(["monday", "tuesday"]);
    await ok("snap rename disk1@tuesday disk1@wednesday");
    await ok("snap protect disk1@wednesday");
    const kept = await cairn(dir, "snap", "rm", "disk1@wednesday");
    expect(kept).toMatchObject({ code: 1, stderr: expect.stringMatching(/cairn snap unprotect/) });
    expect(await json("snap purge disk1")).toMatchObject({
      removed: ["monday"],
      kept: ["wednesday"],
    });
    const refused = await cairn(dir, "rm", "disk1");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/cairn snap purge/) });
    expect(await json("info disk1@wednesday")).toMatchObject({ snapshot: { protected: true } });
    await ok("snap unprotect disk1@wednesday");
    await ok("snap remove disk1@wednesday");
    expect(await names()).toEqual([]);
  });

  it("have a limit", async () => {
    await ok("snap limit set disk1 --limit 1");
    await ok("snap create disk1@one");
    const many = await cairn(dir, "snap", "create", "disk1@two");
    expect(many).toMatchObject({ code: 1, stderr: expect.stringMatching(/limit/) });
    await ok("snap limit clear disk1");
    await ok("snap create disk1@two");
    await ok("snap purge disk1");
  });

  it("are asked for by name", async () => {
    const { code, stderr } = await cairn(dir, "snap", "create", "disk1");
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "cairn: which snapshot of rbd/disk1?\n  Write POOL/IMAGE@SNAP, or give --snap.\n",
    });
    expect((await cairn(dir, "info", "disk1@none")).stderr).toMatch(/`cairn snap ls rbd\/disk1`/);
  });
});

describe("settings of images", () => {
  it("metadata", async () => {
    await ok("image-meta set disk1 owner alice");
    expect(await ok("image-meta get disk1 owner")).toBe("alice");
    expect(await json("image-meta list disk1")).toEqual({ owner: "alice" });
    await ok("image-meta remove disk1 owner");
    expect((await cairn(dir, "image-meta", "get", "disk1", "owner")).code).toBe(1);
  });

  it("configuration of an image and of its pool", async () => {
    await ok("config pool set rbd rbd_qos_iops_limit 2000");
    await ok("config image set disk1 rbd_qos_iops_limit 500");
    expect(await ok("config image get disk1 rbd_qos_iops_limit")).toBe("500");
    await ok("config image rm disk1 rbd_qos_iops_limit");
    expect(await json("config image ls disk1")).toContainEqual(
      expect.objectContaining({ option: "rbd_qos_iops_limit", value: "2000", source: "pool" }),
    );
    await ok("config pool rm rbd rbd_qos_iops_limit");
    expect((await cairn(dir, "config", "image", "set", "disk1", "nothing", "1")).code).toBe(2);
  });

  it("features", async () => {
    expect(await ok("feature disable disk1 fast-diff object-map")).not.toMatch(/object-map/);
    const wrong = await cairn(dir, "feature", "enable", "disk1", "fast-diff");
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(/needs object-map/) });
    await ok("feature enable disk1 object-map fast-diff");
    expect(await ok("object-map check disk1")).toMatch(/nothing can be wrong/);
  });

  it("layout", async () => {
    await ok("create striped -s 64M --object-size 1M --stripe-unit 64K --stripe-count 4");
    expect(await json("info striped")).toMatchObject({
      objectBytes: mebibyte,
      stripeUnitBytes: 65_536,
      stripeCount: 4,
      features: expect.arrayContaining(["striping"]),
    });
    await ok("create shared -s 8M --image-shared");
    expect((await json<ImageInfo>("info shared")).features).not.toContain("exclusive-lock");
    expect((await cairn(dir, "create", "odd", "-s", "8M", "--object-size", "3M")).code).toBe(2);
    await ok("rm striped");
    await ok("rm shared");
  });
});

describe("trash", () => {
  it("keeps an image until its time", async () => {
    await ok("create lost -s 8M");
    await ok("trash mv lost --expires-at 7d");
    const [entry] = await json<TrashInfo[]>("trash ls");
    expect(entry?.name).toBe("lost");
    const { id } = entry as TrashInfo;
    const early = await cairn(dir, "trash", "rm", id);
    expect(early).toMatchObject({ code: 1, stderr: expect.stringMatching(/--force/) });
    expect(await json("trash purge rbd")).toMatchObject({ removed: [] });
    await ok(`trash restore ${id} --image found`);
    await ok("snap create found@s");
    await ok("trash move found");
    expect(await json("trash purge")).toMatchObject({ removed: [], kept: [{}] });
    expect(await ok(`info --pool rbd --image-id ${id}`)).toMatch(/in the trash: +since 20/);
    const [snapshot] = await json<SnapshotInfo[]>(`snap ls --image-id ${id}`);
    await ok(`snap rm --image-id ${id} --snap-id ${snapshot?.id}`);
    expect(await json("trash purge")).toMatchObject({ removed: [{ name: "found" }] });
    expect(await ok("trash list")).toBe("");
  });
});

describe("groups", () => {
  it("have images and snapshots", async () => {
    await ok("create web1 -s 8M");
    await ok("group create rbd/web");
    await ok("group image add rbd/web rbd/web1");
    const empty = await cairn(dir, "trash", "mv", "web1");
    expect(empty).toMatchObject({ code: 1, stderr: expect.stringMatching(/group image rm/) });
    await ok("group snap create web@monday");
    await ok("group snap rename web@monday tuesday");
    expect(await ok("group snap ls web")).toMatch(/tuesday +ready +1/);
    expect(await json("group info web")).toMatchObject({ images: 1, snapshots: 1 });
    await ok("group snap rm web@tuesday");
    await ok("group rename web shop");
    await ok("group image rm --group shop --image web1");
    await ok("group rm shop");
    expect(await ok("group ls")).toBe("");
    await ok("rm web1");
  });
});

describe("what rbd has and Cairn has not", () => {
  it.each([
    "mirror pool info rbd",
    "journal status --image disk1",
    "device map disk1 -t nbd",
    "encryption format disk1 luks2 file",
    "persistent-cache flush disk1",
  ])("cairn %s: exit code 2, and what to do instead", async (line) => {
    const { code, stdout, stderr } = await cairn(dir, ...line.split(" "));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^cairn: cairn .*: Cairn does not have .* yet\n {2}./);
  });
});

describe("data", () => {
  const raw = path.join(folder, "disk.raw");
  const exported = async (spec: string): Promise<Buffer> => {
    const file = path.join(folder, `out-${randomBytes(4).toString("hex")}`);
    await ok(`export ${spec} ${file} --no-progress`);
    return readFileSync(file);
  };
  const first = randomBytes(8 * mebibyte);

  it("a snapshot shows what was, a clone begins with it, a rollback brings it back", async () => {
    writeFileSync(raw, first);
    await ok(`import ${raw} rbd/data --no-progress`);
    await ok("snap create data@first");
    await ok("clone data@first vm1");
    expect((await exported("vm1")).equals(first)).toBe(true);
    await ok("bench data --io-type write --io-size 64K --io-pattern seq --time 500ms");
    expect((await exported("data")).equals(first)).toBe(false);
    expect((await exported("data@first")).equals(first)).toBe(true);
    expect((await exported("vm1")).equals(first)).toBe(true);
    expect(await ok("children data@first")).toBe("rbd/vm1 @first");
    await ok("snap rollback data@first --no-progress");
    expect((await exported("data")).equals(first)).toBe(true);
    await ok("flatten vm1 --no-progress");
    expect(await ok("children data")).toBe("");
    expect((await exported("vm1")).equals(first)).toBe(true);
  });

  it("copies, differences and usage", async () => {
    await ok("deep cp data copy --no-progress");
    expect((await exported("copy@first")).equals(first)).toBe(true);
    expect(await json("diff data --from-snap first")).toEqual([]);
    expect(await json("diff data@first --format json")).toEqual([
      { offset: 0, length: first.length, exists: true },
    ]);
    expect(await json("du data@first --no-progress")).toMatchObject({
      totalUsedBytes: first.length,
    });
    await ok("cp data@first plain --no-progress");
    expect((await json<ImageInfo>("info plain")).snapshotCount).toBe(0);
    expect(await ok("du --pool rbd --no-progress")).toMatch(/^<TOTAL>/m);
  });
});

describe("a verb that is stopped", () => {
  /** Interrupts it when it is at work. @returns how it has ended */
  async function interrupted(words: string[], atWork: () => Promise<boolean>, stdout?: number) {
    const child = spawn(process.execPath, [program, ...words], {
      env: { ...process.env, CAIRN_DIR: dir },
      stdio: ["ignore", stdout ?? "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    while (child.exitCode === null && !(await atWork())) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    child.kill("SIGINT");
    return { code: await ended, stderr };
  }

  it("lets the lock of its image go: bench", async () => {
    await ok("create stopped --size 64M");
    const locked = async () => (await json<unknown[]>("lock ls stopped")).length > 0;
    const bench = ["bench", "rbd/stopped", "--time", "60"];
    expect(await interrupted(bench, locked)).toEqual({
      code: 1,
      stderr: "cairn: stopped before it was done\n",
    });
    expect(await json("lock ls stopped")).toEqual([]);
  });

  it("carries through what others have asked it for: bench, and a resize", async () => {
    await ok("create shrunk --size 256M");
    const bench = cairn(dir, "bench", "rbd/shrunk", "--time", "60");
    while ((await json<unknown[]>("lock ls shrunk")).length === 0);
    const beganMs = performance.now();
    await ok("resize shrunk --size 64M --allow-shrink --no-progress");
    expect(performance.now() - beganMs).toBeLessThan(8000);
    expect(await bench).toMatchObject({ code: 1, stderr: expect.stringMatching(/beyond the end/) });
    expect((await json<ImageInfo>("info shrunk")).sizeBytes).toBe(64 * mebibyte);
  }, 60_000);

  it("says of a pipe that not all of the image is in it: export", async () => {
    await ok("create exported --size 1T --thin-overcommit");
    const file = path.join(folder, "partial");
    const fd = openSync(file, "w");
    const begun = async () => statSync(file).size > 0;
    const { code, stderr } = await interrupted(["export", "exported", "-"], begun, fd);
    closeSync(fd);
    rmSync(file);
    expect(code).toBe(1);
    expect(stderr).toContain("what was written is not all of the image");
  });
});
