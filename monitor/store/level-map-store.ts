// The map store of a single monitor: LevelDB with synchronous writes, and the head file.
// docs/format/monitor-store.md
//
// Invariants: epochs are contiguous from the oldest full map on and hash-chained; an epoch is in
// LevelDB before the head file names it; the head file is at most one epoch behind. So a store
// that ends before its head has lost something, and is refused, never repaired by guessing.
// LevelDB's own LOCK file (an fcntl lock, released by the kernel) keeps a second monitor out.
import { mkdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { type ChainedBatch, Level } from "level";
import { assert, defined } from "../../common/assert.js";
import { StorageError, toStorageError } from "../../common/errors.js";
import { makeFolders, removeMadeFolders } from "../../common/make-folders.js";
import { type Epoch, nextEpoch } from "../../common/units.js";
import { firstEpochOf, generationOf } from "../../proto/generation.js";
import {
  applyIncremental,
  checkHash,
  type Incremental,
  noHash,
  type OsdMap,
} from "../../proto/osd-map.js";
import { readHead, restoreRemedy, writeHead } from "./head-file.js";
import type { MapHead, MapHistory, MapStore } from "./map-store.js";
import { decodeFull, decodeIncremental, encodeStored, keyOf } from "./store-value.js";

type Database = Level<string, Buffer>;
type Batch = ChainedBatch<Database, string, Buffer>;

export interface LevelMapStoreOptions {
  /** a full map is kept at every multiple of this */
  fullMapEvery: number;
  /** epochs kept at least; older ones go when a full map is written */
  keepEpochs: number;
}

const defaultOptions: LevelMapStoreOptions = { fullMapEvery: 100, keepEpochs: 500 };
const syncWrite = { sync: true } as const;

function levelFolder(dataDir: string): string {
  return path.join(dataDir, "store");
}
function headFile(dataDir: string): string {
  return path.join(dataDir, "head");
}

export class LevelMapStore implements MapStore {
  private failed: StorageError | undefined;

  private constructor(
    private readonly database: Database,
    private readonly dataDir: string,
    readonly clusterId: string,
    private newest: MapHead,
    private readonly options: LevelMapStoreOptions,
  ) {}

  /**
   * Makes a new store whose first epoch is map; leaves nothing behind when it fails.
   * @param dataDir made with mode 0700 when it does not exist
   * @throws already_exists when the folder holds a map store
   */
  static async create(dataDir: string, map: OsdMap): Promise<void> {
    const isFirst = map.epoch === 1 || map.epoch === firstEpochOf(generationOf(map.epoch));
    assert(
      isFirst && map.previousHash === noHash,
      "a store begins with a generation's first epoch",
    );
    checkHash(map);
    const level = levelFolder(dataDir);
    const exists = (await isThere(level)) || (await isThere(headFile(dataDir)));
    if (exists) {
      throw new StorageError("already_exists", `${dataDir} already holds a monitor's map store`, {
        remedy: "Choose another folder, or remove that one if its cluster is not needed any more.",
      });
    }
    const madeFolder = makeFolders(dataDir, 0o700);
    try {
      await mkdir(level, { mode: 0o700 });
      const database = openable(level);
      await database.open({ createIfMissing: true, errorIfExists: true });
      await database.put(keyOf("full", map.epoch), encodeStored("full", map), syncWrite);
      await database.close();
      await writeHead(headFile(dataDir), map);
    } catch (thrown) {
      if (madeFolder === undefined) await rm(level, { recursive: true, force: true });
      else removeMadeFolders(dataDir, madeFolder);
      throw toStorageError(thrown, `make a map store in ${dataDir}`);
    }
  }

  /**
   * @throws not_found when there is none; busy when another monitor has it; corrupt when something
   *   of it is missing, damaged or rolled back, naming the epoch; incompatible_version when a newer
   *   version of Cairn has written it
   */
  static async open(
    dataDir: string,
    options: Partial<LevelMapStoreOptions> = {},
  ): Promise<LevelMapStore> {
    await checkPresent(dataDir);
    const head = await readHead(headFile(dataDir));
    const database = openable(levelFolder(dataDir));
    await openExisting(database, dataDir);
    const store = new LevelMapStore(database, dataDir, head.clusterId, head, {
      ...defaultOptions,
      ...options,
    });
    try {
      await store.verify();
    } catch (thrown) {
      await database.close();
      throw withRemedy(thrown, dataDir);
    }
    return store;
  }

  head(): MapHead {
    return this.newest;
  }

  async load(): Promise<MapHistory> {
    const fulls = await this.epochsOf("full");
    const oldest = fulls[0];
    if (oldest === undefined) throw missing("full", this.newest.epoch);
    const base = decodeFull(await this.value("full", oldest), oldest);
    checkHash(base);
    const incrementals: Incremental[] = [];
    let map = base;
    for (const epoch of await this.epochsOf("inc")) {
      if (epoch !== map.epoch + 1) throw missing("inc", map.epoch + 1);
      const incremental = decodeIncremental(await this.value("inc", epoch), epoch);
      map = applyIncremental(map, incremental);
      incrementals.push(incremental);
      if (fulls.includes(epoch)) await this.checkFull(map);
    }
    const newestFull = defined(fulls.at(-1), "a full map");
    if (newestFull > map.epoch) throw missing("inc", map.epoch + 1);
    return { base, incrementals };
  }

  async append(incremental: Incremental, map: OsdMap): Promise<void> {
    if (this.failed !== undefined) throw this.failed;
    const follows = incremental.epoch === this.newest.epoch + 1;
    if (!follows || incremental.previousHash !== this.newest.hash) {
      throw new StorageError(
        "corrupt",
        `map epoch ${incremental.epoch} does not follow the store's head ${this.newest.epoch}`,
      );
    }
    assert(map.hash === incremental.hash, "the incremental leads to the map");
    try {
      const batch = this.database.batch();
      batch.put(keyOf("inc", map.epoch), encodeStored("inc", incremental));
      if (map.epoch % this.options.fullMapEvery === 0) {
        batch.put(keyOf("full", map.epoch), encodeStored("full", map));
        await this.trim(batch, map.epoch);
      }
      await batch.write(syncWrite);
      await this.writeHead({ epoch: map.epoch, hash: map.hash });
    } catch (thrown) {
      this.failed = toStorageError(thrown, `write map epoch ${map.epoch} to ${this.dataDir}`);
      throw this.failed;
    }
  }

  async close(): Promise<void> {
    await this.database.close();
  }

  /** Deletes what is older than the newest full map that leaves keepEpochs epochs. */
  private async trim(batch: Batch, newest: number): Promise<void> {
    const fulls = await this.epochsOf("full");
    const base = fulls.filter((epoch) => epoch <= newest - this.options.keepEpochs).at(-1);
    if (base === undefined) return;
    for (const epoch of fulls) if (epoch < base) batch.del(keyOf("full", epoch));
    for (const epoch of await this.epochsOf("inc")) {
      if (epoch <= base) batch.del(keyOf("inc", epoch));
    }
  }

  /** Checks all epochs and that they end at the head, or one after it. */
  private async verify(): Promise<void> {
    const { base, incrementals } = await this.load();
    if (base.clusterId !== this.clusterId) {
      throw new StorageError(
        "corrupt",
        `the head file is of cluster ${this.clusterId}, the maps are of ${base.clusterId}`,
      );
    }
    const chain = [base, ...incrementals].map(({ epoch, hash }) => ({ epoch, hash }));
    const last = defined(chain.at(-1), "the base map");
    const named = chain.find(({ epoch }) => epoch === this.newest.epoch);
    if (last.epoch < this.newest.epoch) {
      throw new StorageError(
        "corrupt",
        `the store ends at map epoch ${last.epoch}, but epoch ${this.newest.epoch} was durable`,
      );
    }
    if (named === undefined || named.hash !== this.newest.hash) {
      throw new StorageError(
        "corrupt",
        `map epoch ${this.newest.epoch} is another one than the head file names`,
      );
    }
    if (last.epoch > nextEpoch(this.newest.epoch)) {
      throw new StorageError(
        "corrupt",
        `the head file names map epoch ${this.newest.epoch}, the store ends at ${last.epoch}: ` +
          "the head file was rolled back",
      );
    }
    // A crash between the two writes of append(): the epoch is durable, nobody has seen it.
    if (last.epoch !== this.newest.epoch) await this.writeHead(last);
  }

  private async writeHead(head: MapHead): Promise<void> {
    await writeHead(headFile(this.dataDir), { clusterId: this.clusterId, ...head });
    this.newest = head;
  }

  private async checkFull(map: OsdMap): Promise<void> {
    const stored = decodeFull(await this.value("full", map.epoch), map.epoch);
    checkHash(stored);
    if (stored.hash !== map.hash) {
      throw new StorageError(
        "corrupt",
        `the full map of epoch ${map.epoch} is not what its incrementals lead to`,
      );
    }
  }

  private async epochsOf(kind: "full" | "inc"): Promise<Epoch[]> {
    const keys = await this.database.keys({ gte: `${kind}/`, lt: `${kind}0` }).all();
    return keys.map((key) => Number(key.slice(kind.length + 1)) as Epoch);
  }

  private async value(kind: "full" | "inc", epoch: number): Promise<Buffer> {
    const bytes = await this.database.get(keyOf(kind, epoch));
    if (bytes === undefined) throw missing(kind, epoch);
    return bytes;
  }
}

function openable(folder: string): Database {
  return new Level<string, Buffer>(folder, { keyEncoding: "utf8", valueEncoding: "buffer" });
}

async function openExisting(database: Database, dataDir: string): Promise<void> {
  try {
    await database.open({ createIfMissing: false });
  } catch (thrown) {
    const cause = (thrown as { cause?: { code?: string; message?: string } }).cause;
    if (cause?.code === "LEVEL_LOCKED") {
      throw new StorageError("busy", `another monitor is running on ${dataDir}`, {
        remedy: "Stop it first, or give this one a folder of its own.",
        cause: thrown,
      });
    }
    throw new StorageError(
      "corrupt",
      `LevelDB cannot open the map store in ${dataDir}: ${cause?.message ?? String(thrown)}`,
      { remedy: restoreRemedy(dataDir), cause: thrown },
    );
  }
}

async function checkPresent(dataDir: string): Promise<void> {
  const [level, head] = await Promise.all([
    isThere(levelFolder(dataDir)),
    isThere(headFile(dataDir)),
  ]);
  if (level && head) return;
  if (!level && !head) {
    throw new StorageError("not_found", `${dataDir} holds no monitor's map store`, {
      remedy: "Make a new cluster with `cairn up`, or name the right folder.",
    });
  }
  const gone = level ? headFile(dataDir) : levelFolder(dataDir);
  throw new StorageError("corrupt", `${gone} of the map store is missing`, {
    remedy: restoreRemedy(dataDir),
  });
}

async function isThere(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (thrown) {
    if ((thrown as { code?: string }).code === "ENOENT") return false;
    throw toStorageError(thrown, `look at ${file}`);
  }
}

function missing(kind: "full" | "inc", epoch: number): StorageError {
  return new StorageError("corrupt", `${keyOf(kind, epoch)} (map epoch ${epoch}) is missing`);
}

function withRemedy(thrown: unknown, dataDir: string): StorageError {
  const error = toStorageError(thrown, "read the map store");
  const byLevel = (thrown as { code?: unknown }).code === "LEVEL_CORRUPTION";
  return new StorageError(byLevel ? "corrupt" : error.code, `${dataDir}: ${error.message}`, {
    remedy: error.remedy ?? restoreRemedy(dataDir),
    cause: thrown,
  });
}
