// Lets a device of an image follow the header: its size, its snapshots, its parent, its limits. One
// after the other, so that an older view of the header never comes last.
import type { DeviceHandle } from "../../native/binding.js";
import { readConfig } from "./config-store.js";
import { qosLimits } from "./image-config.js";
import { snapContextOf, withParent } from "./layout.js";
import type { ParentRef } from "./references.js";
import type { Scope } from "./scope.js";

export class DeviceFollower {
  private last: Promise<void> = Promise.resolve();
  /** as text; undefined: not set by us yet */
  private parent: string | undefined;
  private limits = "{}";

  constructor(
    private readonly scope: Scope,
    private readonly id: string,
    private readonly device: DeviceHandle,
  ) {}

  /** @throws corrupt, unsupported_feature; the errors of the cluster */
  follow(): Promise<void> {
    const next = this.last.then(() => this.read());
    this.last = next.catch(() => undefined);
    return next;
  }

  private async read(): Promise<void> {
    const { io } = this.scope;
    const header = await this.scope.header(this.id);
    await this.followParent(header.parent);
    io.setImageSize(this.device, header.sizeBytes);
    if (header.snapSeq > 0) io.setSnapContext(this.device, snapContextOf(header));
    const limits = qosLimits(await readConfig(this.scope, this.id));
    const text = JSON.stringify(limits);
    if (text !== this.limits) await io.setQos(this.device, limits);
    this.limits = text;
  }

  private async followParent(parent: ParentRef | undefined): Promise<void> {
    const text = JSON.stringify(parent ?? null);
    if (text === this.parent) return;
    // What was opened without a parent needs none now.
    if (parent !== undefined || this.parent !== undefined) {
      await withParent(this.scope, parent, (device) =>
        this.scope.io.setParent(this.device, device ?? null),
      );
    }
    this.parent = text;
  }
}
