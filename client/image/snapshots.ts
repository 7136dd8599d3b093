// The snapshots of images, as users have them by name.
import { StorageError } from "../../common/errors.js";
import { makeChange } from "./exclusive.js";
import { headerObject, type ImageHeader } from "./header.js";
import { changeHeader } from "./header-change.js";
import { checkImageName } from "./image-spec.js";
import { type ImageKey, keyText, type SnapKey } from "./keys.js";
import { forgetLostChildren } from "./lost-children.js";
import { removeStep, setStep, u64Value } from "./omap-values.js";
import { isListed, type Progress, type Scope } from "./scope.js";
import {
  encodeSnapshot,
  maxSnapshots,
  type Snapshot,
  type SnapshotKind,
  snapshotKey,
} from "./snapshot-record.js";

export interface SnapshotInfo {
  id: number;
  name: string;
  sizeBytes: number;
  /** milliseconds since 1970 */
  createdAt: number;
  protected: boolean;
  kind: SnapshotKind;
  /** clones of it */
  children: number;
}

/**
 * @param words how the image is named on the command line
 * @throws not_found
 */
export function snapshotByName(
  header: ImageHeader,
  name: string,
  spec: string,
  words = spec,
): Snapshot {
  const found = header.snapshots.find(
    (snapshot) => snapshot.name === name && snapshot.state === "ready" && snapshot.kind !== "trash",
  );
  if (found !== undefined) return found;
  throw new StorageError("not_found", `there is no snapshot ${spec}@${name}`, {
    remedy: `\`cairn snap ls ${words}\` lists the snapshots.`,
  });
}

/** By its id also one that nobody sees any more. @throws not_found */
export function snapshotByKey(
  scope: Scope,
  header: ImageHeader,
  image: ImageKey,
  key: SnapKey,
): Snapshot {
  const [spec, words] = [scope.specOf(image), scope.wordsFor(image)];
  if (typeof key === "string") return snapshotByName(header, key, spec, words);
  const found = header.snapshots.find(({ id }) => id === key.id);
  if (found !== undefined) return found;
  throw new StorageError("not_found", `${spec} has no snapshot with the id ${key.id}`, {
    remedy: `\`cairn snap ls --all ${words}\` lists the snapshots.`,
  });
}

/** Oldest first. @param all with those that belong to groups or wait for their last clone */
export function snapshotsIn({ snapshots }: ImageHeader, all = false): SnapshotInfo[] {
  return snapshots
    .filter((snapshot) => isListed(snapshot) || (all && snapshot.state === "ready"))
    .map(({ id, name, sizeBytes, createdAt, protected: isProtected, kind, children }) => ({
      ...{ id, name, sizeBytes, createdAt, kind, children },
      protected: isProtected,
    }));
}

export class Snapshots {
  constructor(private readonly scope: Scope) {}

  /** Oldest first. @param all with those that belong to groups or wait for their last clone */
  async list(image: ImageKey, { all = false } = {}): Promise<SnapshotInfo[]> {
    return snapshotsIn(await this.header(image), all);
  }

  /** @throws not_found */
  async info(image: ImageKey, snap: SnapKey): Promise<SnapshotInfo> {
    const { id } = await this.find(image, snap);
    const info = (await this.list(image, { all: true })).find((snapshot) => snapshot.id === id);
    if (info === undefined) throw missing(image, snap);
    return info;
  }

  /**
   * Takes a snapshot: of all that was written before, and of nothing that is written after.
   * @throws already_exists, out_of_range (too many)
   */
  async create(image: string, name: string): Promise<SnapshotInfo> {
    checkImageName(name);
    await makeChange(this.scope, await this.scope.idOf(image), { kind: "snapCreate", name });
    return this.info(image, name);
  }

  /** @throws not_found; busy when it is protected, or is kept for clones only */
  async remove(image: ImageKey, snap: SnapKey, { force = false } = {}): Promise<void> {
    const found = await this.find(image, snap);
    const { imageId, id, protected: isProtected, state, kind } = found;
    let { children } = found;
    if (children > 0) {
      await forgetLostChildren(this.scope, imageId, id);
      const { snapshots } = await this.scope.header(imageId);
      const now = snapshots.find((snapshot) => snapshot.id === id);
      // It was kept for lost clones only, and has gone with them.
      if (now === undefined && kind === "trash") return;
      children = now?.children ?? 0;
    }
    if (kind === "trash" && children > 0) throw keptForClones(this.scope, image, id);
    if (state === "removing" || kind === "trash") {
      // Its removal was cut off.
      return makeChange(this.scope, imageId, { kind: "settle" });
    }
    if (force && isProtected) await this.protect(image, snap, false);
    await makeChange(this.scope, imageId, { kind: "snapRemove", snapId: id, group: false });
  }

  /** @throws not_found, already_exists */
  async rename(image: string, name: string, newName: string): Promise<void> {
    checkImageName(newName);
    const { imageId, id } = await this.find(image, name);
    await makeChange(this.scope, imageId, { kind: "snapRename", snapId: id, name: newName });
  }

  /** The image becomes what the snapshot shows: what was written since is lost. */
  async rollback(image: string, name: string, progress?: Progress): Promise<void> {
    const { imageId, id } = await this.find(image, name);
    await makeChange(this.scope, imageId, { kind: "rollback", snapId: id }, progress);
  }

  /**
   * A protected snapshot is not removed.
   * @throws not_found; invalid_argument when it is (not) protected already
   */
  async protect(image: ImageKey, snap: SnapKey, protect = true): Promise<void> {
    const { imageId, id } = await this.find(image, snap);
    await changeHeader(this.scope, imageId, undefined, ({ header, unchanged }) => {
      const snapshot = header.snapshots.find((candidate) => candidate.id === id);
      if (snapshot?.state !== "ready") throw missing(image, snap);
      if (snapshot.protected === protect) {
        const how = protect ? "protected already" : "not protected";
        throw new StorageError("invalid_argument", `${keyText(image)}@${keyText(snap)} is ${how}`);
      }
      const key = snapshotKey(id);
      return [unchanged(key), setStep(key, encodeSnapshot({ ...snapshot, protected: protect }))];
    });
  }

  /**
   * Removes all that can be: protected ones, and those of groups, stay.
   * @returns the names of those that are gone
   */
  async purge(image: ImageKey, progress?: Progress): Promise<string[]> {
    const imageId = await this.scope.idOf(image);
    await forgetLostChildren(this.scope, imageId);
    // What was cut off earlier counts among the snapshots of an image, though nobody sees it.
    await makeChange(this.scope, imageId, { kind: "settle" });
    const removable = (await this.list(image)).filter((snapshot) => !snapshot.protected);
    const removed: string[] = [];
    for (const { id, name } of removable.reverse()) {
      await makeChange(this.scope, imageId, { kind: "snapRemove", snapId: id, group: false });
      removed.push(name);
      progress?.(removed.length, removable.length);
    }
    return removed;
  }

  /** How many may be taken by name; undefined: as many as an image can have. */
  async setLimit(image: string, limit: number | undefined): Promise<void> {
    if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0 && limit <= maxSnapshots)) {
      throw new StorageError("invalid_argument", `a limit of ${limit} snapshots cannot be`, {
        remedy: `Give a number from 0 to ${maxSnapshots}.`,
      });
    }
    const id = await this.scope.idOf(image);
    const key = "snap_limit";
    await this.scope.io.operate(this.scope.pool.id, headerObject(id), [
      { code: "assertExists" },
      limit === undefined ? removeStep(key) : setStep(key, u64Value(limit)),
    ]);
  }

  /** The snapshot with the id of its image. @throws not_found */
  async find(image: ImageKey, snap: SnapKey): Promise<Snapshot & { imageId: string }> {
    const header = await this.header(image);
    return { ...snapshotByKey(this.scope, header, image, snap), imageId: header.id };
  }

  private async header(image: ImageKey): Promise<ImageHeader> {
    return this.scope.header(await this.scope.idOf(image));
  }
}

const missing = (image: ImageKey, snap: SnapKey) =>
  new StorageError("not_found", `there is no snapshot ${keyText(image)}@${keyText(snap)} any more`);

function keptForClones(scope: Scope, image: ImageKey, id: number): StorageError {
  const what = `the snapshot ${id} of ${scope.specOf(image)}`;
  const words = scope.wordsFor(image);
  return new StorageError("busy", `${what} is removed, and kept for its clones`, {
    remedy: `It goes with the last of them: cairn children ${words} --snap-id ${id}`,
  });
}
