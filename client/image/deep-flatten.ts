// Deep flattening: a clone and all its snapshots get what they show of a parent, and let that go.
// With exclusive access to the image. docs/snapshots.md
//
// Invariant: a reference to the parent goes from the header only when whatever it belongs to has
// been filled, also when it was made while the copying went on.
import { StorageError } from "../../common/errors.js";
import type { FlattenScope } from "../../native/binding.js";
import type { ImageAccess } from "./access.js";
import { detachSteps, finishDetach } from "./family.js";
import { blockBytes, type ImageHeader } from "./header.js";
import { changeHeader, type HeaderView, noteSteps } from "./header-change.js";
import { withParent, withWorkDevice } from "./layout.js";
import { removeStep, setStep } from "./omap-values.js";
import { isSameSnap, type ParentRef, type SnapRef } from "./references.js";
import { encodeSnapshot, snapshotKey } from "./snapshot-record.js";

/** Records that one operation changes: each is compared too. */
const recordsAtOnce = 20;

/** The head (undefined) or a snapshot, as far as it shows the parent. */
interface Heir {
  snapId: number | undefined;
  overlapBytes: number;
}

/** A parent that the head or a snapshot refers to. */
export function anyParent({ parent, snapshots }: ImageHeader): ParentRef | undefined {
  return parent ?? snapshots.find((snapshot) => snapshot.parent !== undefined)?.parent;
}

/** Until neither the image nor a snapshot of it has a parent. */
export async function flattenDeep(access: ImageAccess): Promise<void> {
  const { scope, id } = access;
  for (;;) {
    const header = await scope.header(id);
    const parent = anyParent(header);
    if (parent === undefined) break;
    const heirs = heirsOf(header, parent);
    await fill(access, header, parent, heirs);
    while (await dropReferences(access, parent, heirs));
    await finishDetach(access);
  }
}

function heirsOf({ parent, snapshots }: ImageHeader, of: SnapRef): Heir[] {
  const heirs: Heir[] = [];
  for (const { id, state, parent: shown } of snapshots) {
    if (shown === undefined || !isSameSnap(shown, of) || state !== "ready") continue;
    heirs.push({ snapId: id, overlapBytes: shown.overlapBytes });
  }
  if (parent !== undefined && isSameSnap(parent, of)) {
    heirs.push({ snapId: undefined, overlapBytes: parent.overlapBytes });
  }
  return heirs;
}

/** Parts of the image in which the same heirs show the parent. @throws corrupt */
export function scopesOf(heirs: readonly Heir[]): FlattenScope[] {
  const ends = [...new Set(heirs.map(({ overlapBytes }) => overlapBytes))].sort((a, b) => a - b);
  const scopes: FlattenScope[] = [];
  let fromBytes = 0;
  for (const toBytes of ends) {
    if (toBytes === 0) continue;
    // Only the parent's own end lies within a block: a shrink takes whole ones.
    if (toBytes % blockBytes !== 0 && toBytes !== ends.at(-1)) {
      throw new StorageError("corrupt", `an overlap with the parent ends in a block: ${toBytes}`);
    }
    const ids = heirs.filter((heir) => heir.overlapBytes >= toBytes).map(({ snapId }) => snapId);
    const snaps = ids.filter((snapId) => snapId !== undefined);
    scopes.push({ snaps, head: ids.includes(undefined), fromBytes, toBytes });
    fromBytes = toBytes;
  }
  return scopes;
}

/** Fills only what is absent, so front ends may write meanwhile; cut off, it has done no harm. */
function fill(
  { scope, fence, progress, wantedElsewhere }: ImageAccess,
  header: ImageHeader,
  parent: ParentRef,
  heirs: readonly Heir[],
): Promise<void> {
  const overlapBytes = Math.max(0, ...heirs.map((heir) => heir.overlapBytes));
  const copy = async (device: number) => {
    await withParent(scope, { ...parent, overlapBytes }, (open) =>
      scope.io.setParent(device, open ?? null),
    );
    for (const part of scopesOf(heirs)) await scope.io.flattenImage(device, progress, part);
  };
  return withWorkDevice(scope, header, fence, copy, {
    withoutParent: true,
    signal: wantedElsewhere,
  });
}

/**
 * Takes references to the parent out of the header, as many as one operation can.
 * @returns whether there are more that may go: not those of whoever has come since
 */
async function dropReferences(
  access: ImageAccess,
  parent: SnapRef,
  heirs: readonly Heir[],
): Promise<boolean> {
  const { scope, id, fence, request } = access;
  const filled = new Set(heirs.map(({ snapId }) => snapId));
  let more = false;
  const decide = (view: HeaderView) => {
    const { header, unchanged } = view;
    const holding = header.snapshots.filter((snapshot) => isSameSnap(snapshot.parent, parent));
    // Nobody reads one that is being removed.
    const free = holding.filter((heir) => filled.has(heir.id) || heir.state === "removing");
    const going = free.slice(0, recordsAtOnce).map(({ parent: _, ...kept }) => kept);
    more = free.length > going.length;
    // The head last: what has been taken since keeps it, and both are filled once more.
    const isLast = holding.length === going.length && filled.has(undefined);
    const takesHead = isLast && isSameSnap(header.parent, parent);
    if (going.length === 0 && !takesHead) return undefined;
    const after = {
      ...header,
      parent: takesHead ? undefined : header.parent,
      snapshots: header.snapshots.map((old) => going.find((heir) => heir.id === old.id) ?? old),
    };
    return [
      ...["parent", "snap_seq"].map(unchanged),
      ...going.map((heir) => unchanged(snapshotKey(heir.id))),
      ...going.map((heir) => setStep(snapshotKey(heir.id), encodeSnapshot(heir))),
      ...(takesHead ? [removeStep("parent")] : []),
      ...detachSteps(view, after),
      ...(anyParent(after) === undefined ? noteSteps(view, request) : []),
    ];
  };
  await access.quiesced(() => changeHeader(scope, id, fence, decide));
  return more;
}
