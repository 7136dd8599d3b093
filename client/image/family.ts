// The tie between a clone and its parent: the parent's header counts each child of each snapshot,
// the child's names the parent. Each half is one atomic change; between the two stands a note that
// whoever meets it carries on from: the pending entry of a clone that is being made, `detaching` in
// the header of one that has left. docs/format/image.md
import { StorageError } from "../../common/errors.js";
import type { NativeStep } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { listKeys } from "./directory-object.js";
import { makeChange } from "./exclusive.js";
import { headerObject, type ImageHeader } from "./header.js";
import type { HeaderView } from "./header-change.js";
import { changeHeader } from "./header-change.js";
import { announceUntilFollowed } from "./management-lock.js";
import { goesTo, targetRecord } from "./migration-state.js";
import { compareStep, hasCode, type Omap, removeStep, setStep, valueMap } from "./omap-values.js";
import {
  childKey,
  childPrefix,
  type ImageRef,
  imageRefChecker,
  type SnapRef,
  snapRefOf,
} from "./references.js";
import type { Scope } from "./scope.js";
import { encodeSnapshot, type Snapshot, snapshotKey } from "./snapshot-record.js";

/** The scope of an image's header; undefined when its pool is gone. */
function scopeOf(scope: Scope, { pool, namespace }: ImageRef): Scope | undefined {
  try {
    return scope.elsewhere(pool, namespace);
  } catch (thrown) {
    if (hasCode(thrown, "not_found")) return undefined;
    throw thrown;
  }
}

async function isChild(scope: Scope, { imageId }: SnapRef, key: string): Promise<boolean> {
  const step = { code: "omapList" as const, key, value: new Uint8Array(), length: 1 };
  const { omap } = await scope.io.operate(scope.pool.id, headerObject(imageId), [step]);
  return omap.some(([found]) => found === key);
}

/**
 * Counts a new image as a child of a snapshot.
 * @param known the parent's header as it was just read; undefined: it is read
 * @param evenRemoved the copy of a clone may have a parent that is kept for its clones only
 * @throws not_found when the snapshot is gone
 */
export async function joinParent(
  scope: Scope,
  parent: SnapRef,
  child: ImageRef,
  known: Omap | undefined,
  evenRemoved = false,
): Promise<void> {
  const there = scope.elsewhere(parent.pool, parent.namespace);
  const key = childKey(parent.snapId, child);
  const count = ({ header, unchanged }: HeaderView) => {
    if (header.migration !== undefined && targetRecord(header)?.state !== "executed") {
      throw new StorageError("busy", "the image to be cloned is being migrated", {
        remedy: "Clone it afterwards: cairn migration execute.",
      });
    }
    const snapshot = header.snapshots.find(({ id }) => id === parent.snapId);
    const isKept = evenRemoved && snapshot?.kind === "trash" && snapshot.children > 0;
    if (snapshot?.state !== "ready" || (snapshot.kind !== "user" && !isKept)) {
      throw new StorageError("not_found", "the snapshot to be cloned has just been removed");
    }
    return [unchanged("migration"), ...countSteps(unchanged, snapshot, key, child)];
  };
  await changeHeader(there, parent.imageId, undefined, count, known);
}

function countSteps(
  unchanged: HeaderView["unchanged"],
  snapshot: Snapshot,
  key: string,
  child: ImageRef,
): NativeStep[] {
  const counted = { ...snapshot, children: snapshot.children + 1 };
  return [
    unchanged(snapshotKey(snapshot.id)),
    compareStep(key, undefined),
    setStep(snapshotKey(snapshot.id), encodeSnapshot(counted)),
    setStep(key, encodeValue(child)),
  ];
}

/**
 * Counts a clone of the other side of a migration as a child of the same snapshot here, unless it
 * is counted already. Under the clone's lock.
 * @param mayTake by what the header says of the migration
 * @throws busy when it may not
 */
export async function takeChild(
  scope: Scope,
  parent: SnapRef,
  child: ImageRef,
  mayTake: (header: ImageHeader) => boolean,
): Promise<void> {
  const there = scope.elsewhere(parent.pool, parent.namespace);
  const key = childKey(parent.snapId, child);
  if (await isChild(there, parent, key)) return;
  await changeHeader(there, parent.imageId, undefined, ({ header, unchanged }) => {
    const snapshot = header.snapshots.find(({ id }) => id === parent.snapId);
    if (snapshot?.state !== "ready" || !mayTake(header)) {
      throw new StorageError("busy", "the migration that the clones follow goes another way", {
        remedy: "`cairn info` shows how far it is.",
      });
    }
    return [unchanged("migration"), ...countSteps(unchanged, snapshot, key, child)];
  });
}

/** An image is no child of a snapshot any more. Can be repeated; the parent may be gone. */
export async function leaveParent(scope: Scope, parent: SnapRef, child: ImageRef): Promise<void> {
  const there = scopeOf(scope, parent);
  if (there === undefined) return;
  const key = childKey(parent.snapId, child);
  for (;;) {
    if (!(await isChild(there, parent, key))) return;
    try {
      if (await discount(there, parent, key, child)) break;
    } catch (thrown) {
      if (hasCode(thrown, "not_found")) return;
      if (!hasCode(thrown, "corrupt")) throw thrown;
      // Of a damaged header the keys alone count.
      const object = headerObject(parent.imageId);
      await there.io.operate(there.pool.id, object, [removeStep(key)]);
    }
  }
}

/** @returns false when it has to be looked at again */
async function discount(
  there: Scope,
  { imageId, snapId }: SnapRef,
  key: string,
  child: ImageRef,
): Promise<boolean> {
  let [left, attempts] = [0, 0];
  let isOver = false;
  await changeHeader(there, imageId, undefined, ({ header, unchanged }) => {
    attempts += 1;
    const snapshot = header.snapshots.find(({ id }) => id === snapId);
    if (attempts > 1) return undefined;
    left = (snapshot?.children ?? 1) - 1;
    isOver = snapshot?.kind === "trash" && left === 0 && goesTo(header) === undefined;
    const record: NativeStep[] =
      snapshot === undefined
        ? []
        : [setStep(snapshotKey(snapId), encodeSnapshot({ ...snapshot, children: left }))];
    return [
      unchanged(snapshotKey(snapId)),
      compareStep(key, encodeValue(child)),
      ...record,
      removeStep(key),
    ];
  });
  if (attempts > 1) return false;
  // The snapshot was kept for its children only. Where the parent can't be had now, the next one
  // who takes its lock removes it.
  if (isOver) {
    await makeChange(there, imageId, { kind: "settle" }).catch(() => undefined);
  }
  return true;
}

/**
 * Whoever has this image open, or a clone of it, or a clone of such a one, opens its parents anew:
 * what they refer to has changed, and what they referred to may be removed.
 * @throws timed_out when one that lives does not follow
 */
async function tellFamily(scope: Scope, image: ImageRef): Promise<void> {
  const there = scopeOf(scope, image);
  if (there === undefined) return;
  try {
    const address = { pool: image.pool, id: image.imageId };
    await announceUntilFollowed(scope.lockPorts(), address);
  } catch (thrown) {
    // One that is just being made, or has gone, has nobody who listens.
    if (!hasCode(thrown, "not_found")) throw thrown;
  }
  const at: [number, string] = [there.pool.id, headerObject(image.imageId)];
  const { omap } = await listKeys(there.io, at, childPrefix);
  const children = omap.map(([key, value]) => valueMap(value, imageRefChecker, key));
  await Promise.all(children.map((child) => tellFamily(scope, child)));
}

/** Every snapshot of other images that something in this header refers to. */
export function parentsOf(header: ImageHeader): SnapRef[] {
  const { parent, detaching, snapshots } = header;
  const all = [parent, detaching, ...snapshots.map((snapshot) => snapshot.parent)];
  const found = new Map<string, SnapRef>();
  for (const ref of all) {
    if (ref !== undefined) found.set(childKey(ref.snapId, ref), snapRefOf(ref));
  }
  return [...found.values()];
}

/**
 * The steps by which a change that takes one reference to a parent away notes that it was the last.
 * @param after the header as it is after the change
 */
export function detachSteps({ header, unchanged }: HeaderView, after: ImageHeader): NativeStep[] {
  const kept = parentsOf(after).map(({ snapId, imageId }) => `${imageId}@${snapId}`);
  const gone = parentsOf(header).find(
    ({ snapId, imageId }) => !kept.includes(`${imageId}@${snapId}`),
  );
  if (gone === undefined) return [];
  if (header.detaching !== undefined) {
    throw new StorageError("busy", "the image is still leaving another parent", {
      remedy: "Try again; `cairn status` shows who has the image open and does not follow.",
    });
  }
  return [unchanged("detaching"), setStep("detaching", encodeValue(gone))];
}

/** Leaves the parent that nothing here refers to any more. */
export async function finishDetach({ scope, id, fence }: ImageAccess): Promise<void> {
  const { detaching } = await scope.header(id);
  if (detaching === undefined) return;
  await tellFamily(scope, scope.refOf(id));
  await leaveParent(scope, detaching, scope.refOf(id));
  await changeHeader(scope, id, fence, ({ header, unchanged }) =>
    header.detaching === undefined ? undefined : [unchanged("detaching"), removeStep("detaching")],
  );
}
