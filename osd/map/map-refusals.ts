// Maps that this OSD could not take: counted, logged once each, and fetched anew at a pace: a
// monitor that has nothing better sends the same one again. The map before stays in use.
import type { StorageError } from "../../common/errors.js";
import type { Logger } from "../../common/log.js";
import { RefusedMaps } from "../../proto/refused-maps.js";

export class MapRefusals {
  private readonly refused = new RefusedMaps();
  private logged: string | undefined;
  private due = false;

  constructor(
    private readonly log: Logger,
    private readonly fetchWhole: () => void,
  ) {}

  /** @throws the error when it is not one of maps */
  add(error: StorageError): void {
    const { code, message } = error;
    if (code !== "corrupt") throw error;
    this.refused.add(code);
    const isFirst = this.logged === undefined;
    if (this.logged !== message) this.log.error({ code, reason: message }, "map refused");
    this.logged = message;
    if (isFirst) this.fetchWhole();
    else this.due = true;
  }

  /** A map has been taken. */
  taken(): void {
    this.logged = undefined;
    this.due = false;
  }

  /** Each second. */
  tick(): void {
    if (!this.due) return;
    this.due = false;
    this.fetchWhole();
  }

  counters(): Record<string, number> {
    return this.refused.counters();
  }
}
