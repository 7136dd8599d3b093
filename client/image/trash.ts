// The trash: images that have lost their names but not their data, until somebody removes them or
// takes them back.
import { StorageError } from "../../common/errors.js";
import type { TrashEntry } from "./directory.js";
import { checkImageName, poolCapacityBytes } from "./image-spec.js";
import { openHead } from "./layout.js";
import { refuseInMigration } from "./migration-state.js";
import { hasCode } from "./omap-values.js";
import { refuseGroup, removeNamed, withImageLock } from "./removal.js";
import { type ImageInfo, noProgress, type Progress, type Scope } from "./scope.js";

export interface TrashInfo {
  id: string;
  /** that it had */
  name: string;
  /** milliseconds since 1970 */
  deletedAt: number;
  /** before this it is removed by force only */
  deferUntil: number;
}

export interface PurgeOptions {
  /** milliseconds since 1970: what may be removed by then goes now; default: now */
  expiredBefore?: number;
  /** 0 to 1: only until so much of the pool's capacity is used; what expires first goes first */
  threshold?: number;
  /** how much of it is used now; needed with a threshold */
  usedRatio?: number;
  progress?: Progress;
}

export class Trash {
  constructor(private readonly scope: Scope) {}

  /** What expires first comes first. */
  async list(): Promise<TrashInfo[]> {
    const entries = await this.scope.directory.trash();
    return entries
      .sort((a, b) => a.deferUntil - b.deferUntil)
      .map(({ id, name, deletedAt, deferUntil }) => ({ id, name, deletedAt, deferUntil }));
  }

  /**
   * @param delayMs for so long it is kept from purges and removals without force
   * @throws not_found; busy when it is in use, or belongs to a group
   */
  async move(name: string, delayMs = 0): Promise<TrashInfo> {
    const { scope } = this;
    const id = await scope.idOf(name);
    const header = await scope.header(id);
    refuseGroup(header.group, scope.prefix + name);
    await refuseInMigration(scope, header);
    const deletedAt = scope.nowMs();
    const record = { name, deletedAt, deferUntil: deletedAt + delayMs };
    await withImageLock(scope, id, header, async () => {
      try {
        await scope.directory.toTrash(id, record);
      } catch (thrown) {
        if (!hasCode(thrown, "precondition_failed")) throw thrown;
        throw scope.missing(name);
      }
    });
    return { id, ...record };
  }

  /** @throws not_found, already_exists */
  async restore(id: string, newName?: string): Promise<ImageInfo> {
    const entry = await this.entry(id);
    const name = newName ?? entry.name;
    checkImageName(name);
    await this.scope.directory.restore(entry, name);
    return this.scope.infoOf(name, await this.scope.header(id));
  }

  /**
   * @param force also before its time
   * @throws not_found; busy before its time, or when it has snapshots
   */
  async remove(id: string, { force = false, progress = noProgress } = {}): Promise<void> {
    const entry = await this.entry(id);
    if (!force && this.scope.nowMs() < entry.deferUntil) {
      const until = new Date(entry.deferUntil).toISOString();
      throw new StorageError("busy", `${entry.name} (${id}) is kept until ${until}`, {
        remedy: "Say --force to remove it now.",
      });
    }
    await this.removeEntry(entry, progress);
  }

  /**
   * Removes what has expired. What has snapshots stays.
   * @returns those that are gone, and those that were not, with the reason
   */
  async purge(
    options: PurgeOptions = {},
  ): Promise<{ removed: TrashInfo[]; kept: { image: TrashInfo; reason: string }[] }> {
    const { expiredBefore = this.scope.nowMs(), progress = noProgress } = options;
    const expired = (await this.list()).filter(({ deferUntil }) => deferUntil <= expiredBefore);
    let bytesToFree = this.bytesToFree(options);
    const removed: TrashInfo[] = [];
    const kept: { image: TrashInfo; reason: string }[] = [];
    for (const image of expired) {
      if (bytesToFree <= 0) break;
      try {
        const usedBytes = options.threshold === undefined ? 0 : await this.usedBytes(image.id);
        await this.removeEntry(await this.entry(image.id), noProgress);
        bytesToFree -= usedBytes;
        removed.push(image);
      } catch (thrown) {
        if (!(thrown instanceof StorageError) || thrown.code !== "busy") throw thrown;
        kept.push({ image, reason: thrown.message });
      }
      progress(removed.length + kept.length, expired.length);
    }
    return { removed, kept };
  }

  /** Infinity: all. @throws invalid_argument */
  private bytesToFree({ threshold, usedRatio }: PurgeOptions): number {
    if (threshold === undefined) return Number.POSITIVE_INFINITY;
    if (!(threshold >= 0 && threshold <= 1) || usedRatio === undefined) {
      throw new StorageError("invalid_argument", `a threshold of ${threshold} cannot be`, {
        remedy: "Give a share of the pool's capacity, from 0 to 1.",
      });
    }
    const capacityBytes = poolCapacityBytes(this.scope.cluster.map(), this.scope.pool);
    return (usedRatio - threshold) * capacityBytes;
  }

  private async usedBytes(id: string): Promise<number> {
    const device = await openHead(this.scope, await this.scope.header(id), { readOnly: true });
    try {
      return (await this.scope.io.measureImage(device, 0)).usedBytes;
    } finally {
      this.scope.io.closeDevice(device);
    }
  }

  private async removeEntry(entry: TrashEntry, progress: Progress): Promise<void> {
    const { scope } = this;
    const spec = scope.prefix + entry.name;
    const words = scope.wordsFor({ id: entry.id });
    const unname = async () => {
      const { name } = entry;
      const record = { state: "removing" as const, name, refreshedAt: scope.nowMs() };
      try {
        return await scope.directory.removeTrash(entry, record);
      } catch (thrown) {
        if (!hasCode(thrown, "precondition_failed")) throw thrown;
        throw this.missing(entry.id);
      }
    };
    await removeNamed(scope, entry.id, spec, progress, unname, words);
  }

  private async entry(id: string): Promise<TrashEntry> {
    const entry = await this.scope.directory.trashEntry(id);
    if (entry === undefined) throw this.missing(id);
    return entry;
  }

  private missing(id: string): StorageError {
    return new StorageError("not_found", `there is no image ${id} in the trash`, {
      remedy: `\`cairn trash ls ${this.scope.pool.name}\` lists the ids.`,
    });
  }
}
