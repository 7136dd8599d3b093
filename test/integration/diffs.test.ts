// Diff streams on a real cluster: a chain of diffs makes a second image with equal snapshots, what
// is out of order or broken off is refused and mended by its remedy, rbd's own tool merges our
// files as we do; and the dirty bitmaps of NBD exports, asked by nbdinfo and qemu-img.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import {
  type ClusterClient,
  exportDiff,
  Image,
  type Images,
  importDiff,
} from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { seeded } from "../chaos/schedule.js";
import { cairn, startCairn } from "./support.js";
import { testCluster } from "./test-cluster.js";

const ports = { clock: systemClock, random: systemRandom };
const mebibyte = 2 ** 20;
const blockBytes = 4096;
const seed = 20_261_121;

let client: ClusterClient;
let images: Images<ClusterClient["io"]>;

const { folder, dir } = testCluster("diffs", (made) => {
  ({ client, images } = made);
});

const file = (name: string) => path.join(folder, name);

async function ok(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cairn(dir, ...words);
  if (code !== 0) throw new Error(`cairn ${words.join(" ")}: exit code ${code}\n${stderr}`);
  return stdout.trimEnd();
}

async function withFile<T>(name: string, flags: string, use: (fd: number) => Promise<T>) {
  const fd = openSync(file(name), flags);
  try {
    return await use(fd);
  } finally {
    closeSync(fd);
  }
}

/** What an image or a snapshot of it shows. */
async function contentOf(spec: string): Promise<string> {
  const image = await Image.open(client, ports, `rbd/${spec}`, { readOnly: true });
  try {
    const [name = "", snap] = spec.split("@");
    const { sizeBytes } =
      snap === undefined ? await image.info() : await images.snapshots.info(name, snap);
    const hash = createHash("sha256").update(`${sizeBytes}:`);
    for (let at = 0; at < sizeBytes; at += mebibyte) {
      hash.update(await image.read(at, Math.min(mebibyte, sizeBytes - at)));
    }
    return hash.digest("hex");
  } finally {
    await image.close();
  }
}

function randomNumbers(start: number): (below: number) => number {
  const random = seeded(start);
  return (below) => Math.floor(random() * below);
}

async function change(image: Image, sizeBytes: number, below: (n: number) => number) {
  for (let i = 0; i < 25; i += 1) {
    const offset = below(sizeBytes - 1);
    const length = Math.min(sizeBytes - offset, 1 + below(below(3) === 0 ? 700_000 : 20_000));
    const how = below(5);
    if (how === 0) await image.discard(offset, length);
    else if (how === 1) await image.writeZeroes(offset, length);
    else await image.write(offset, new Uint8Array(length).fill(1 + below(255)));
  }
}

describe("a chain of diffs", () => {
  it("makes an empty image equal at every snapshot, whatever was written", async () => {
    const below = randomNumbers(seed);
    await images.create("source", 24 * mebibyte);
    await images.create("target", mebibyte);
    const source = await Image.open(client, ports, "rbd/source");
    let sizeBytes = 24 * mebibyte;
    let before: string | undefined;
    for (const [round, snap] of ["s0", "s1", "s2", "s3", undefined].entries()) {
      if (round === 2 || round === 3) {
        sizeBytes = round === 2 ? 30 * mebibyte : 20 * mebibyte;
        await source.resize(sizeBytes, { allowShrink: true });
      }
      await change(source, sizeBytes, below);
      if (snap !== undefined) await source.createSnapshot(snap);
      const wholeObject = round === 1;
      await withFile(`${round}.diff`, "wx", (fd) =>
        exportDiff(images, client.io, "source", fd, { fromSnap: before, snap, wholeObject }),
      );
      const end = await withFile(`${round}.diff`, "r", (fd) =>
        importDiff(images, client.io, "target", fd),
      );
      expect(end).toBe(snap);
      const at = snap === undefined ? "" : `@${snap}`;
      expect(await contentOf(`target${at}`), `seed ${seed}, round ${round}`).toBe(
        await contentOf(`source${at}`),
      );
      before = snap;
    }
    await source.close();
    // The older ones are still what they were.
    for (const snap of ["s0", "s1", "s2", "s3"]) {
      expect(await contentOf(`target@${snap}`)).toBe(await contentOf(`source@${snap}`));
    }
  }, 120_000);

  it("merges to one diff, byte for byte as rbd does it, with the same effect", async () => {
    await ok("merge-diff", file("0.diff"), file("1.diff"), file("01.diff"));
    await ok("merge-diff", file("01.diff"), file("2.diff"), file("012.diff"));
    const rbd = (...words: string[]) =>
      execFileSync("rbd", ["merge-diff", ...words, "--no-progress"], {
        cwd: folder,
        stdio: "ignore",
      });
    rbd("0.diff", "1.diff", "rbd-01.diff");
    rbd("rbd-01.diff", "2.diff", "rbd-012.diff");
    expect(readFileSync(file("012.diff")).equals(readFileSync(file("rbd-012.diff")))).toBe(true);
    await images.create("merged", mebibyte);
    await ok("import-diff", file("012.diff"), "rbd/merged");
    expect(await contentOf("merged@s2")).toBe(await contentOf("source@s2"));
    const swapped = await cairn(dir, "merge-diff", file("1.diff"), file("0.diff"), file("x.diff"));
    expect(swapped.code).not.toBe(0);
    expect(swapped.stderr).toMatch(/older one first/);
    expect(existsSync(file("x.diff"))).toBe(false);
  }, 60_000);

  it("goes through an exported image with all snapshots, too", async () => {
    await ok("image-meta", "set", "rbd/source", "owner", "alice");
    await ok("snap", "protect", "rbd/source@s1");
    await ok("export", "--export-format", "2", "rbd/source", file("all.export"));
    await ok("import", "--export-format", "2", file("all.export"), "rbd/again");
    for (const snap of ["@s0", "@s1", "@s2", "@s3", ""]) {
      expect(await contentOf(`again${snap}`)).toBe(await contentOf(`source${snap}`));
    }
    const found = await images.snapshots.list("again");
    expect(found.map(({ name, protected: kept }) => [name, kept])).toEqual([
      ["s0", false],
      ["s1", true],
      ["s2", false],
      ["s3", false],
    ]);
    expect(await images.metadata.list("again")).toEqual([["owner", "alice"]]);
    // Half of it makes no image.
    const whole = readFileSync(file("all.export"));
    writeFileSync(file("half.export"), whole.subarray(0, whole.length / 2));
    const half = await cairn(dir, "import", "--export-format", "2", file("half.export"), "rbd/no");
    expect(half).toMatchObject({ code: 1, stderr: expect.stringMatching(/breaks off/) });
    expect((await images.list()).map(({ name }) => name)).not.toContain("no");
  }, 60_000);
});

describe("diffs of a clone", () => {
  it("have what its parent shows, also where a rollback brought that back", async () => {
    await images.create("parent", 8 * mebibyte);
    const parent = await Image.open(client, ports, "rbd/parent");
    await parent.write(0, new Uint8Array(6 * mebibyte).fill(1));
    await parent.createSnapshot("base");
    await parent.close();
    await ok("clone", "rbd/parent@base", "rbd/child");
    const child = await Image.open(client, ports, "rbd/child");
    await child.createSnapshot("clean");
    await child.write(mebibyte + 100, new Uint8Array(9000).fill(2));
    await child.discard(2 * mebibyte, mebibyte);
    await child.createSnapshot("written");
    await child.rollback("clean");
    await child.write(7 * mebibyte, new Uint8Array(5).fill(3));
    await child.createSnapshot("back");
    await child.close();
    await images.create("flat", mebibyte);
    let before: string | undefined;
    for (const snap of ["clean", "written", "back"]) {
      const since = before === undefined ? [] : ["--from-snap", before];
      await ok("export-diff", ...since, `rbd/child@${snap}`, file(`child-${snap}.diff`));
      await ok("import-diff", file(`child-${snap}.diff`), "rbd/flat");
      expect(await contentOf(`flat@${snap}`), snap).toBe(await contentOf(`child@${snap}`));
      before = snap;
    }
    expect(await contentOf("flat@clean")).not.toBe(await contentOf("flat@written"));
  }, 60_000);
});

describe("what can't be imported", () => {
  it("is out of order, there already, or for another image: the remedy is named", async () => {
    await images.create("orders", mebibyte);
    const into = (name: string) => cairn(dir, "import-diff", file(name), "rbd/orders");
    expect(await into("1.diff")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no snapshot "s0", where the diff begins\n.*before it first/),
    });
    for (const name of ["0.diff", "1.diff"]) expect((await into(name)).code).toBe(0);
    expect(await into("0.diff")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/has the snapshot "s0", where the diff ends/),
    });
    // The same step once more, under another name of its end.
    await ok("snap", "rename", "rbd/orders@s1", "rbd/orders@other");
    expect(await into("1.diff")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /gone on from there to "other"\n.*snap rollback rbd\/orders@s0/,
      ),
    });
    await ok("snap", "rollback", "rbd/orders@s0");
    expect((await into("1.diff")).code).toBe(0);
    expect(await contentOf("orders@s1")).toBe(await contentOf("source@s1"));
    expect(await into("all.export")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--export-format 2/),
    });
  }, 60_000);

  it("breaks off: no snapshot is made, and the whole of it mends the image", async () => {
    await images.create("broken", mebibyte);
    const whole = readFileSync(file("0.diff"));
    const cut = file("cut.diff");
    writeFileSync(cut, whole.subarray(0, whole.length - 1));
    const refused = await cairn(dir, "import-diff", cut, "rbd/broken");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/breaks off/) });
    // A file is looked through before anything is changed; a pipe can't be.
    expect((await images.info("broken")).sizeBytes).toBe(mebibyte);
    const program = process.argv0;
    const piped = `cat ${cut} | ${program} bin/cairn import-diff - rbd/broken --dir ${dir}`;
    expect(() => execFileSync("sh", ["-c", piped], { stdio: "ignore" })).toThrow();
    expect((await images.info("broken")).sizeBytes).toBe(24 * mebibyte);
    expect(await images.snapshots.list("broken")).toEqual([]);
    await ok("import-diff", file("0.diff"), "rbd/broken");
    expect(await contentOf("broken@s0")).toBe(await contentOf("source@s0"));
  }, 60_000);

  it("is killed in the middle: nothing is half made, and it can be repeated", async () => {
    await images.create("killed", mebibyte);
    const [diff, all] = [readFileSync(file("0.diff")), readFileSync(file("all.export"))];
    const hasBegun = {
      diff: async () => (await images.info("killed")).sizeBytes > mebibyte,
      all: async () => (await images.pending()).length > 0,
    };
    const cases: [bytes: Buffer, hasBegun: () => Promise<boolean>, words: string[]][] = [
      [diff, hasBegun.diff, ["import-diff", "-", "rbd/killed"]],
      [all, hasBegun.all, ["import", "--export-format", "2", "-", "rbd/unborn"]],
    ];
    for (const [bytes, begun, words] of cases) {
      const child = spawn(process.execPath, ["bin/cairn", ...words, "--dir", dir], {
        stdio: ["pipe", "ignore", "inherit"],
      });
      // It waits for the other half when it dies.
      child.stdin.on("error", () => undefined);
      child.stdin.write(bytes.subarray(0, bytes.length / 2));
      await expect.poll(begun, { timeout: 20_000 }).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      child.kill("SIGKILL");
      await new Promise((resolve) => child.on("exit", resolve));
    }
    expect((await images.info("killed")).sizeBytes).toBe(24 * mebibyte);
    expect(await images.snapshots.list("killed")).toEqual([]);
    expect((await images.list()).map(({ name }) => name)).not.toContain("unborn");
    // Until the lock of the dead has run out.
    const again = () => cairn(dir, "import-diff", file("0.diff"), "rbd/killed");
    await expect.poll(async () => (await again()).code, { timeout: 60_000 }).toBe(0);
    expect(await contentOf("killed@s0")).toBe(await contentOf("source@s0"));
    await ok("import", "--export-format", "2", file("all.export"), "rbd/unborn");
    expect(await contentOf("unborn@s3")).toBe(await contentOf("source@s3"));
  }, 120_000);

  it("is no way back in time, and never overwrites a file", async () => {
    const back = ["export-diff", "--from-snap", "s2", "rbd/source@s1", file("back.diff")];
    expect(await cairn(dir, ...back)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/"s2" is not older than "s1"/),
    });
    expect(existsSync(file("back.diff"))).toBe(false);
    const sizeBytes = statSync(file("0.diff")).size;
    const again = await cairn(dir, "export-diff", "rbd/source@s0", file("0.diff"));
    expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/exists/) });
    expect(statSync(file("0.diff")).size).toBe(sizeBytes);
  });
});

describe("over NBD", () => {
  const socket = file("nbd.sock");
  const uri = (image: string) => `nbd+unix:///${image}?socket=${socket}`;

  async function attached<T>(words: string[], use: () => T | Promise<T>): Promise<T> {
    const { child, ended } = await startCairn(dir, "attach", ...words, "--nbd", `unix:${socket}`);
    try {
      return await use();
    } finally {
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
    }
  }

  interface MapPart {
    offset: number;
    length: number;
    type: number;
  }
  const nbdMap = (image: string, context: string): [number, number, number][] =>
    (
      JSON.parse(
        execFileSync("nbdinfo", ["--json", `--map=${context}`, uri(image)], { encoding: "utf8" }),
      ) as MapPart[]
    ).map(({ offset, length, type }) => [offset, length, type]);

  it("clients see what differs from each older snapshot, exact to the block", async () => {
    await images.create("disk", 16 * mebibyte);
    const disk = await Image.open(client, ports, "rbd/disk");
    await disk.write(0, new Uint8Array(4 * mebibyte).fill(1));
    await disk.createSnapshot("monday");
    await disk.write(5000, new Uint8Array(10).fill(2));
    await disk.discard(2 * mebibyte, 3 * blockBytes);
    await disk.createSnapshot("tuesday");
    await disk.write(15 * mebibyte, new Uint8Array(2 * blockBytes).fill(3));
    await disk.close();
    const monday = "qemu:dirty-bitmap:monday";
    const changed = [
      [0, blockBytes, 0],
      [blockBytes, blockBytes, 1],
      [2 * blockBytes, 2 * mebibyte - 2 * blockBytes, 0],
      [2 * mebibyte, 3 * blockBytes, 1],
    ];
    await attached(["rbd/disk@tuesday"], () => {
      const rest = 2 * mebibyte + 3 * blockBytes;
      expect(nbdMap("disk", monday)).toEqual([...changed, [rest, 16 * mebibyte - rest, 0]]);
      const listed = execFileSync("nbdinfo", ["--list", uri("disk")], { encoding: "utf8" });
      expect(listed).toContain(monday);
      expect(listed).not.toContain("qemu:dirty-bitmap:tuesday");
      expect(listed).toContain("is_read_only: true");
      // QEMU shows a dirty range as one that is not present.
      const where = `driver=nbd,server.type=unix,server.path=${socket},export=disk`;
      const options = ["--output=json", "--image-opts", `${where},x-dirty-bitmap=${monday}`];
      const map = JSON.parse(
        execFileSync("qemu-img", ["map", ...options], { encoding: "utf8" }),
      ) as { start: number; length: number; present: boolean }[];
      expect(
        map.filter(({ present }) => !present).map(({ start, length }) => [start, length]),
      ).toEqual(
        changed.filter(([, , type]) => type === 1).map(([start, length]) => [start, length]),
      );
    });
    // A live image, while it is written to.
    await attached(["rbd/disk", "--dirty-bitmap", "tuesday"], () => {
      execFileSync("qemu-io", ["-f", "raw", "-c", "write -q -P 7 8M 4k", uri("disk")]);
      expect(nbdMap("disk", "qemu:dirty-bitmap:tuesday")).toEqual([
        [0, 8 * mebibyte, 0],
        [8 * mebibyte, blockBytes, 1],
        [8 * mebibyte + blockBytes, 7 * mebibyte - blockBytes, 0],
        [15 * mebibyte, 2 * blockBytes, 1],
        [15 * mebibyte + 2 * blockBytes, mebibyte - 2 * blockBytes, 0],
      ]);
      expect(() => nbdMap("disk", monday)).toThrow();
    });
    // A client that connects later compares with what has come since, and not with what has gone.
    await attached(["rbd/disk"], async () => {
      const listed = () => execFileSync("nbdinfo", ["--list", uri("disk")], { encoding: "utf8" });
      expect(listed()).not.toContain("qemu:dirty-bitmap:now");
      await ok("snap", "create", "rbd/disk@now");
      await expect.poll(listed, { timeout: 10_000 }).toContain("qemu:dirty-bitmap:now");
      execFileSync("qemu-io", ["-f", "raw", "-c", "write -q -P 9 4M 4k", uri("disk")]);
      expect(nbdMap("disk", "qemu:dirty-bitmap:now")).toEqual([
        [0, 4 * mebibyte, 0],
        [4 * mebibyte, blockBytes, 1],
        [4 * mebibyte + blockBytes, 12 * mebibyte - blockBytes, 0],
      ]);
      execFileSync("qemu-io", ["-f", "raw", "-c", "discard -q 4M 4k", uri("disk")]);
      await ok("snap", "rm", "rbd/disk@now");
      await expect.poll(listed, { timeout: 10_000 }).not.toContain("qemu:dirty-bitmap:now");
    });
    const none = await cairn(
      dir,
      "attach",
      "rbd/disk",
      "--nbd",
      `unix:${socket}`,
      "--dirty-bitmap",
      "no",
    );
    expect(none).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no older snapshot "no"/),
    });
  }, 60_000);

  it("base:allocation of a clone is that of its parent, but for what it has itself", async () => {
    await ok("clone", "rbd/disk@monday", "rbd/clone");
    await attached(["rbd/clone"], () => {
      const commands = ["-c", "write -q -P 7 8M 4k", "-c", "discard -q 1M 1M"];
      execFileSync("qemu-io", ["-f", "raw", ...commands, uri("clone")]);
      const [data, zero, hole] = [0, 2, 3];
      expect(nbdMap("clone", "base:allocation")).toEqual([
        [0, mebibyte, data],
        [mebibyte, mebibyte, zero],
        [2 * mebibyte, 2 * mebibyte, data],
        [4 * mebibyte, 4 * mebibyte, hole],
        [8 * mebibyte, blockBytes, data],
        [8 * mebibyte + blockBytes, 8 * mebibyte - blockBytes, hole],
      ]);
    });
  }, 60_000);
});
