// Requests of a primary to copies of its PG: each is sent again until it is answered. Pure.
import type { PeeringBody } from "../../proto/peering.js";
import type { Gathered, Pending, PgEffect, PgState, Step } from "./state.js";

/** An unanswered request is sent again after this long. */
export const resendMs = 1000;

/** The key of a request: one of a kind (and part) is under way to an OSD at a time. */
export function requestKey(to: number, message: PeeringBody): string {
  const part = message.kind === "activate" ? `:${message.part}` : "";
  return `${to}:${message.kind}${part}`;
}

/** The state with other members of what was gathered. */
export function withGathered(state: PgState, change: Partial<Gathered>): PgState {
  return { ...state, gathered: { ...state.gathered, ...change } };
}

/** The map with one more entry, or another value in it. */
export function withEntry<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

/** Sends requests, in place of those with the same key. */
export function request(
  state: PgState,
  requests: readonly { to: number; message: PeeringBody }[],
  now: number,
): Step {
  const pending = new Map<string, Pending>(state.gathered.pending);
  const effects: PgEffect[] = [];
  for (const { to, message } of requests) {
    pending.set(requestKey(to, message), { to, message, sentMs: now });
    effects.push({ kind: "send", to, message });
  }
  return { state: withGathered(state, { pending }), effects };
}

/** Takes requests to an OSD off the list, those of one kind or all. */
export function answered(state: PgState, from: number, kind?: PeeringBody["kind"]): PgState {
  const pending = new Map(
    [...state.gathered.pending].filter(
      ([, { to, message }]) => to !== from || (kind !== undefined && message.kind !== kind),
    ),
  );
  return withGathered(state, { pending });
}

/** The request of a kind that an OSD has not answered; undefined: none. */
export function pendingTo<Kind extends PeeringBody["kind"]>(
  state: PgState,
  to: number,
  kind: Kind,
): Extract<PeeringBody, { kind: Kind }> | undefined {
  const message = state.gathered.pending.get(`${to}:${kind}`)?.message;
  return message?.kind === kind ? (message as Extract<PeeringBody, { kind: Kind }>) : undefined;
}

/** Sends again what has waited too long. */
export function resend(state: PgState, now: number): Step {
  const due = [...state.gathered.pending.values()].filter(({ sentMs }) => now - sentMs >= resendMs);
  return request(state, due, now);
}
