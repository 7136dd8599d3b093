// Copies of images: of what one moment shows, or with all snapshots. The native core moves the
// bytes: the copy is filled as a clone of its source is flattened, though it never is its clone.
//
// Invariant: the copy has no name until all of it is durable; whatever fails before that takes away
// what was written, and what a client that died has left is a pending entry.
import { StorageError, toStorageError } from "../../common/errors.js";
import type { DeviceHandle } from "../../native/binding.js";
import type { ImageAccess } from "./access.js";
import { withAccess } from "./exclusive.js";
import type { ImageHeader } from "./header.js";
import { changeHeader } from "./header-change.js";
import { type Every, everyByClock, HeldEntry } from "./held-entry.js";
import { openHead, openSnapshot, withWorkDevice } from "./layout.js";
import { begin, checkNew, clear, clearStale, type LayoutOptions } from "./making.js";
import { refuseSource } from "./migration-state.js";
import { setStep, u64Value } from "./omap-values.js";
import { type ImageInfo, isListed, noProgress, type Progress, type Scope } from "./scope.js";
import { discardFrom } from "./size.js";
import { createSnapshot } from "./snapshot-changes.js";
import { encodeSnapshot, type Snapshot, snapshotKey } from "./snapshot-record.js";
import { snapshotByName } from "./snapshots.js";
import { type SparsifyOptions, sparsify } from "./sparsify.js";

export interface CopyOptions extends LayoutOptions {
  /** in objects, of each of the copied moments in turn */
  progress?: Progress;
  /** stops the copy; nothing of it stays */
  signal?: AbortSignal;
  every?: Every;
}

export interface CopyTarget {
  scope: Scope;
  name: string;
}

/** A moment of the source; undefined: now. */
type Moment = Snapshot | undefined;

export class Copies {
  constructor(private readonly scope: Scope) {}

  /** @param snap what this snapshot shows; undefined: the image as it is. @throws already_exists */
  async copy(
    image: string,
    snap: string | undefined,
    to: CopyTarget,
    options: CopyOptions = {},
  ): Promise<ImageInfo> {
    const header = await this.source(image);
    const spec = this.scope.prefix + image;
    const moment = snap === undefined ? undefined : snapshotByName(header, snap, spec);
    return this.make(header, [moment], to, options);
  }

  /** The image with all its snapshots; the copy of a clone stands for itself. */
  async deepCopy(image: string, to: CopyTarget, options: CopyOptions = {}): Promise<ImageInfo> {
    const header = await this.source(image);
    return this.make(header, [...header.snapshots.filter(isListed), undefined], to, options);
  }

  /** Gives the space of blocks of zeros back, also while the image is in use. */
  async sparsify(image: string, options: SparsifyOptions = {}): Promise<{ freedBytes: number }> {
    return sparsify(this.scope, await this.scope.idOf(image), options);
  }

  private async source(image: string): Promise<ImageHeader> {
    const header = await this.scope.header(await this.scope.idOf(image));
    await refuseSource(this.scope, header);
    return header;
  }

  private async make(
    source: ImageHeader,
    moments: Moment[],
    to: CopyTarget,
    options: CopyOptions,
  ): Promise<ImageInfo> {
    const { progress = noProgress, every = everyByClock(to.scope), signal, ...layout } = options;
    const own: LayoutOptions = {
      objectBytes: 2 ** source.order,
      stripeUnitBytes: source.stripeUnitBytes,
      stripeCount: source.stripeCount,
    };
    const sizeBytes = moments[0]?.sizeBytes ?? source.sizeBytes;
    const chosen = layout.objectBytes === undefined ? { ...own, ...layout } : layout;
    const image = { ...chosen, sizeBytes };
    checkNew(to.scope, to.name, image, true);
    await clearStale(to.scope, ["creating", "importing", "removing"]);
    const { entry } = await begin(to.scope, "importing", to.name, image);
    const held = new HeldEntry(to.scope, entry, every);
    try {
      const stops = signal === undefined ? [held.lost] : [held.lost, signal];
      const stop = AbortSignal.any(stops);
      const fill = (access: ImageAccess) => this.fill(source, moments, access, stop);
      await withAccess(to.scope, entry.id, fill, progress);
      // No renewal may run beside the publication, which compares the entry's bytes.
      await held.release();
      await to.scope.directory.publish(held.entry);
    } catch (thrown) {
      await held.release();
      // Should this fail, the entry stays, and the next rm or import of the pool clears it away.
      await clear(to.scope, held.entry).catch(() => undefined);
      throw toStorageError(thrown);
    }
    return to.scope.infoOf(to.name, await to.scope.header(entry.id));
  }

  private async fill(
    source: ImageHeader,
    moments: Moment[],
    access: ImageAccess,
    stop: AbortSignal,
  ): Promise<void> {
    let earlier: Moment;
    for (const moment of moments) {
      const from =
        moment === undefined
          ? await openHead(this.scope, source, { readOnly: true })
          : await openSnapshot(this.scope, source, moment.id);
      try {
        const sizeBytes = moment?.sizeBytes ?? source.sizeBytes;
        await fillFrom(access, { from, sizeBytes, earlier }, stop);
      } finally {
        this.scope.io.closeDevice(from);
      }
      // The last moment is what the copy is to show itself: no snapshot of it.
      if (moment !== undefined && moment !== moments.at(-1)) await copySnapshot(access, moment);
      earlier = moment;
    }
  }
}

/** The copy, which shows `earlier`, comes to show what `from` does. */
async function fillFrom(
  access: ImageAccess,
  { from, sizeBytes, earlier }: { from: DeviceHandle; sizeBytes: number; earlier: Moment },
  stop: AbortSignal,
): Promise<void> {
  const { scope, id, fence, progress } = access;
  const { io } = scope;
  throwIfStopped(stop);
  const before = await scope.header(id);
  // Discards of what lies behind the new end need the old one.
  const spanBytes = Math.max(before.sizeBytes, sizeBytes);
  const update = async (device: DeviceHandle) => {
    if (earlier !== undefined) {
      for (const [offset, lengthBytes] of await changedRanges(access, from, earlier.id)) {
        await io.discard(device, offset, Math.min(lengthBytes, spanBytes - offset));
      }
      if (before.sizeBytes > sizeBytes) {
        await discardFrom(scope, before, sizeBytes, noProgress, fence);
      }
    }
    // Now exactly those blocks are absent that are to be copied.
    await io.setParent(device, { device: from, overlapBytes: sizeBytes });
    const cancel = () => io.cancelJobs(device);
    stop.addEventListener("abort", cancel, { once: true });
    try {
      await io.flattenImage(device, progress);
    } catch (thrown) {
      throwIfStopped(stop);
      throw thrown;
    } finally {
      stop.removeEventListener("abort", cancel);
    }
  };
  await withWorkDevice(scope, before, fence, update, { sizeBytes: spanBytes });
  await changeHeader(scope, id, fence, ({ unchanged }) => [
    unchanged("size"),
    setStep("size", u64Value(sizeBytes)),
  ]);
}

async function changedRanges(
  { scope }: ImageAccess,
  device: DeviceHandle,
  fromSnap: number,
): Promise<[offset: number, lengthBytes: number][]> {
  const ranges: [number, number][] = [];
  await scope.io.diffImage(device, fromSnap, (triples) => {
    for (let at = 0; at + 1 < triples.length; at += 3) {
      ranges.push([triples[at] ?? 0, triples[at + 1] ?? 0]);
    }
  });
  return ranges;
}

/** Takes a snapshot as another one is. */
export async function copySnapshot(
  access: ImageAccess,
  { name, ...of }: Pick<Snapshot, "name" | "protected">,
): Promise<void> {
  const { scope, id, fence } = access;
  await createSnapshot(access, { kind: "snapCreate", name });
  if (!of.protected) return;
  await changeHeader(scope, id, fence, ({ header, unchanged }) => {
    const snapshot = header.snapshots.find((other) => other.name === name);
    if (snapshot === undefined) throw new StorageError("not_found", `${name} was removed`);
    const key = snapshotKey(snapshot.id);
    return [unchanged(key), setStep(key, encodeSnapshot({ ...snapshot, protected: true }))];
  });
}

function throwIfStopped(stop: AbortSignal): void {
  if (!stop.aborted) return;
  if (stop.reason instanceof StorageError) throw stop.reason;
  throw new StorageError("canceled", "stopped before it was done; nothing of it is left");
}
