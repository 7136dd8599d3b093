// Being told when the values that hold for all images of a pool, or of all pools, change: an image
// that is in use follows them. Those of the pool are in an object that is watched, those of all
// pools in the map.
import { globalValues, poolConfigObject } from "./config-store.js";
import { watchObject } from "./header-watch.js";
import { hasCode } from "./omap-values.js";
import type { Scope } from "./scope.js";

const retryMs = 5000;

export class ConfigWatch {
  private closed = false;
  private global: string;
  private readonly stopMaps: () => void;
  private cancelRetry: () => void = () => undefined;
  private endWatch: (() => Promise<void>) | undefined;

  /** The image can be used before it watches: `changed` is called when it does. */
  constructor(
    private readonly scope: Scope,
    private readonly changed: () => Promise<void>,
  ) {
    this.global = this.globalText();
    this.stopMaps = scope.cluster.onMap(() => {
      const text = this.globalText();
      if (text !== this.global) void this.changed();
      this.global = text;
    });
    void this.begin();
  }

  async close(): Promise<void> {
    this.closed = true;
    this.stopMaps();
    this.cancelRetry();
    await this.endWatch?.();
  }

  private globalText(): string {
    return JSON.stringify(globalValues(this.scope));
  }

  private async begin(): Promise<void> {
    try {
      const end = await this.watch();
      // Closed while a cluster that does not answer was asked: nobody waits for this.
      if (this.closed) return await end();
      this.endWatch = end;
      void this.changed();
    } catch {
      // Such as a cluster that is full, where the object can't be made: later, perhaps.
      if (this.closed) return;
      this.cancelRetry = this.scope.ports.clock.setTimer(retryMs, () => {
        void this.begin();
      });
    }
  }

  private async watch(): Promise<() => Promise<void>> {
    const { scope, changed } = this;
    try {
      return await watchObject(scope, poolConfigObject, changed);
    } catch (thrown) {
      if (!hasCode(thrown, "not_found")) throw thrown;
      await scope.io.operate(scope.pool.id, poolConfigObject, [{ code: "touch" }]);
      return watchObject(scope, poolConfigObject, changed);
    }
  }
}
