// Removing an image: it loses its name, then its data, then its header. What stands in the way is
// refused with the verb that mends it.
import { StorageError } from "../../common/errors.js";
import type { PendingEntry } from "./directory.js";
import { headerObject, type ImageHeader } from "./header.js";
import { headerToRemove, type RemovableHeader } from "./header-to-remove.js";
import { checkImageName } from "./image-spec.js";
import { forgetLostChildren } from "./lost-children.js";
import { clear, clearStale } from "./making.js";
import { refuseWatched, underLock } from "./management-lock.js";
import { refuseInMigration } from "./migration-state.js";
import { hasCode } from "./omap-values.js";
import { noProgress, type Progress, type Scope } from "./scope.js";

/** @throws not_found; busy when it is open, or has snapshots, or belongs to a group */
export async function removeImage(
  scope: Scope,
  name: string,
  progress: Progress = noProgress,
): Promise<void> {
  checkImageName(name);
  const id = await scope.directory.idOf(name);
  if (id === undefined) {
    const entries = await unfinishedRemovals(scope, name);
    if (entries.length === 0) throw scope.missing(name);
    for (const entry of entries) await clear(scope, entry, progress);
  } else {
    await removeNamed(scope, id, scope.prefix + name, progress, () => unpublish(scope, id, name));
  }
  await clearStale(scope, ["creating", "importing", "removing"]);
}

/**
 * Removes an image under its lock.
 * @param unname takes it out of the directory, into a pending entry
 * @param words how it is named on the command line
 */
export async function removeNamed(
  scope: Scope,
  id: string,
  spec: string,
  progress: Progress,
  unname: () => Promise<PendingEntry>,
  words = spec,
): Promise<void> {
  let header = await headerToRemove(scope, id);
  if (header?.isDamaged === false && header.snapshots.some(({ children }) => children > 0)) {
    await forgetLostChildren(scope, id);
    header = await headerToRemove(scope, id);
  }
  if (header !== undefined) await refuseWhatHolds(scope, header, spec, words);
  await withImageLock(scope, id, header, async (fence) => {
    // Once more: nobody changes it any more.
    const now = await headerToRemove(scope, id);
    if (now !== undefined) await refuseWhatHolds(scope, now, spec, words);
    await clear(scope, await unname(), progress, fence);
  });
}

/** Runs something that nobody may have the image open for. @throws busy */
export function withImageLock<T>(
  scope: Scope,
  id: string,
  header: ImageHeader | undefined,
  run: (fence: { key: string; token: number } | undefined) => Promise<T>,
): Promise<T> {
  const hasData = header !== undefined && scope.hasData(header);
  const dataPool = hasData ? scope.dataPoolOf(header).id : scope.pool.id;
  const address = { pool: scope.pool.id, id, dataPool };
  const ports = scope.lockPorts();
  return underLock(ports, address, async (fence) => {
    await refuseWatched(ports, address);
    return run(fence);
  });
}

async function refuseWhatHolds(
  scope: Scope,
  header: RemovableHeader,
  spec: string,
  words: string,
): Promise<void> {
  const { snapshots, group, id, isDamaged } = header;
  refuseGroup(group, spec);
  await refuseInMigration(scope, header);
  if (snapshots.length === 0) return;
  const children = snapshots.reduce((sum, snapshot) => sum + snapshot.children, 0);
  if (children > 0) {
    throw new StorageError("busy", `${spec} has ${children} clones`, {
      remedy: `Flatten or remove them: \`cairn children ${words}\` lists them.`,
    });
  }
  // No verb on snapshots can read it: they go with the image.
  if (isDamaged) return;
  const unfinished = snapshots.filter(({ state }) => state === "removing").length;
  const what =
    unfinished === snapshots.length
      ? `${headerObject(id)} still has snapshots whose removal was cut off`
      : `${spec} has ${snapshots.length} snapshots`;
  throw new StorageError("busy", what, {
    remedy: `Remove them: cairn snap purge ${words}`,
  });
}

/** @throws busy when the image belongs to a group */
export function refuseGroup(group: ImageHeader["group"], spec: string): void {
  if (group === undefined) return;
  throw new StorageError("busy", `${spec} belongs to a group`, {
    remedy: `Take it out first: cairn group image rm GROUP ${spec}`,
  });
}

export async function unpublish(scope: Scope, id: string, name: string): Promise<PendingEntry> {
  try {
    const record = { state: "removing" as const, name, refreshedAt: scope.nowMs() };
    return await scope.directory.unpublish(id, record);
  } catch (thrown) {
    if (!hasCode(thrown, "precondition_failed")) throw thrown;
    throw scope.missing(name);
  }
}

async function unfinishedRemovals(scope: Scope, name: string): Promise<PendingEntry[]> {
  const pending = await scope.directory.pending();
  return pending.filter((entry) => entry.state === "removing" && entry.name === name);
}
