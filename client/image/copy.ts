// Copies of images: of what one moment shows, or with all snapshots. The native core moves the
// bytes: the copy is filled as a clone of its source is flattened, though it never is its clone.
import { StorageError } from "../../common/errors.js";
import type { DeviceHandle } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { changedRanges, stateZero, wholeBlocks } from "./changed-ranges.js";
import { joinParent } from "./family.js";
import { makeFilled, throwIfStopped } from "./filled-image.js";
import { followDevice } from "./followed-device.js";
import type { ImageHeader } from "./header.js";
import { changeHeader } from "./header-change.js";
import type { Every } from "./held-entry.js";
import {
  openHead,
  openOwn,
  openSnapshot,
  withHeader,
  withParent,
  withWorkDevice,
} from "./layout.js";
import { checkNew, type LayoutOptions } from "./making.js";
import { needsSource } from "./migration-record.js";
import { refuseSource, targetRecord } from "./migration-state.js";
import { removeStep, setStep, u64Value } from "./omap-values.js";
import type { ParentRef } from "./references.js";
import { type ImageInfo, isListed, noProgress, type Progress, type Scope } from "./scope.js";
import { discardFrom, discardStepBytes } from "./size.js";
import { createSnapshot } from "./snapshot-changes.js";
import { encodeSnapshot, type Snapshot, snapshotKey } from "./snapshot-record.js";
import { snapshotByName } from "./snapshots.js";
import { type SparsifyOptions, sparsify } from "./sparsify.js";

export interface CopyOptions extends LayoutOptions {
  /** in objects, of each of the copied moments in turn */
  progress?: Progress;
  /** of a clone with its snapshots: the copy stands for itself, and is no clone */
  flatten?: boolean;
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

interface OpenMoment {
  handle: DeviceHandle;
  /** that it was opened by */
  header: ImageHeader;
  close(): Promise<void>;
}

interface Source {
  header: ImageHeader;
  moments: Moment[];
  /** the copy is a clone of it too, and gets only what the source itself has; undefined: all */
  parent: ParentRef | undefined;
}

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
    return this.make({ header, moments: [moment], parent: undefined }, to, options);
  }

  /** The image with all its snapshots; the copy of a clone is a clone of the same parent. */
  async deepCopy(image: string, to: CopyTarget, options: CopyOptions = {}): Promise<ImageInfo> {
    const header = await this.source(image);
    const moments = [...header.snapshots.filter(isListed), undefined];
    const parent = options.flatten === true ? undefined : commonParent(header, moments);
    return this.make({ header, moments, parent }, to, options);
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

  private async make(source: Source, to: CopyTarget, options: CopyOptions): Promise<ImageInfo> {
    const { header, moments, parent } = source;
    const { flatten: _, progress, every, signal, ...layout } = options;
    const own: LayoutOptions = {
      objectBytes: 2 ** header.order,
      stripeUnitBytes: header.stripeUnitBytes,
      stripeCount: header.stripeCount,
    };
    const sizeBytes = moments[0]?.sizeBytes ?? header.sizeBytes;
    const chosen = layout.objectBytes === undefined ? { ...own, ...layout } : layout;
    const image = { ...chosen, sizeBytes, ...(parent === undefined ? {} : { parent }) };
    checkNew(to.scope, to.name, image, true);
    const join = async (id: string) => {
      if (parent === undefined) return;
      await joinParent(to.scope, parent, to.scope.refOf(id), undefined, true);
    };
    const fill = (access: ImageAccess, stop: AbortSignal) => this.fill(source, access, stop);
    return makeFilled({ ...to, image, join }, fill, { progress, signal, every });
  }

  private async fill(source: Source, access: ImageAccess, stop: AbortSignal): Promise<void> {
    const { header, moments } = source;
    let earlier: Moment;
    for (const moment of moments) {
      const { sizeBytes } = moment ?? header;
      const from = await this.open(source, moment);
      try {
        const before = earlier && recordIn(from.header, earlier);
        const { parent } = (moment && recordIn(from.header, moment)) ?? from.header;
        const ownOnly = source.parent !== undefined;
        const filling = { from: from.handle, sizeBytes, earlier: before, parent, ownOnly };
        await fillFrom(access, filling, stop);
      } finally {
        await from.close();
      }
      // The last moment is what the copy is to show itself: no snapshot of it.
      if (moment !== undefined && moment !== moments.at(-1)) await copySnapshot(access, moment);
      earlier = moment;
    }
  }

  /** Whatever becomes of the source's parents meanwhile. */
  private async open({ header, parent }: Source, moment: Moment): Promise<OpenMoment> {
    const { scope } = this;
    const { id } = header;
    if (parent !== undefined) {
      // The copy is a clone of what the source was then, and that parent is kept for it.
      const handle = openOwn(scope, header, moment?.id);
      return { handle, header, close: async () => scope.io.closeDevice(handle) };
    }
    const { sizeBytes } = header;
    const [handle, now] = await withHeader(scope, id, async (found) => {
      const device =
        moment === undefined
          ? await openHead(scope, found, { readOnly: true, sizeBytes })
          : await openSnapshot(scope, found, moment.id);
      return [device, found] as const;
    });
    const closeDevice = () => scope.io.closeDevice(handle);
    try {
      const { end } = await followDevice(scope, id, handle, {
        snapId: moment?.id,
        keepsSize: true,
      });
      return { handle, header: now, close: () => end().finally(closeDevice) };
    } catch (thrown) {
      closeDevice();
      throw thrown;
    }
  }
}

/** As a newer header has it: a flatten may have been there. */
function recordIn({ snapshots }: ImageHeader, snapshot: Snapshot): Snapshot {
  return snapshots.find(({ id }) => id === snapshot.id) ?? snapshot;
}

/** The parent that the moments show; undefined: none, or the image is being migrated to here. */
function commonParent(header: ImageHeader, moments: Moment[]): ParentRef | undefined {
  const record = targetRecord(header);
  if (record !== undefined && needsSource(record)) return undefined;
  const parents = moments.flatMap((moment) => (moment ?? header).parent ?? []);
  const [first] = parents;
  const isSame = ({ imageId, snapId, pool }: ParentRef) =>
    imageId === first?.imageId && snapId === first.snapId && pool === first.pool;
  return parents.every(isSame) ? first : undefined;
}

interface Filling {
  from: DeviceHandle;
  sizeBytes: number;
  /** what the copy shows by now */
  earlier: Moment;
  /** that the source shows at this moment */
  parent: ParentRef | undefined;
  /** it shows through the copy too: `from` has the rest only, and what is absent there stays so */
  ownOnly: boolean;
}

/** The copy, which shows `earlier`, comes to show what `from` does. */
async function fillFrom(access: ImageAccess, filling: Filling, stop: AbortSignal): Promise<void> {
  const { scope, id, fence, progress } = access;
  const { io } = scope;
  const { from, sizeBytes, ownOnly } = filling;
  const parent = ownOnly ? filling.parent : undefined;
  throwIfStopped(stop);
  const before = await scope.header(id);
  // Discards of what lies behind the new end need the old one; they are of whole blocks.
  const endBytes = Math.max(before.sizeBytes, sizeBytes);
  const spanBytes = wholeBlocks(endBytes);
  const update = async (device: DeviceHandle) => {
    await clearChanged(access, device, filling, before);
    // Now exactly those blocks are absent that are to be copied.
    await io.setParent(device, { device: from, overlapBytes: sizeBytes });
    const cancel = () => io.cancelJobs(device);
    stop.addEventListener("abort", cancel, { once: true });
    const own = { snaps: [], head: true, fromBytes: 0, toBytes: sizeBytes, zeros: true };
    try {
      await io.flattenImage(device, progress, ...(ownOnly ? [own] : []));
    } catch (thrown) {
      throwIfStopped(stop);
      throw thrown;
    } finally {
      stop.removeEventListener("abort", cancel);
    }
  };
  await withWorkDevice(scope, before, fence, update, {
    sizeBytes: spanBytes,
    withoutParent: true,
  });
  await changeHeader(scope, id, fence, ({ unchanged }) => [
    ...["size", "parent"].map(unchanged),
    setStep("size", u64Value(sizeBytes)),
    parent === undefined ? removeStep("parent") : setStep("parent", encodeValue(parent)),
  ]);
}

/** What has changed since the earlier moment becomes absent, or explicit zeros as it is there. */
async function clearChanged(
  access: ImageAccess,
  device: DeviceHandle,
  { from, sizeBytes, earlier, parent, ownOnly }: Filling,
  before: ImageHeader,
): Promise<void> {
  const { scope, fence } = access;
  const changed =
    earlier === undefined && !ownOnly ? [] : await changedRanges(scope, from, earlier?.id ?? 0);
  if (earlier !== undefined) {
    for (const { offset, lengthBytes } of changed) {
      await scope.io.discard(device, offset, wholeBlocks(lengthBytes));
    }
    if (before.sizeBytes > sizeBytes) {
      await discardFrom(scope, before, sizeBytes, noProgress, fence);
    }
    if (!ownOnly) {
      const overlaps = [earlier.parent?.overlapBytes ?? 0, parent?.overlapBytes ?? 0];
      await discardBetween(scope, device, overlaps.map(wholeBlocks), sizeBytes);
    }
  }
  if (parent === undefined || !ownOnly) return;
  // Where the parent shows, a discard leaves zeros that hide it.
  await withParent(scope, parent, (open) => scope.io.setParent(device, open ?? null));
  for (const { offset, lengthBytes, state } of changed) {
    if (state === stateZero) await scope.io.discard(device, offset, wholeBlocks(lengthBytes));
  }
}

/** What the parent has shown before, and shows no more, or the other way round. */
async function discardBetween(
  scope: Scope,
  device: DeviceHandle,
  overlaps: readonly number[],
  sizeBytes: number,
): Promise<void> {
  const end = Math.min(Math.max(...overlaps), wholeBlocks(sizeBytes));
  for (let at = Math.min(...overlaps); at < end; ) {
    const next = Math.min(end, at - (at % discardStepBytes) + discardStepBytes);
    await scope.io.discard(device, at, next - at);
    at = next;
  }
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
