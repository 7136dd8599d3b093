// The exclusive lock of an image as one client sees it: pure. lock.ts carries its effects out.
//
// Invariants
//  - A live holder's lock is never taken: it is asked for, and waited for.
//  - Requests flow (openGate) only in `held`: the token is taken by then, and the header has been
//    read again.
//  - `lost` is final: what was fenced is never retried.
import type { LockRecord, LockReply, LockView } from "./lock-record.js";

export type LockPhase =
  | "idle"
  | "looking"
  | "asking"
  | "waiting"
  | "taking"
  | "sweeping"
  | "loading"
  | "held"
  | "draining"
  | "releasing"
  /** in use, but handed over: wanted again when the first request comes */
  | "parked"
  | "lost";

export interface LockOptions {
  /** what to do about a live holder */
  whenHeld: "ask" | "refuse";
  /** as a holder, refuse to hand over */
  exclusive: boolean;
  /** look again at a lock that somebody else has */
  retryMs: number;
  /** after a hand-over the one that asked gets this time before we ask in turn */
  yieldMs: number;
  /** a lock that was just taken is kept at least so long, so that two users make progress */
  minHoldMs: number;
}

export interface LockState {
  options: LockOptions;
  phase: LockPhase;
  /** the device is in use here */
  wanted: boolean;
  /** a request waits for a lock that is being handed over */
  pending: boolean;
  /** somebody waits for what we hold */
  requested: boolean;
  token: number;
  heldSinceMs: number;
  /** changes of the image under way that must not lose the lock in their middle */
  changes: number;
}

/** Whether the holder renews its watch; unknown: the primary is too new to tell. */
export type HolderLife = "alive" | "dead" | "unknown";

export type LockEvent =
  /** a front end begins to use the device, or has a request for it while it is not held */
  | { kind: "use" }
  | { kind: "unuse" }
  | { kind: "looked"; view: LockView; mine: boolean; life: HolderLife }
  | { kind: "asked"; answer: LockReply["answer"] }
  | { kind: "timer" }
  | { kind: "taken"; token: number; tookOver: boolean }
  | { kind: "conflict" }
  | { kind: "swept" }
  | { kind: "loaded" }
  | { kind: "requested" }
  | { kind: "drained" }
  | { kind: "released" }
  /** something begins, or ends, during which the lock is not handed over */
  | { kind: "changeBegun" }
  | { kind: "changeEnded" }
  /** fenced, or the lock broken by an operator, or an error that ends it */
  | { kind: "lost"; reason: string };

export type LockEffect =
  | { kind: "look" }
  | { kind: "ask" }
  | { kind: "take"; seen: LockView }
  | { kind: "sweep"; token: number }
  | { kind: "load" }
  | { kind: "openGate"; token: number }
  | { kind: "drain" }
  | { kind: "release" }
  /** the device is not used and not locked here */
  | { kind: "letGo" }
  | { kind: "timer"; afterMs: number }
  | { kind: "reply"; answer: LockReply["answer"] }
  | { kind: "refused"; holder: LockRecord }
  | { kind: "fail"; reason: string };

export interface LockStep {
  state: LockState;
  effects: LockEffect[];
}

export function initialLock(options: LockOptions): LockState {
  return {
    options,
    phase: "idle",
    wanted: false,
    pending: false,
    requested: false,
    token: 0,
    heldSinceMs: 0,
    changes: 0,
  };
}

type Handler<K extends LockEvent["kind"]> = (
  state: LockState,
  event: Extract<LockEvent, { kind: K }>,
  nowMs: number,
) => LockStep;
type Row = { readonly [K in LockEvent["kind"]]?: Handler<K> };

const to = (state: LockState, phase: LockPhase, ...effects: LockEffect[]): LockStep => ({
  state: { ...state, phase },
  effects,
});
const stay = (state: LockState, ...effects: LockEffect[]): LockStep => ({ state, effects });
const idle = (state: LockState): LockStep =>
  to({ ...state, wanted: false }, "idle", { kind: "letGo" });
const look = (state: LockState): LockStep => to(state, "looking", { kind: "look" });
const wait = (state: LockState, afterMs: number): LockStep =>
  to(state, "waiting", { kind: "timer", afterMs });
const drain = (state: LockState): LockStep =>
  to({ ...state, requested: false, pending: false }, "draining", { kind: "drain" });
const want = (state: LockState): LockStep => stay({ ...state, wanted: true });
const wantAgain = (state: LockState): LockStep => stay({ ...state, wanted: true, pending: true });
const unwant = (state: LockState): LockStep => stay({ ...state, wanted: false });

function looked(
  state: LockState,
  { view, mine, life }: Extract<LockEvent, { kind: "looked" }>,
): LockStep {
  if (!state.wanted) return idle(state);
  const { holder } = view;
  const take: LockEffect = { kind: "take", seen: view };
  // Our own record: the answer to an earlier take was lost. It is taken anew, with a new token.
  if (holder === undefined || mine || life === "dead") return to(state, "taking", take);
  if (life === "unknown") return wait(state, state.options.retryMs);
  if (state.options.whenHeld === "ask") return to(state, "asking", { kind: "ask" });
  return to({ ...state, wanted: false }, "idle", { kind: "refused", holder }, { kind: "letGo" });
}

function requested(state: LockState, _event: unknown, nowMs: number): LockStep {
  if (state.options.exclusive) return stay(state, { kind: "reply", answer: "exclusive" });
  const reply: LockEffect = { kind: "reply", answer: "releasing" };
  if (state.changes > 0) return stay({ ...state, requested: true }, reply);
  const keepMs = state.heldSinceMs + state.options.minHoldMs - nowMs;
  if (keepMs <= 0) {
    const { state: next, effects } = drain(state);
    return { state: next, effects: [reply, ...effects] };
  }
  if (state.requested) return stay(state, reply);
  return stay({ ...state, requested: true }, reply, { kind: "timer", afterMs: keepMs });
}

/** What came in during a change is done when the last one has ended. */
function changeEnded(state: LockState): LockStep {
  const left = { ...state, changes: state.changes - 1 };
  if (left.changes > 0 || (left.wanted && !left.requested)) return stay(left);
  return drain(left);
}

function loaded(state: LockState, _event: unknown, nowMs: number): LockStep {
  const held = { ...state, heldSinceMs: nowMs, changes: 0 };
  return state.wanted ? to(held, "held", { kind: "openGate", token: state.token }) : drain(held);
}

const lost: Handler<"lost"> = (state, { reason }) =>
  to({ ...state, wanted: false }, "lost", { kind: "fail", reason }, { kind: "letGo" });

/** What a client that holds nothing answers to one that asks. */
const notHolder = (state: LockState) => stay(state, { kind: "reply", answer: "none" });
const leaving = (state: LockState) => stay(state, { kind: "reply", answer: "releasing" });
const whileAcquiring = { use: want, unuse: unwant, requested: notHolder, lost } as const;

/** A pair that is not here changes nothing. */
const table: { readonly [P in LockPhase]: Row } = {
  idle: {
    use: (state) => look({ ...state, wanted: true }),
    requested: notHolder,
    lost,
  },
  looking: { ...whileAcquiring, looked },
  asking: {
    ...whileAcquiring,
    asked: (state) => (state.wanted ? wait(state, state.options.retryMs) : idle(state)),
  },
  waiting: {
    ...whileAcquiring,
    unuse: idle,
    timer: (state) => (state.wanted ? look(state) : idle(state)),
  },
  taking: {
    ...whileAcquiring,
    conflict: look,
    taken: (state, { token, tookOver }) =>
      tookOver
        ? to({ ...state, token }, "sweeping", { kind: "sweep", token })
        : to({ ...state, token }, "loading", { kind: "load" }),
  },
  sweeping: {
    ...whileAcquiring,
    requested: leaving,
    swept: (state) => to(state, "loading", { kind: "load" }),
  },
  loading: { ...whileAcquiring, requested: leaving, loaded },
  held: {
    use: want,
    unuse: (state) => {
      const unwanted = { ...state, wanted: false };
      return state.changes > 0 ? stay(unwanted) : drain(unwanted);
    },
    timer: (state) => (state.requested && state.changes === 0 ? drain(state) : stay(state)),
    requested,
    changeBegun: (state) => stay({ ...state, changes: state.changes + 1 }),
    changeEnded,
    lost,
  },
  draining: {
    use: wantAgain,
    unuse: unwant,
    requested: leaving,
    drained: (state) => to(state, "releasing", { kind: "release" }),
    lost,
  },
  releasing: {
    use: wantAgain,
    unuse: unwant,
    requested: leaving,
    released: (state) => {
      if (!state.wanted) return idle(state);
      return state.pending ? wait(state, state.options.yieldMs) : to(state, "parked");
    },
    lost,
  },
  parked: { use: look, unuse: idle, requested: notHolder, lost },
  lost: { requested: notHolder },
};

export function step(state: LockState, event: LockEvent, nowMs: number): LockStep {
  const handler = table[state.phase][event.kind] as Handler<LockEvent["kind"]> | undefined;
  return handler === undefined ? stay(state) : handler(state, event, nowMs);
}
