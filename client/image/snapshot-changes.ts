// Taking, removing and renaming snapshots of an image, with exclusive access to it.
//
// Invariants
//  - A snapshot exists from the moment its record does; its id is in the context of every write
//    that starts after that.
//  - The monitor is told to remove a snapshot only when no client writes with its id any more, and
//    its record goes only when the monitor has noted it.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { detachSteps, finishDetach } from "./family.js";
import { decodeHeader, type ImageHeader } from "./header.js";
import { changeHeader, changeOnce, type HeaderView } from "./header-change.js";
import type { ChangeOf } from "./image-change.js";
import { goesTo } from "./migration-state.js";
import { compareStep, removeStep, setStep, u64Value } from "./omap-values.js";
import { isListed } from "./scope.js";
import { finishTrim } from "./size.js";
import { encodeSnapshot, maxSnapshots, type Snapshot, snapshotKey } from "./snapshot-record.js";

/** @throws already_exists, out_of_range (too many) */
export async function createSnapshot(
  access: ImageAccess,
  { name, group }: ChangeOf<"snapCreate">,
): Promise<void> {
  const { scope, id } = access;
  // Read before the requests wait, which then need not wait for that.
  let known = await scope.valuesOfNamed(id);
  let before = decodeHeader(id, known);
  if (before.trimEndBytes !== undefined) {
    // What a cut-off shrink has left behind the end would be part of the snapshot.
    await finishTrim(access);
    known = await scope.valuesOfNamed(id);
    before = decodeHeader(id, known);
  }
  checkNewName(before, name);
  checkCount(before, group === undefined);
  const snapId = await scope.cluster.snapshotIds.allocate(scope.dataPoolOf(before));
  const decide = ({ header, unchanged }: HeaderView) => {
    checkNewName(header, name);
    checkCount(header, group === undefined);
    if (snapId <= header.snapSeq) {
      const message = `the monitor gave the snapshot id ${snapId}; ${header.snapSeq} is in use`;
      throw new StorageError("corrupt", message);
    }
    const snapshot: Snapshot = {
      id: snapId,
      name,
      sizeBytes: header.sizeBytes,
      createdAt: scope.nowMs(),
      protected: false,
      state: "ready",
      kind: group === undefined ? "user" : "group",
      children: 0,
      ...(header.parent === undefined ? {} : { parent: header.parent }),
      ...(group === undefined ? {} : { group }),
    };
    return [
      ...["snap_seq", "size", "parent", "snap_limit"].map(unchanged),
      compareStep(snapshotKey(snapId), undefined),
      setStep(snapshotKey(snapId), encodeSnapshot(snapshot)),
      setStep("snap_seq", u64Value(snapId)),
    ];
  };
  const { request } = access;
  await access.quiesced(
    () => changeOnce(access, decide, known),
    // Else an earlier holder has made it, maybe with another id.
    ({ requests }) =>
      request === undefined || !requests.includes(request)
        ? ({ snaps }) => ({ seq: snapId, snaps: [snapId, ...snaps] })
        : undefined,
  );
}

function checkNewName({ snapshots }: ImageHeader, name: string): void {
  if (!snapshots.some((other) => other.name === name && other.state === "ready")) return;
  throw new StorageError("already_exists", `the image has a snapshot "${name}"`, {
    remedy: "Choose another name; `cairn snap ls` lists the snapshots.",
  });
}

function checkCount(header: ImageHeader, byName: boolean): void {
  const { snapshots, snapLimit } = header;
  if (byName && snapLimit !== undefined && snapshots.filter(isListed).length >= snapLimit) {
    throw new StorageError("out_of_range", `the image may have ${snapLimit} snapshots at most`, {
      remedy: "Remove one, or raise the limit: `cairn snap limit set`.",
    });
  }
  if (snapshots.length < maxSnapshots) return;
  throw new StorageError("out_of_range", `an image can have ${maxSnapshots} snapshots at most`, {
    remedy: "Remove some: `cairn snap rm`.",
  });
}

/**
 * One that clones need stays for them, out of sight.
 * @throws not_found; busy when it is protected or belongs to a group
 */
export async function removeSnapshot(
  access: ImageAccess,
  { snapId, group }: ChangeOf<"snapRemove">,
): Promise<void> {
  await changeOnce(access, ({ header, unchanged }) => {
    const snapshot = header.snapshots.find((candidate) => candidate.id === snapId);
    if (snapshot?.state !== "ready" || snapshot.kind === "trash") throw gone(snapId);
    refuseRemoval(snapshot, group);
    const kept: Snapshot = { ...snapshot, kind: "trash", name: `trash-${snapId}` };
    const removing: Snapshot = { ...snapshot, state: "removing" };
    // Of a target also while clones of its source's may come to need it.
    const mayBeNeeded = snapshot.children > 0 || snapshot.source !== undefined;
    const next = mayBeNeeded ? kept : removing;
    const key = snapshotKey(snapId);
    return [unchanged(key), setStep(key, encodeSnapshot(next))];
  });
  await finishRemovals(access);
}

function refuseRemoval(snapshot: Snapshot, byGroup: boolean): void {
  if (snapshot.protected) {
    throw new StorageError("busy", `the snapshot "${snapshot.name}" is protected`, {
      remedy: "`cairn snap unprotect` lets it go.",
    });
  }
  if (snapshot.kind === "group" && !byGroup) {
    throw new StorageError("busy", `"${snapshot.name}" is part of the snapshot of a group`, {
      remedy: "Remove that of the group: `cairn group snap rm`.",
    });
  }
}

const gone = (snapId: number) =>
  new StorageError("not_found", `there is no snapshot with the id ${snapId} (any more)`, {
    remedy: "`cairn snap ls` lists the snapshots.",
  });

/** Whose removal is to be finished. While an image is migrated none that clones needed goes. */
export function overSnapshots(header: ImageHeader): Snapshot[] {
  const isMarked = goesTo(header) !== undefined;
  return header.snapshots.filter(({ state, kind, children, source }) => {
    const isKept = isMarked || source !== undefined || children > 0;
    return state === "removing" || (kind === "trash" && !isKept);
  });
}

/** Carries on with the removal of snapshots, as far as it has come. */
export async function finishRemovals(access: ImageAccess): Promise<void> {
  const { scope, id, fence } = access;
  const header = await scope.header(id);
  for (const { id: snapId, state } of overSnapshots(header)) {
    // One that waited for its last child.
    if (state === "ready") await beginRemoval(access, snapId);
    await leaveContext(access, snapId);
    await scope.cluster.snapshotIds.remove(scope.dataPoolOf(header), [snapId]);
    const key = snapshotKey(snapId);
    await changeHeader(scope, id, fence, (view) => {
      const snapshots = view.header.snapshots.filter((other) => other.id !== snapId);
      if (snapshots.length === view.header.snapshots.length) return undefined;
      const detach = detachSteps(view, { ...view.header, snapshots });
      return [view.unchanged(key), ...detach, removeStep(key)];
    });
    await finishDetach(access);
  }
}

/**
 * No write names the snapshot any more. Requests wait no longer than for those before them: that it
 * goes was noted before, and a write that still keeps it does no harm until then.
 */
function leaveContext(access: ImageAccess, snapId: number): Promise<void> {
  const nothing = async () => undefined;
  const without = (snaps: readonly number[]) => snaps.filter((other) => other !== snapId);
  return access.quiesced(nothing, () => ({ seq, snaps }) => ({ seq, snaps: without(snaps) }));
}

function beginRemoval({ scope, id, fence }: ImageAccess, snapId: number) {
  return changeHeader(scope, id, fence, ({ header, unchanged }) => {
    const snapshot = header.snapshots.find((candidate) => candidate.id === snapId);
    if (snapshot === undefined || snapshot.state === "removing") return undefined;
    const key = snapshotKey(snapId);
    return [unchanged(key), setStep(key, encodeSnapshot({ ...snapshot, state: "removing" }))];
  });
}

/** @throws not_found, already_exists, busy */
export async function renameSnapshot(
  access: ImageAccess,
  { snapId, name }: ChangeOf<"snapRename">,
): Promise<void> {
  await changeOnce(access, ({ header, unchanged }) => {
    const snapshot = header.snapshots.find((candidate) => candidate.id === snapId);
    if (snapshot?.state !== "ready" || snapshot.kind !== "user") throw gone(snapId);
    if (snapshot.name === name) return undefined;
    checkNewName(header, name);
    const key = snapshotKey(snapId);
    return [unchanged(key), setStep(key, encodeSnapshot({ ...snapshot, name }))];
  });
}
