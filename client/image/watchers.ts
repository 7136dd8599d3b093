// Who watches an object, and notifying them: what the steps listWatchers and notify answer.
import { StorageError } from "../../common/errors.js";
import type { Clock } from "../../common/ports.js";
import type { NativeClient } from "../../native/binding.js";
import type { HolderLife } from "./lock-machine.js";
import { type LockRecord, watchCookieOf } from "./lock-record.js";

type WatchIo = Pick<NativeClient, "operate">;

/** So long whoever stops waits for a cluster that may be gone. */
const unwatchTimeoutMs = 3000;

export interface Watcher {
  client: bigint;
  cookie: string;
  description: string;
  timeoutMs: number;
  /** since its last renewal */
  idleMs: number;
}

export interface Watchers {
  /** how long the object's primary has been active: who watches it is known only since then */
  activeForMs: number;
  list: Watcher[];
}

/** Ends our own watch. Where the cluster does not answer, it lapses by itself. */
export function endWatch(
  { io, clock }: { io: Pick<NativeClient, "unwatch">; clock: Clock },
  watch: number,
): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.setTimer(unwatchTimeoutMs, resolve);
    const over = () => {
      cancel();
      resolve();
    };
    io.unwatch(watch).then(over, over);
  });
}

/** The name of a watcher in replies: "00000000000000ff/cookie". */
export function watcherName(client: bigint, cookie: string): string {
  return `${client.toString(16).padStart(16, "0")}/${cookie}`;
}

/** @throws protocol_error */
export async function readWatchers(io: WatchIo, pool: number, object: string): Promise<Watchers> {
  const { omap } = await io.operate(pool, object, [{ code: "listWatchers" }]);
  const watchers: Watchers = { activeForMs: 0, list: [] };
  for (const [name, value] of omap) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    if (name === "") {
      watchers.activeForMs = Number(view.getBigUint64(0, true));
      continue;
    }
    const [client = "", ...cookie] = name.split("/");
    if (value.byteLength < 18 || value.byteLength !== 18 + view.getUint16(16, true)) {
      throw new StorageError("protocol_error", "a watcher of another length came back");
    }
    watchers.list.push({
      client: BigInt(`0x${client}`),
      cookie: cookie.join("/"),
      timeoutMs: Number(view.getBigUint64(0, true)),
      idleMs: Number(view.getBigUint64(8, true)),
      description: new TextDecoder().decode(value.subarray(18)),
    });
  }
  return watchers;
}

/** Whether the holder of a lock renews its watch. */
export function lifeOf(holder: LockRecord, { activeForMs, list }: Watchers): HolderLife {
  const watches = list.some(
    ({ client, cookie }) => String(client) === holder.client && cookie === watchCookieOf(holder),
  );
  if (watches) return "alive";
  // A primary that is new may not have heard of it yet: it gets its whole timeout.
  return activeForMs > holder.watchTimeoutMs ? "dead" : "unknown";
}

/** Notifies all watchers. @returns the replies of those that answered in time, by watcher's name */
export async function notifyWatchers(
  io: WatchIo,
  { pool, object }: { pool: number; object: string },
  payload: Uint8Array,
  timeoutMs: number,
): Promise<Map<string, Uint8Array>> {
  const { omap } = await io.operate(pool, object, [
    { code: "notify", value: payload, length: timeoutMs },
  ]);
  const answered = omap.filter(([, value]) => value[0] === 1);
  return new Map(answered.map(([name, value]) => [name, value.subarray(1)]));
}
