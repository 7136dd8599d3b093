// Clones of an image that is migrated. They go on reading the source's snapshots, which nobody
// changes or removes, until the migration is committed: then each becomes a clone of the same
// snapshot of the target, and only then the source goes. An abort takes back those that have.
// docs/operating/migration.md
//
// Invariant: whatever a clone's header refers to counts it as a child, and what only may count it
// stands in its header as `detaching`: so whoever takes the clone's lock, or removes it, clears
// away what was cut off.
import { StorageError } from "../../common/errors.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { childrenOf } from "./children.js";
import { makeChange } from "./exclusive.js";
import { finishDetach, leaveParent, takeChild } from "./family.js";
import type { ImageHeader } from "./header.js";
import { changeHeader, type HeaderView } from "./header-change.js";
import type { ChangeOf } from "./image-change.js";
import { clearStale } from "./making.js";
import { goesTo, specOf, targetRecord } from "./migration-state.js";
import { removeStep, setStep } from "./omap-values.js";
import { isSameSnap, type ParentRef, type SnapRef } from "./references.js";
import type { Scope } from "./scope.js";
import { encodeSnapshot, snapshotKey } from "./snapshot-record.js";

/** Records that one operation changes: each is compared too. */
const recordsAtOnce = 20;

/** One of the two images of a migration. */
export interface Side {
  scope: Scope;
  header: ImageHeader;
}

/** Of the target: for each snapshot of the source, the same one here. */
export function movedTo({ snapshots }: ImageHeader): Map<number, number> {
  const pairs = new Map<number, number>();
  for (const { id, source } of snapshots) if (source !== undefined) pairs.set(source, id);
  return pairs;
}

/**
 * Every clone of `from` becomes one of the same snapshot of `to`; whoever has it open follows.
 * Can be repeated.
 * @param pairs the snapshots of `to`, by those of `from`
 * @throws busy when one can't be now; timed_out when somebody who has it open does not follow
 */
export async function moveClones(
  from: Side,
  to: Side,
  pairs: ReadonlyMap<number, number>,
): Promise<void> {
  const { scope, header } = from;
  const children = await childrenOf(scope, header.id);
  const spec = await specOf(scope, header.id);
  if (children.length === 0) {
    throw new StorageError("corrupt", `${spec} counts clones, and knows none`);
  }
  for (const { snapId, image, isLost } of children) {
    const toId = pairs.get(snapId);
    const source = { ...scope.refOf(header.id), snapId };
    if (isLost) await leaveParent(scope, source, image);
    else if (toId === undefined) {
      throw new StorageError("corrupt", `the snapshot ${snapId} of ${spec} has not been migrated`);
    } else {
      const target = { ...to.scope.refOf(to.header.id), snapId: toId };
      await moveClone(scope.elsewhere(image.pool, image.namespace), image.imageId, source, target);
    }
  }
}

async function moveClone(there: Scope, id: string, from: SnapRef, to: SnapRef): Promise<void> {
  await clearStale(there, ["creating", "importing", "removing"]);
  const entry = (await there.directory.pending()).find((pending) => pending.id === id);
  if (entry !== undefined) {
    const spec = there.prefix + entry.name;
    throw new StorageError("busy", `the clone ${spec} is just being made, or removed`, {
      remedy: "Let that end, then try again. What a dead client has left goes after two minutes.",
    });
  }
  const hasHeader = (await there.headerIfAny(id)) !== undefined;
  // What was stale has gone, and nothing counts it any more.
  if (!hasHeader && !(await there.directory.hasId(id))) return;
  await makeChange(there, id, { kind: "relink", from, to });
}

/** What refers to one snapshot in a clone's header comes to refer to the other. Can be repeated. */
export async function relink(access: ImageAccess, change: ChangeOf<"relink">): Promise<void> {
  const { scope, id, fence } = access;
  const { from, to } = change;
  const ref = scope.refOf(id);
  await finishDetach(access);
  const header = await scope.header(id);
  // A flatten may have been faster.
  if (!refersTo(header, from)) return leaveParent(scope, from, ref);
  if (!refersTo(header, to)) {
    await changeHeader(scope, id, fence, ({ unchanged }) => [
      ...["detaching", "parent"].map(unchanged),
      setStep("detaching", encodeValue(to)),
    ]);
  }
  await takeChild(scope, to, ref, (parent) => isOtherSide(parent, from));
  while (await swapReferences(access, change));
  await finishDetach(access);
}

/** Whether clones of `from` may become clones of this image now. */
function isOtherSide(header: ImageHeader, from: SnapRef): boolean {
  if (goesTo(header)?.imageId === from.imageId) return true;
  const record = targetRecord(header);
  const isOurs = record?.source.kind === "image" && record.source.image.imageId === from.imageId;
  return isOurs && record.state === "executed";
}

function refersTo({ parent, snapshots }: ImageHeader, snap: SnapRef): boolean {
  return isSameSnap(parent, snap) || snapshots.some((of) => isSameSnap(of.parent, snap));
}

/**
 * As many references as one operation can change. The first one ends the note that `to` only may
 * count us, the last one begins that of `from`.
 * @returns whether there are more
 */
async function swapReferences(
  access: ImageAccess,
  { from, to }: ChangeOf<"relink">,
): Promise<boolean> {
  const { scope, id, fence } = access;
  const moved = ({ overlapBytes }: ParentRef): ParentRef => ({ ...to, overlapBytes });
  let more = false;
  const decide = ({ header, unchanged }: HeaderView) => {
    const holding = header.snapshots.filter(({ parent }) => isSameSnap(parent, from));
    const going = holding.slice(0, recordsAtOnce);
    more = holding.length > going.length;
    const head = more || !isSameSnap(header.parent, from) ? undefined : header.parent;
    const records = going.map((old) => {
      const next = old.parent === undefined ? old : { ...old, parent: moved(old.parent) };
      return setStep(snapshotKey(old.id), encodeSnapshot(next));
    });
    return [
      ...["parent", "snap_seq", "detaching"].map(unchanged),
      ...going.map((old) => unchanged(snapshotKey(old.id))),
      ...records,
      ...(head === undefined ? [] : [setStep("parent", encodeValue(moved(head)))]),
      more ? removeStep("detaching") : setStep("detaching", encodeValue(from)),
    ];
  };
  await access.quiesced(() => changeHeader(scope, id, fence, decide));
  return more;
}
