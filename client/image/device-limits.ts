// The limits of a device follow the options of its image.
import type { DeviceHandle } from "../../native/binding.js";
import { readConfig } from "./config-store.js";
import { qosLimits } from "./image-config.js";
import type { Scope } from "./scope.js";

export class DeviceLimits {
  /** as text: that are in force */
  private limits = "{}";
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly device: DeviceHandle) {}

  /** Reads the options; one look after the other, so that an older one never comes last. */
  follow(scope: Scope, id: string): Promise<void> {
    const next = this.last.then(async () => this.set(scope, await readConfig(scope, id)));
    this.last = next.catch(() => undefined);
    return next;
  }

  /** With options that have been read just now. */
  async set(scope: Scope, config: Awaited<ReturnType<typeof readConfig>>): Promise<void> {
    const limits = qosLimits(config);
    const text = JSON.stringify(limits);
    if (text !== this.limits) await scope.io.setQos(this.device, limits);
    this.limits = text;
  }
}
