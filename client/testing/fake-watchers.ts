// Watchers and notifications of a FakePool, as its primaries would keep them. Those of a dead or
// frozen client are gone at once: its watch has timed out.
import { StorageError } from "../../common/errors.js";
import type { ClientEvent, NativeOpReply, WatchOptions } from "../../native/binding.js";
import { watcherName } from "../image/watchers.js";

/** A client as the watchers see it. */
export interface WatchingClient {
  readonly clientId: bigint;
  /** dead or frozen */
  readonly silent: boolean;
  deliver(event: ClientEvent): void;
}

interface Watch extends WatchOptions {
  id: number;
  object: string;
  client: WatchingClient;
}

export class FakeWatchers {
  /** how long the primaries have been active */
  activeForMs = 1_000_000;
  private watches: Watch[] = [];
  private nextId = 1;
  private readonly unanswered = new Map<
    number,
    { to: WatchingClient; give: (reply: Uint8Array) => void; giveUp: () => void }
  >();

  add(client: WatchingClient, object: string, options: WatchOptions): number {
    const id = this.nextId++;
    this.watches.push({ ...options, id, object, client });
    return id;
  }

  remove(id: number): void {
    this.watches = this.watches.filter((watch) => watch.id !== id);
  }

  list(object: string): NativeOpReply {
    const age = new Uint8Array(8);
    new DataView(age.buffer).setBigUint64(0, BigInt(this.activeForMs), true);
    const watchers = this.live(object).map((watch): [string, Uint8Array] => {
      const text = new TextEncoder().encode(watch.description);
      const value = new Uint8Array(18 + text.length);
      const view = new DataView(value.buffer);
      view.setBigUint64(0, BigInt(watch.timeoutMs), true);
      view.setUint16(16, text.length, true);
      value.set(text, 18);
      return [nameOf(watch), value];
    });
    return { exists: true, omap: [["", age], ...watchers] };
  }

  async notify(object: string, payload: Uint8Array): Promise<NativeOpReply> {
    const answers = this.live(object).map(
      (watch) =>
        new Promise<[string, Uint8Array]>((resolve) => {
          const answer = this.nextId++;
          this.unanswered.set(answer, {
            to: watch.client,
            give: (reply) => resolve([nameOf(watch), Uint8Array.from([1, ...reply])]),
            giveUp: () => resolve([nameOf(watch), Uint8Array.of(0)]),
          });
          watch.client.deliver({ type: "notify", watch: watch.id, answer, payload });
        }),
    );
    return { exists: true, omap: await Promise.all(answers) };
  }

  /** What a client has not answered, it never will: the notifications' time is over. */
  forget(client: WatchingClient): void {
    for (const [answer, { to, giveUp }] of this.unanswered) {
      if (to !== client) continue;
      this.unanswered.delete(answer);
      giveUp();
    }
  }

  answer(answer: number, reply: Uint8Array): void {
    const waiting = this.unanswered.get(answer);
    if (waiting === undefined) throw new StorageError("not_found", "no such notification");
    this.unanswered.delete(answer);
    waiting.give(reply);
  }

  private live(object: string): Watch[] {
    return this.watches.filter((watch) => watch.object === object && !watch.client.silent);
  }
}

const nameOf = ({ client, cookie }: Watch) => watcherName(client.clientId, cookie);
