// The lock's machine: its ways as a table, and that no way opens the gate without the lock.
import { describe, expect, it } from "vitest";
import {
  initialLock,
  type LockEffect,
  type LockEvent,
  type LockOptions,
  type LockPhase,
  type LockState,
  step,
} from "./lock-machine.js";
import type { LockRecord } from "./lock-record.js";

const options: LockOptions = {
  whenHeld: "ask",
  exclusive: false,
  retryMs: 250,
  yieldMs: 1000,
  minHoldMs: 500,
};
const holder: LockRecord = {
  id: "7.3",
  client: "7",
  description: "host1 pid 7",
  token: 3,
  takenAt: 0,
  watchTimeoutMs: 10_000,
};
const free: LockEvent = {
  kind: "looked",
  view: { token: 3, holder: undefined },
  mine: false,
  life: "dead",
};
const held = (life: "alive" | "dead" | "unknown", mine = false): LockEvent => ({
  kind: "looked",
  view: { token: 3, holder },
  mine,
  life,
});
const taken: LockEvent = { kind: "taken", token: 4, tookOver: false };
const takenOver: LockEvent = { kind: "taken", token: 4, tookOver: true };
const use: LockEvent = { kind: "use" };
const unuse: LockEvent = { kind: "unuse" };
const loaded: LockEvent = { kind: "loaded" };
const requested: LockEvent = { kind: "requested" };
const timer: LockEvent = { kind: "timer" };
const drained: LockEvent = { kind: "drained" };
const released: LockEvent = { kind: "released" };

function text(effect: LockEffect): string {
  if (effect.kind === "openGate" || effect.kind === "sweep")
    return `${effect.kind} ${effect.token}`;
  if (effect.kind === "timer") return `timer ${effect.afterMs}`;
  if (effect.kind === "reply") return `reply ${effect.answer}`;
  return effect.kind;
}

function run(events: LockEvent[], given: Partial<LockOptions> = {}, nowMs = 10_000) {
  let state: LockState = initialLock({ ...options, ...given });
  const effects: string[] = [];
  for (const event of events) {
    const next = step(state, event, nowMs);
    state = next.state;
    effects.push(...next.effects.map(text));
  }
  return { state, phase: state.phase, effects };
}

describe("lock machine", () => {
  it.each<[string, LockEvent[], LockPhase, string[]]>([
    [
      "takes a free lock",
      [use, free, taken, loaded],
      "held",
      ["look", "take", "load", "openGate 4"],
    ],
    [
      "sweeps before it reads on, after a dead holder",
      [use, held("dead"), takenOver, { kind: "swept" }, loaded],
      "held",
      ["look", "take", "sweep 4", "load", "openGate 4"],
    ],
    ["asks a live holder", [use, held("alive")], "asking", ["look", "ask"]],
    [
      "waits for what it asked for",
      [use, held("alive"), { kind: "asked", answer: "releasing" }, timer],
      "looking",
      ["look", "ask", "timer 250", "look"],
    ],
    [
      "waits until a new primary can tell",
      [use, held("unknown")],
      "waiting",
      ["look", "timer 250"],
    ],
    [
      "takes anew what it holds by a lost answer",
      [use, held("alive", true)],
      "taking",
      ["look", "take"],
    ],
    [
      "looks again when another was faster",
      [use, free, { kind: "conflict" }],
      "looking",
      ["look", "take", "look"],
    ],
    ["gives up looking when the use is over", [use, unuse, free], "idle", ["look", "letGo"]],
    [
      "gives up waiting when the use is over",
      [use, held("unknown"), unuse],
      "idle",
      ["look", "timer 250", "letGo"],
    ],
    [
      "frees what it got too late, without ever opening",
      [use, free, unuse, taken, loaded, drained, released],
      "idle",
      ["look", "take", "load", "drain", "release", "letGo"],
    ],
    [
      "drains and frees when the use is over",
      [use, free, taken, loaded, unuse, drained, released],
      "idle",
      ["look", "take", "load", "openGate 4", "drain", "release", "letGo"],
    ],
    [
      "keeps a fresh lock for a while, hands it over, and wants it again for the next request",
      [use, free, taken, loaded, requested, requested, timer, drained, released, timer, use],
      "looking",
      [
        "look",
        "take",
        "load",
        "openGate 4",
        "reply releasing",
        "timer 500",
        "reply releasing",
        "drain",
        "release",
        "look",
      ],
    ],
    [
      "leaves the one that asked some time when requests wait already",
      [use, free, taken, loaded, requested, timer, use, drained, released, timer],
      "looking",
      [
        "look",
        "take",
        "load",
        "openGate 4",
        "reply releasing",
        "timer 500",
        "drain",
        "release",
        "timer 1000",
        "look",
      ],
    ],
    [
      "answers for no lock when it has none",
      [requested, use, requested],
      "looking",
      ["reply none", "look", "reply none"],
    ],
    [
      "is done for when it is fenced",
      [use, free, taken, loaded, { kind: "lost", reason: "x" }, use, timer, free, taken],
      "lost",
      ["look", "take", "load", "openGate 4", "fail", "letGo"],
    ],
  ])("%s", (_what, events, phase, effects) => {
    expect(run(events)).toMatchObject({ phase, effects });
  });

  it("hands a lock over at once that it had for long enough", () => {
    const { state } = run([use, free, taken, loaded], {}, 0);
    const next = step(state, requested, 500);
    expect(next.effects.map(text)).toEqual(["reply releasing", "drain"]);
  });

  it("keeps the lock when it is exclusive", () => {
    const { phase, effects } = run([use, free, taken, loaded, requested], { exclusive: true });
    expect([phase, effects.at(-1)]).toEqual(["held", "reply exclusive"]);
  });

  it("is refused by a live holder when it does not ask", () => {
    const { phase, effects } = run([use, held("alive")], { whenHeld: "refuse" });
    expect([phase, ...effects]).toEqual(["idle", "look", "refused", "letGo"]);
  });

  it("never takes from the living, nor opens without a taken lock and a header read since", () => {
    // Every sequence of up to six events.
    const events = [
      use,
      unuse,
      free,
      held("alive"),
      taken,
      loaded,
      requested,
      timer,
      drained,
      released,
    ];
    const visit = (state: LockState, since: string[], depth: number): void => {
      if (depth === 0) return;
      for (const event of events) {
        const next = step(state, event, 10_000);
        const path = [...since];
        for (const effect of next.effects) {
          path.push(effect.kind);
          if (effect.kind === "take") expect(event).toBe(free);
          if (effect.kind !== "openGate") continue;
          expect(event).toBe(loaded);
          const [take, load] = [path.lastIndexOf("take"), path.lastIndexOf("load")];
          expect(take).toBeGreaterThan(path.lastIndexOf("drain"));
          expect(load).toBeGreaterThan(take);
        }
        visit(next.state, path, depth - 1);
      }
    };
    visit(initialLock(options), [], 6);
  }, 60_000);
});
