// The snapshots of an image that is migrated: the target has the same ones from the beginning,
// which show those of the source until they are filled. docs/operating/migration.md
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { changedRanges, wholeBlocks } from "./changed-ranges.js";
import { blockBytes, type ImageHeader } from "./header.js";
import { changeHeader } from "./header-change.js";
import { openHead, openSnapshot, snapshotById, withWorkDevice } from "./layout.js";
import { targetRecord } from "./migration-state.js";
import { merged, type Ranges, type Run, runsOf } from "./moment-runs.js";
import { compareStep, removeStep, setStep, u64Value } from "./omap-values.js";
import type { Scope } from "./scope.js";
import { encodeSnapshot, type Snapshot, snapshotKey } from "./snapshot-record.js";

const recordsAtOnce = 20;

/** Those that move: what is being removed does not. */
export function movingSnapshots({ snapshots }: ImageHeader): Snapshot[] {
  return snapshots.filter(
    ({ state, kind, children }) => state === "ready" && (kind !== "trash" || children > 0),
  );
}

/** Of the target's snapshot of another one. One that only clones need still is named by its id. */
function movedName({ kind, name }: Snapshot, id: number): string {
  return kind === "trash" ? `trash-${id}` : name;
}

/** Whether the target has the snapshots of its source, and no others. */
export function hasSameSnapshots(target: ImageHeader, source: ImageHeader): boolean {
  const moving = movingSnapshots(source);
  return (
    moving.length === target.snapshots.length &&
    target.snapshots.every((snapshot, index) => {
      const from = moving[index];
      if (from === undefined || from.id !== snapshot.source) return false;
      return from.kind === snapshot.kind && movedName(from, snapshot.id) === snapshot.name;
    })
  );
}

/** Makes the target's snapshots those of the source, before anybody can open it; repeatable. */
export async function takeOverSnapshots(
  scope: Scope,
  id: string,
  source: ImageHeader,
): Promise<void> {
  const before = await scope.header(id);
  if (hasSameSnapshots(before, source)) return;
  const pool = scope.dataPoolOf(before);
  const old = before.snapshots.map((snapshot) => snapshot.id);
  if (old.length > 0) await scope.cluster.snapshotIds.remove(pool, old);
  for (let at = 0; at < old.length; at += recordsAtOnce) {
    const keys = old.slice(at, at + recordsAtOnce).map(snapshotKey);
    await changeHeader(scope, id, undefined, ({ unchanged }) => [
      unchanged("migration"),
      ...keys.map(removeStep),
    ]);
  }
  for (const from of movingSnapshots(source)) {
    const snapId = await scope.cluster.snapshotIds.allocate(pool);
    const { sizeBytes, createdAt, state } = from;
    const kind = from.kind === "trash" ? "trash" : "user";
    const snapshot: Snapshot = {
      ...{ id: snapId, name: movedName(from, snapId), sizeBytes, createdAt, kind, state },
      ...{ protected: from.protected, children: 0, source: from.id },
    };
    await changeHeader(scope, id, undefined, ({ unchanged }) => [
      ...["migration", "snap_seq"].map(unchanged),
      compareStep(snapshotKey(snapId), undefined),
      setStep(snapshotKey(snapId), encodeSnapshot(snapshot)),
      setStep("snap_seq", u64Value(snapId)),
    ]);
  }
}

/** A moment of the source, and the target's snapshot of it; undefined: now. */
interface Moment {
  sizeBytes: number;
  shownBytes: number;
  from: number | undefined;
  to: number | undefined;
}

function momentsOf(target: ImageHeader, source: ImageHeader): Moment[] {
  const moments: Moment[] = [];
  for (const { id, source: from } of target.snapshots) {
    if (from === undefined) continue;
    const { sizeBytes, parent } = snapshotById(source, from);
    moments.push({ sizeBytes, shownBytes: parent?.overlapBytes ?? 0, from, to: id });
  }
  const { sizeBytes, parent } = source;
  moments.push({
    sizeBytes,
    shownBytes: parent?.overlapBytes ?? 0,
    from: undefined,
    to: undefined,
  });
  return moments;
}

function openMoment(scope: Scope, source: ImageHeader, { from }: Moment) {
  return from === undefined
    ? openHead(scope, source, { readOnly: true })
    : openSnapshot(scope, source, from);
}

/** What may differ from the moment before. */
async function changesOf(
  scope: Scope,
  source: ImageHeader,
  before: Moment,
  moment: Moment,
): Promise<Ranges> {
  const device = await openMoment(scope, source, moment);
  try {
    const changed = await changedRanges(scope, device, before.from ?? 0);
    const ranges = changed.map(
      ({ offset, lengthBytes }) => [offset, offset + wholeBlocks(lengthBytes)] as const,
    );
    // What lies behind the end, and what the source's own parent shows or shows no more.
    for (const key of ["sizeBytes", "shownBytes"] as const) {
      const low = Math.min(before[key], moment[key]);
      const high = Math.max(before[key], moment[key]);
      if (low !== high) ranges.push([low - (low % blockBytes), wholeBlocks(high)]);
    }
    return merged(ranges);
  } finally {
    scope.io.closeDevice(device);
  }
}

/**
 * Copies what the target and its snapshots have not yet. What is the same in snapshots that follow
 * each other is copied once. Fills only what is absent, so front ends may write meanwhile.
 */
export async function fillMoments(
  access: ImageAccess,
  header: ImageHeader,
  from: { scope: Scope; header: ImageHeader },
): Promise<void> {
  const { scope, fence } = access;
  const moments = momentsOf(header, from.header);
  const changes: Ranges[] = [];
  for (const [index, moment] of moments.entries()) {
    const before = moments[index - 1];
    if (before === undefined) continue;
    changes.push(await changesOf(from.scope, from.header, before, moment));
  }
  const end = wholeBlocks(Math.max(...moments.map(({ sizeBytes }) => sizeBytes)));
  for (const run of runsOf(changes, end)) {
    await withWorkDevice(
      scope,
      header,
      fence,
      (device) => fillRun(access, device, from, moments, run),
      { withoutParent: true, signal: access.wantedElsewhere },
    );
  }
}

async function fillRun(
  { scope, progress }: ImageAccess,
  device: number,
  from: { scope: Scope; header: ImageHeader },
  moments: readonly Moment[],
  { first, last, ranges }: Run,
): Promise<void> {
  const moment = moments[first];
  if (moment === undefined) return;
  const source = await openMoment(from.scope, from.header, moment);
  try {
    await scope.io.setParent(device, { device: source, overlapBytes: moment.sizeBytes });
  } finally {
    scope.io.closeDevice(source);
  }
  const shown = moments.slice(first, last + 1).map(({ to }) => to);
  await scope.io.flattenImage(device, progress, {
    snaps: shown.filter((id) => id !== undefined),
    head: shown.includes(undefined),
    fromBytes: 0,
    toBytes: moment.sizeBytes,
    ranges: Float64Array.from(ranges.flat()),
  });
}

/** The snapshots of a target that is filled are like any others. Can be repeated. */
export async function forgetSources(scope: Scope, id: string): Promise<void> {
  for (;;) {
    let left = 0;
    await changeHeader(scope, id, undefined, ({ header, unchanged }) => {
      const moved = header.snapshots.filter(({ source }) => source !== undefined);
      left = moved.length;
      if (left === 0) return undefined;
      if (targetRecord(header)?.state !== "executed") {
        throw new StorageError("corrupt", "a snapshot is still to be filled from its source");
      }
      return moved.slice(0, recordsAtOnce).flatMap(({ source: _, ...snapshot }) => {
        const key = snapshotKey(snapshot.id);
        return [unchanged(key), setStep(key, encodeSnapshot(snapshot))];
      });
    });
    if (left <= recordsAtOnce) return;
  }
}
