// The table itself: every state meets every event, and does what the rules of going active demand.
import { describe, expect, it } from "vitest";
import { epoch, pgId } from "../../common/units.js";
import { type PeeringBody, type PeeringMessage, peeringKinds } from "../../proto/peering.js";
import { testInfo } from "../testing/fixtures.js";
import { refused, step, table } from "./machine.js";
import {
  type Interval,
  initialPgState,
  type MapView,
  type MessageEvent,
  nothingGathered,
  type PgEffect,
  type PgEvent,
  type PgEventKind,
  type PgState,
  pgStateNames,
} from "./state.js";

const pgid = pgId(1, 0);
const info = testInfo({ lastUpdate: [5, 7], lastEpochStarted: 5 });
const empty = testInfo({});
const interval: Interval = { first: 10, up: [0, 1], acting: [0, 1], size: 2, minSize: 2 };

function mapView(upThru: number, up: readonly number[] = [0, 1, 2]): MapView {
  return {
    epoch: 11,
    osds: new Map([0, 1, 2].map((osd) => [osd, { up: up.includes(osd), upThru }])),
  };
}

function received<Kind extends PeeringMessage["kind"]>(
  from: number,
  body: Extract<PeeringBody, { kind: Kind }>,
): PgEvent {
  const message = { ...body, pgid, interval: 10, epoch: epoch(11) };
  return { kind: body.kind, from, message } as unknown as MessageEvent;
}

const history = { since: 10, intervals: [] };
const someMessages: { readonly [Kind in PeeringMessage["kind"]]: PgEvent } = {
  getInfo: received(1, { kind: "getInfo" }),
  info: received(1, { kind: "info", info, history }),
  getLog: received(1, { kind: "getLog", after: 0 }),
  log: received(1, { kind: "log", after: 0, entries: [], more: false }),
  getMissing: received(1, { kind: "getMissing", after: null }),
  missing: received(1, { kind: "missing", after: null, objects: [], more: false }),
  listObjects: received(1, { kind: "listObjects", after: null }),
  objects: received(1, { kind: "objects", after: null, objects: [], more: false }),
  activate: received(1, {
    kind: "activate",
    part: 0,
    parts: 1,
    rewindTo: 0,
    entries: [],
    missing: [],
    history,
  }),
  activated: received(1, { kind: "activated" }),
  clean: received(1, { kind: "clean" }),
  notify: received(2, { kind: "notify" }),
  removeStray: received(1, { kind: "removeStray" }),
};

const events: { readonly [Kind in PgEventKind]: PgEvent } = {
  ...someMessages,
  newInterval: { kind: "newInterval", interval, map: mapView(0), history },
  mapChanged: { kind: "mapChanged", map: mapView(0) },
  intervalTold: { kind: "intervalTold", first: 10, history },
  intervalStarted: { kind: "intervalStarted", info },
  localActivated: { kind: "localActivated" },
  recoveryGranted: { kind: "recoveryGranted" },
  recoveryProgress: { kind: "recoveryProgress", missingCount: 1 },
  recoveryFailed: { kind: "recoveryFailed", object: "o", code: "unfound" },
  tick: { kind: "tick" },
};

/** A state that the primary may be in, with all that the state relies on. */
function stateIn(name: PgState["name"]): PgState {
  const plan = { rewindTo: 7, entries: [], missing: [] };
  return {
    ...initialPgState(pgid, 0),
    name,
    interval,
    map: mapView(0),
    history,
    local: info,
    gathered: {
      ...nothingGathered,
      infos: new Map([0, 1].map((osd) => [osd, info])),
      authority: 0,
      plans: new Map([0, 1].map((osd) => [osd, plan])),
    },
  };
}

/** Runs events from the first interval on. */
function run(self: number, map: MapView, ...given: PgEvent[]) {
  let state = initialPgState(pgid, self);
  const effects: PgEffect[] = [];
  const all: PgEvent[] = [{ kind: "newInterval", interval, map, history }, ...given];
  for (const event of all) {
    const result = step(state, event, 0);
    state = result.state;
    effects.push(...result.effects);
  }
  return { state, effects, kinds: effects.map(({ kind }) => kind) };
}

function sent(effects: readonly PgEffect[], kind: PeeringBody["kind"]): number[] {
  return effects.flatMap((effect) =>
    effect.kind === "send" && effect.message.kind === kind ? [effect.to] : [],
  );
}

describe("the table", () => {
  const pairs = pgStateNames.flatMap((name) =>
    (Object.keys(events) as PgEventKind[]).map((kind) => [name, kind] as const),
  );

  it("has every state and every event", () => {
    expect(Object.keys(table)).toEqual([...pgStateNames]);
    for (const name of pgStateNames) {
      expect(Object.keys(table[name]).sort(), name).toEqual(Object.keys(events).sort());
    }
    expect(Object.keys(someMessages).sort()).toEqual([...peeringKinds].sort());
  });

  it.each(pairs)("%s meets %s: handled, or refused without a trace", (name, kind) => {
    const before = stateIn(name);
    const frozen = structuredClone(before);
    const { state, effects } = step(before, events[kind], 5000);
    expect(before).toEqual(frozen);
    expect(pgStateNames).toContain(state.name);
    if (table[name][kind] !== refused) return;
    expect(state).toBe(before);
    expect(effects).toEqual([]);
  });
});

describe("a replica", () => {
  it("answers about an interval only when the native gate has started it", () => {
    const asked = run(1, mapView(0), received(0, { kind: "getInfo" }));
    expect(asked.state.name).toBe("Reset");
    expect(sent(asked.effects, "info")).toEqual([]);
    const started = step(asked.state, events.intervalStarted, 0);
    expect(started.state.name).toBe("Stray");
    expect(sent(started.effects, "info")).toEqual([0]);
  });

  it("activates when it has all parts, in any order, and answers when that is durable", () => {
    const part = (number: number, byte: number) =>
      received(0, {
        kind: "activate",
        part: number,
        parts: 2,
        rewindTo: 7,
        entries: [Uint8Array.of(byte)],
        missing: [`o${number}`],
        history,
      });
    const half = run(1, mapView(0), events.intervalStarted, part(1, 9), part(1, 9));
    expect(half.kinds).not.toContain("activate");
    const whole = step(half.state, part(0, 8), 0);
    const effect = whole.effects.find(({ kind }) => kind === "activate");
    expect(effect).toMatchObject({
      plan: { rewindTo: 7, entries: [Uint8Array.of(8), Uint8Array.of(9)], missing: ["o0", "o1"] },
    });
    expect(sent(whole.effects, "activated")).toEqual([]);
    const durable = step(whole.state, events.localActivated, 0);
    expect(durable.state.name).toBe("ReplicaActive");
    expect(sent(durable.effects, "activated")).toEqual([0]);
    expect(sent(step(durable.state, part(0, 8), 0).effects, "activated")).toEqual([0]);
  });

  it("is activated by the primary only", () => {
    const { state } = run(1, mapView(0), events.intervalStarted);
    const activate = { ...events.activate, from: 2 } as PgEvent;
    expect(step(state, activate, 0).effects).toEqual([]);
  });

  it("keeps its copy when told to remove it while it is wanted", () => {
    const { state } = run(1, mapView(0), events.intervalStarted);
    expect(step(state, received(0, { kind: "removeStray" }), 0).effects).toEqual([]);
  });
});

describe("the primary", () => {
  const infoOf1 = received(1, { kind: "info", info, history });

  it("waits for the monitor to record it as alive before anybody activates", () => {
    const waiting = run(0, mapView(9), events.intervalStarted, infoOf1);
    expect(waiting.state.name).toBe("WaitUpThru");
    expect(waiting.kinds).toContain("requestUpThru");
    expect(waiting.kinds).not.toContain("activate");
    expect(step(waiting.state, { kind: "mapChanged", map: mapView(9) }, 0).state.name).toBe(
      "WaitUpThru",
    );
    const recorded = step(waiting.state, { kind: "mapChanged", map: mapView(10) }, 0);
    expect(recorded.state.name).toBe("Activating");
    expect(sent(recorded.effects, "activate")).toEqual([1]);
  });

  it("goes active when all members, itself too, have activated", () => {
    const activating = run(0, mapView(10), events.intervalStarted, infoOf1);
    expect(activating.state.name).toBe("Activating");
    const own = step(activating.state, events.localActivated, 0);
    expect(own.effects).toEqual([]);
    const all = step(own.state, received(1, { kind: "activated" }), 0);
    expect(all.state.name).toBe("Active");
    expect(all.effects).toEqual([{ kind: "goActive" }]);
  });

  it("asks again after a second, and not before", () => {
    const { state } = run(0, mapView(0), events.intervalStarted);
    expect(step(state, events.tick, 999).effects).toEqual([]);
    expect(sent(step(state, events.tick, 1000).effects, "getInfo")).toEqual([1]);
  });

  it("is down as long as no member of a past interval that may have been active is heard", () => {
    const past = { first: 5, last: 9, acting: [2], maybeActive: true };
    const event: PgEvent = {
      kind: "newInterval",
      interval,
      map: mapView(10, [0, 1]),
      history: { since: 5, intervals: [past] },
    };
    const { state } = run(0, mapView(0), event, events.intervalStarted, infoOf1);
    // The other member knows that the PG has been clean since, which ends the wait.
    expect(state.name).toBe("Activating");
    const older = received(1, { kind: "info", info, history: { since: 5, intervals: [past] } });
    const down = run(0, mapView(0), event, events.intervalStarted, older);
    expect(down.state).toMatchObject({ name: "Down", blockedBy: [2] });
    const back = step(down.state, { kind: "mapChanged", map: mapView(10) }, 0);
    expect(back.state.name).toBe("GetInfo");
    expect(sent(back.effects, "getInfo")).toEqual([1, 2]);
  });

  it("serves nothing with fewer than minSize members", () => {
    const alone: Interval = { ...interval, up: [0], acting: [0] };
    const event: PgEvent = { kind: "newInterval", interval: alone, map: mapView(10), history };
    const { state, kinds } = run(0, mapView(0), event, events.intervalStarted);
    expect(state.name).toBe("Incomplete");
    expect(kinds).not.toContain("activate");
    expect(kinds).not.toContain("requestUpThru");
  });

  it("hears everybody anew when the stray with the authoritative log goes down", () => {
    const known = { ...stateIn("GetLog"), local: empty };
    const state = { ...known, gathered: { ...known.gathered, authority: 2 } };
    const next = step(state, { kind: "mapChanged", map: mapView(0, [0, 1]) }, 0);
    expect(next.state.name).toBe("GetInfo");
    expect([...next.state.gathered.infos.keys()]).toEqual([0]);
  });

  it("is clean only when the acting set is whole", () => {
    const whole = stateIn("Active");
    const done: PgEvent = { kind: "recoveryProgress", missingCount: 0 };
    expect(step(whole, done, 0).state.name).toBe("Clean");
    const undersized = { ...whole, interval: { ...interval, size: 3 } };
    expect(step(undersized, done, 0).state.name).toBe("Active");
    const remapped = { ...whole, interval: { ...interval, up: [0, 2] } };
    expect(step(remapped, done, 0).state.name).toBe("Active");
  });

  it("tells strays to go when the PG is clean, and later ones at once", () => {
    const withStray = { ...stateIn("Active"), strays: new Set([2]) };
    const clean = step(withStray, { kind: "recoveryProgress", missingCount: 0 }, 0);
    expect(sent(clean.effects, "removeStray")).toEqual([2]);
    expect(sent(clean.effects, "clean")).toEqual([1]);
    expect(sent(step(clean.state, events.notify, 0).effects, "removeStray")).toEqual([2]);
  });

  it("gives its place to others when its recovery does not get on", () => {
    const waiting = step(stateIn("Active"), events.recoveryProgress, 0);
    expect(waiting.effects).toEqual([{ kind: "requestRecovery", priority: 1 }]);
    const recovering = step(waiting.state, events.recoveryGranted, 0);
    expect(recovering).toMatchObject({
      state: { name: "Recovering" },
      effects: [{ kind: "setRecovery" }],
    });
    expect(step(recovering.state, events.tick, 29_999).effects).toEqual([]);
    const stuck = step(recovering.state, events.tick, 30_000);
    expect(stuck.effects.map(({ kind }) => kind)).toEqual(["releaseRecovery", "requestRecovery"]);
  });

  it("warns of an object that cannot be recovered once", () => {
    const first = step(stateIn("Recovering"), events.recoveryFailed, 0);
    expect(first.effects).toMatchObject([{ kind: "log", level: "warn" }]);
    expect([...first.state.unfound]).toEqual(["o"]);
    expect(step(first.state, events.recoveryFailed, 0).effects).toEqual([]);
  });
});
