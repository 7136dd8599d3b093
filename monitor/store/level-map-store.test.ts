// Tests of the map store: what survives, and that every kind of damage is refused by name.
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { emptyMap } from "../../proto/fixtures.js";
import { makeIncremental, type OsdMap } from "../../proto/osd-map.js";
import { formatHead } from "./head-file.js";
import { LevelMapStore } from "./level-map-store.js";
import { mapAt, newestOf } from "./map-store.js";
import { encodeStored, keyOf } from "./store-value.js";

let root = "";
let dataDir = "";
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "cairn-store-"));
  dataDir = path.join(root, "mon");
});
afterEach(() => rmSync(root, { recursive: true }));

/** A store with that many epochs, closed again; its newest map. */
async function filled(epochs: number, options = {}): Promise<OsdMap> {
  let map = emptyMap();
  await LevelMapStore.create(dataDir, map);
  const store = await LevelMapStore.open(dataDir, options);
  while (map.epoch < epochs) {
    const next = makeIncremental(map, { config: { "test.value": `v${map.epoch}` } }, map.epoch);
    await store.append(next.incremental, next.map);
    map = next.map;
  }
  await store.close();
  return map;
}

async function editLevel(change: (level: Level<string, Buffer>) => Promise<unknown>) {
  const level = new Level<string, Buffer>(path.join(dataDir, "store"), { valueEncoding: "buffer" });
  await change(level);
  await level.close();
}

const refused = (text: RegExp) => ({ code: "corrupt", message: expect.stringMatching(text) });

describe("LevelMapStore", () => {
  it("gives back what was appended, in a private folder", async () => {
    const map = await filled(7);
    const store = await LevelMapStore.open(dataDir);
    const history = await store.load();
    expect(newestOf(history)).toEqual(map);
    expect(mapAt(history, 3 as never).config["test.value"]).toBe("v2");
    expect(() => mapAt(history, 8 as never)).toThrow(/there are 1 to 7/);
    expect(store.head()).toMatchObject({ epoch: 7, hash: map.hash });
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(dataDir, "head")).mode & 0o777).toBe(0o600);
    await store.close();
  });

  it("keeps a full map and trims what is older", async () => {
    const map = await filled(37, { fullMapEvery: 5, keepEpochs: 12 });
    const store = await LevelMapStore.open(dataDir);
    const history = await store.load();
    expect(history.base.epoch).toBe(20);
    expect(newestOf(history)).toEqual(map);
    await store.close();
  });

  it("refuses a second store in the folder, and a second monitor on it", async () => {
    await filled(2);
    await expect(LevelMapStore.create(dataDir, emptyMap())).rejects.toMatchObject({
      code: "already_exists",
    });
    const store = await LevelMapStore.open(dataDir);
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject({
      code: "busy",
      message: expect.stringContaining(dataDir),
    });
    await store.close();
    await expect(LevelMapStore.open(path.join(root, "none"))).rejects.toMatchObject({
      code: "not_found",
    });
  });

  it("leaves nothing behind when it cannot be made", async () => {
    mkdirSync(dataDir);
    writeFileSync(path.join(dataDir, "head.new"), "");
    mkdirSync(path.join(dataDir, "blocked"));
    const file = path.join(dataDir, "blocked", "file");
    writeFileSync(file, "");
    await expect(LevelMapStore.create(path.join(file, "mon"), emptyMap())).rejects.toThrow();
    expect(existsSync(path.join(dataDir, "store"))).toBe(false);
  });

  it("refuses an epoch that does not follow its head", async () => {
    const map = await filled(3);
    const store = await LevelMapStore.open(dataDir);
    const one = makeIncremental(map, {}, 1);
    const two = makeIncremental(one.map, {}, 2);
    await expect(store.append(two.incremental, two.map)).rejects.toMatchObject({ code: "corrupt" });
    const fork = makeIncremental({ ...map, hash: "f".repeat(64) }, {}, 1);
    await expect(store.append(fork.incremental, fork.map)).rejects.toMatchObject({
      code: "corrupt",
    });
    await store.append(one.incremental, one.map);
    await store.close();
  });

  it("accepts an epoch that a crash left ahead of the head file, but only one", async () => {
    const map = await filled(3);
    const one = makeIncremental(map, {}, 1);
    const two = makeIncremental(one.map, {}, 2);
    await editLevel((level) => level.put(keyOf("inc", 4), encodeStored("inc", one.incremental)));
    const store = await LevelMapStore.open(dataDir);
    expect(store.head()).toEqual({ epoch: 4, hash: one.map.hash });
    await store.append(two.incremental, two.map);
    await store.close();
    writeFileSync(path.join(dataDir, "head"), formatHead(map));
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(/rolled back/));
  });
});

describe("a damaged map store", () => {
  it.each([
    ["a removed incremental", "del", keyOf("inc", 3), /map epoch 3\) is missing/],
    ["the removed last incremental", "del", keyOf("inc", 5), /ends at map epoch 4, but epoch 5/],
    ["a removed first map", "del", keyOf("full", 1), /is missing/],
    ["a value under a foreign key", "copy", keyOf("inc", 4), /inc\/0000000004 .* another key/],
  ] as const)("is refused: %s", async (_, how, key, message) => {
    await filled(5);
    await editLevel(async (level) => {
      if (how === "del") return level.del(key);
      const foreign = await level.get(keyOf("inc", 2));
      return foreign && level.put(key, foreign);
    });
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(message));
  });

  it("is refused with any byte of a value flipped, naming the epoch", async () => {
    await filled(3);
    let length = 0;
    await editLevel(async (level) => {
      length = (await level.get(keyOf("inc", 3)))?.length ?? 0;
    });
    for (let at = 0; at < length; at += 7) {
      await editLevel(async (level) => flip(level, keyOf("inc", 3), at));
      await expect(LevelMapStore.open(dataDir), `byte ${at}`).rejects.toMatchObject(
        refused(/map epoch 3/),
      );
      await editLevel(async (level) => flip(level, keyOf("inc", 3), at));
    }
    await (await LevelMapStore.open(dataDir)).close();
  });

  it("is refused with any byte of the head file flipped, or cut off", async () => {
    await filled(3);
    const file = path.join(dataDir, "head");
    const good = readFileSync(file);
    for (let at = 0; at < good.length; at += 1) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 1;
      writeFileSync(file, bad);
      await expect(LevelMapStore.open(dataDir), `byte ${at}`).rejects.toMatchObject(
        refused(/head file/),
      );
    }
    writeFileSync(file, good.subarray(0, 60));
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(/damaged/));
    rmSync(file);
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(/is missing/));
  });

  it("is refused when the head file is of an older or another history", async () => {
    const map = await filled(5);
    const file = path.join(dataDir, "head");
    const clusterId = "00000000-0000-4000-8000-00000000ffff";
    writeFileSync(file, formatHead({ ...map, clusterId }));
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(/of cluster/));
    writeFileSync(file, formatHead({ ...map, hash: "a".repeat(64) }));
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(refused(/another one/));
  });

  it("is refused when LevelDB's log was removed, cut or damaged", async () => {
    await filled(5);
    const folder = path.join(dataDir, "store");
    const logs = readdirSync(folder).filter((name) => name.endsWith(".log"));
    const log = path.join(folder, logs[0] ?? "none");
    const good = readFileSync(log);
    expect(good.length).toBeGreaterThan(500);
    const bad = Buffer.from(good);
    bad[200] = (bad[200] ?? 0) ^ 0x10;
    const others = readdirSync(folder).filter((name) => name !== logs[0]);
    const kept = others.map((name) => [name, readFileSync(path.join(folder, name))] as const);
    const restored = (content: Buffer | undefined) => {
      rmSync(folder, { recursive: true });
      mkdirSync(folder);
      for (const [name, bytes] of kept) writeFileSync(path.join(folder, name), bytes);
      if (content !== undefined) writeFileSync(log, content);
    };
    for (const content of [undefined, good.subarray(0, good.length - 100), bad]) {
      restored(content);
      await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject({ code: "corrupt" });
    }
    restored(good);
    await (await LevelMapStore.open(dataDir)).close();
  });

  it("is refused when LevelDB's own files are gone", async () => {
    await filled(3);
    rmSync(path.join(dataDir, "store", "CURRENT"));
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject({ code: "corrupt" });
  });
});

describe("a store of a newer version", () => {
  const sha256 = (...parts: (string | Uint8Array)[]) => {
    const hash = createHash("sha256");
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  const newer = {
    code: "incompatible_version",
    message: expect.stringMatching(/version 2/),
    remedy: expect.stringMatching(/Run the version/),
  };

  it("is not called damaged: by its head", async () => {
    await filled(3);
    const file = path.join(dataDir, "head");
    const text = "cairn-monitor-head 2 whatever else it has";
    writeFileSync(file, `${text} ${sha256(text).toString("hex")}\n`);
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(newer);
    writeFileSync(file, `${text} ${sha256(`${text}!`).toString("hex")}\n`);
    await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(
      refused(/head file .* damaged/),
    );
  });

  it("is not called damaged: by a value", async () => {
    await filled(3);
    const key = keyOf("inc", 3);
    const change = (bytes: Buffer, isWhole: boolean) => {
      bytes.write("CMV2", 0, "latin1");
      if (isWhole) sha256(bytes.subarray(0, 16), bytes.subarray(48)).copy(bytes, 16);
      return bytes;
    };
    for (const isWhole of [false, true]) {
      await editLevel(async (level) =>
        level.put(key, change(Buffer.from((await level.get(key)) ?? []), isWhole)),
      );
      const expected = isWhole ? newer : refused(/inc\/0000000003 .* checksum/);
      await expect(LevelMapStore.open(dataDir)).rejects.toMatchObject(expected);
    }
  });
});

async function flip(level: Level<string, Buffer>, key: string, at: number) {
  const value = Buffer.from((await level.get(key)) ?? []);
  value[at] = (value[at] ?? 0) ^ 0x40;
  await level.put(key, value);
}
