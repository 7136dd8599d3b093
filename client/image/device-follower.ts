// Lets a device of an image follow the header: its size, its snapshots, its parent, its limits. One
// after the other, so that an older view of the header never comes last.
import type { DeviceHandle, NativeSnapContext } from "../../native/binding.js";
import type { ContextChange } from "./access.js";
import { readConfig } from "./config-store.js";
import { DeviceLimits } from "./device-limits.js";
import type { ImageHeader } from "./header.js";
import { maxDepth, snapContextOf, withLower } from "./layout.js";
import { goesTo, targetRecord } from "./migration-state.js";
import type { ImageRef, ParentRef } from "./references.js";
import type { Scope } from "./scope.js";
import { type SnapshotInfo, snapshotsIn } from "./snapshots.js";

export class DeviceFollower {
  private last: Promise<unknown> = Promise.resolve();
  /** as text; undefined: not set by us yet */
  private parent: string | undefined;
  private readonly limits: DeviceLimits;
  /** seq 0: the image has never had a snapshot */
  private context: NativeSnapContext = { seq: 0, snaps: [] };

  constructor(
    private readonly scope: Scope,
    private readonly id: string,
    private readonly device: DeviceHandle,
    /** the snapshots that users see, each time that the header was read */
    private readonly onSnapshots: (snapshots: SnapshotInfo[]) => void = () => undefined,
  ) {
    this.limits = new DeviceLimits(device);
  }

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
    const { io } = this.scope;
    const [header, config] = await Promise.all([
      this.scope.header(this.id),
      readConfig(this.scope, this.id),
    ]);
    const target = goesTo(header);
    if (target !== undefined) return target;
    await this.followParent(header);
    io.setImageSize(this.device, header.sizeBytes);
    this.setContext(snapContextOf(header));
    await this.limits.set(this.scope, config);
    this.onSnapshots(snapshotsIn(header));
    return undefined;
  }

  private async followParent(header: ImageHeader): Promise<void> {
    const record = targetRecord(header);
    const origin = record?.state === "executed" ? undefined : record?.source;
    const text = JSON.stringify([await ancestors(this.scope, header.parent), origin ?? null]);
    if (text === this.parent) return;
    const hasLower = header.parent !== undefined || origin !== undefined;
    // What was opened without a parent needs none now.
    if (hasLower || this.parent !== undefined) {
      await withLower(this.scope, header, (device) =>
        this.scope.io.setParent(this.device, device ?? null),
      );
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
