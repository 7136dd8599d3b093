// Lets a device of an image, or of a snapshot of one, follow the header: its size, its snapshots,
// its parent, its limits. One after the other, so that an older view never comes last.
import type { DeviceHandle, NativeSnapContext } from "../../native/binding.js";
import type { ContextChange } from "./access.js";
import { readConfig } from "./config-store.js";
import type { ImageHeader } from "./header.js";
import { qosLimits } from "./image-config.js";
import {
  maxDepth,
  movedSnapshot,
  snapContextOf,
  withHeader,
  withLower,
  withSnapshotLower,
} from "./layout.js";
import { needsSource } from "./migration-record.js";
import { goesTo, targetRecord } from "./migration-state.js";
import type { ImageRef, ParentRef } from "./references.js";
import type { Scope } from "./scope.js";
import { type SnapshotInfo, snapshotsIn } from "./snapshots.js";

export interface FollowerOptions {
  /** of the snapshot that the device shows */
  snapId?: number | undefined;
  /** what is read has the size that it was opened with, whatever becomes of the image's */
  keepsSize?: boolean;
  /** the snapshots that users see, each time that the header was read */
  onSnapshots?: ((snapshots: SnapshotInfo[]) => void) | undefined;
}

export class DeviceFollower {
  private last: Promise<unknown> = Promise.resolve();
  /** as text; undefined: not set by us yet */
  private parent: string | undefined;
  /** when nothing is read any more through the parents that it had before */
  private left: Promise<unknown> = Promise.resolve();
  private limits = "{}";
  /** seq 0: the image has never had a snapshot */
  private context: NativeSnapContext = { seq: 0, snaps: [] };

  constructor(
    private readonly scope: Scope,
    private readonly id: string,
    private readonly device: DeviceHandle,
    private readonly options: FollowerOptions = {},
  ) {}

  /**
   * @returns where the image has gone, when it is the source of a migration: the device stays as it
   *   is then
   * @throws corrupt, unsupported_feature; the errors of the cluster
   */
  follow(): Promise<ImageRef | undefined> {
    const next = this.last.then(() => this.read());
    this.last = next.catch(() => undefined);
    return next;
  }

  /** Resolves when what was begun under earlier parents has ended. */
  async untilLeft(): Promise<void> {
    await this.left;
  }

  /** As follow(), of a change of the header of which this is known: nothing is read. */
  followChange(change: ContextChange): Promise<void> {
    const next = this.last.then(() => this.setContext(change(this.context)));
    this.last = next.catch(() => undefined);
    return next;
  }

  private setContext(context: NativeSnapContext): void {
    this.context = context;
    if (context.seq > 0) this.scope.io.setSnapContext(this.device, context);
  }

  private async read(): Promise<ImageRef | undefined> {
    const [target, config] = await Promise.all([
      withHeader(this.scope, this.id, (header) => this.followHeader(header)),
      readConfig(this.scope, this.id),
    ]);
    if (target !== undefined) return target;
    const limits = qosLimits(config);
    const text = JSON.stringify(limits);
    if (text !== this.limits) await this.scope.io.setQos(this.device, limits);
    this.limits = text;
    return undefined;
  }

  private async followHeader(header: ImageHeader): Promise<ImageRef | undefined> {
    const { snapId, onSnapshots } = this.options;
    const target = goesTo(header);
    if (target !== undefined) return target;
    const snapshot = header.snapshots.find(({ id }) => id === snapId);
    if (snapId === undefined) {
      await this.followParent(header, header.parent);
      if (this.options.keepsSize !== true) {
        this.scope.io.setImageSize(this.device, header.sizeBytes);
      }
      this.setContext(snapContextOf(header));
    } else if (snapshot?.state === "ready") {
      // Reads of one that is gone fail, whatever is below it.
      await this.followParent(header, snapshot.parent);
    }
    onSnapshots?.(snapshotsIn(header));
    return undefined;
  }

  private async followParent(header: ImageHeader, parent: ParentRef | undefined): Promise<void> {
    const { snapId } = this.options;
    const record = targetRecord(header);
    const source = record && needsSource(record) ? record.source : undefined;
    const origin = snapId === undefined ? source : movedSnapshot(header, snapId);
    const text = JSON.stringify([await ancestors(this.scope, parent), origin ?? null]);
    if (text === this.parent) return;
    const hasLower = parent !== undefined || origin !== undefined;
    // What was opened without a parent needs none now.
    if (hasLower || this.parent !== undefined) {
      const link = (device: { device: DeviceHandle; overlapBytes: number } | undefined) => {
        const left = this.scope.io.setParent(this.device, device ?? null);
        // A device that is closed meanwhile reads nothing.
        this.left = Promise.allSettled([this.left, left]);
      };
      if (snapId === undefined) await withLower(this.scope, header, link);
      else await withSnapshotLower(this.scope, header, snapId, link);
    }
    this.parent = text;
  }
}

/** What an image is a clone of, and that, and so on: a flatten of any of them changes it. */
async function ancestors(scope: Scope, parent: ParentRef | undefined): Promise<ParentRef[]> {
  const found: ParentRef[] = [];
  for (let next = parent; next !== undefined && found.length < maxDepth; ) {
    found.push(next);
    const { pool, namespace, imageId, snapId } = next;
    const header = await scope.elsewhere(pool, namespace).header(imageId);
    next = header.snapshots.find(({ id }) => id === snapId)?.parent;
  }
  return found;
}
