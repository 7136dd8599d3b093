// The native core as a PgService sees it, over a FakeStore: the gate's phases, activation, and
// recovery by copying versions. Events come through the network's queue, never at once.
import { assert } from "../../common/assert.js";
import { type PgId, pgId } from "../../common/units.js";
import type { NativeActivation, NativeRole, OsdEvent } from "../../native/index.js";
import type { PgCore } from "../pg/pg-service.js";
import type { FakeCopy, FakeStore } from "./fake-store.js";

/** What a core needs of the network that it is on. */
export interface CoreHost {
  /** runs it later, if the OSD still runs then */
  later(run: () => void): void;
  emit(event: OsdEvent): void;
  deliver(to: number, body: Uint8Array): void;
  /** the copy of an OSD that runs and is in that interval; undefined: none */
  copyOf(osd: number, pgid: PgId, interval: number): FakeCopy | undefined;
  /** true: recovery that is begun gets nowhere */
  recoveryStalls?(): boolean;
}

export interface Gate {
  interval: number;
  acting: number[];
  minSize: number;
  role: NativeRole;
  phase: "peering" | "replica_active" | "active";
  sources: number[];
  otherSources: number[];
  leaseWaitMs: number;
  peerMissing: Map<number, Set<string>>;
}

export class FakeCore implements PgCore {
  readonly gates = new Map<PgId, Gate>();
  /** as it was told; it splits nothing */
  readonly pgNums = new Map<PgId, number>();
  mapEpoch = 0;

  constructor(
    private readonly store: FakeStore,
    private readonly host: CoreHost,
  ) {}

  setMapEpoch(epoch: number): void {
    assert(epoch >= this.mapEpoch, "map epochs grow");
    this.mapEpoch = epoch;
  }

  setPgNum(pool: number, seed: number, pgNum: number): void {
    this.pgNums.set(pgId(pool, seed), pgNum);
  }

  startInterval(
    pool: number,
    seed: number,
    spec: { interval: number; acting: number[]; minSize: number; role: NativeRole },
  ): void {
    const pgid = pgId(pool, seed);
    assert(spec.interval >= (this.gates.get(pgid)?.interval ?? 0), "intervals grow");
    this.gates.set(pgid, {
      ...spec,
      phase: "peering",
      sources: [],
      otherSources: [],
      leaseWaitMs: 0,
      peerMissing: new Map(),
    });
    const { interval } = spec;
    this.host.later(() => {
      if (this.gates.get(pgid)?.interval !== interval) return;
      const info = this.store.copy(pgid).info();
      this.host.emit({ type: "intervalStarted", pool, seed, interval, ...info });
    });
  }

  activate(pool: number, seed: number, activation: NativeActivation): void {
    const pgid = pgId(pool, seed);
    const gate = this.gates.get(pgid);
    if (gate?.interval !== activation.interval || gate.phase !== "peering") return;
    this.store.copy(pgid).activate(activation);
    gate.sources = activation.sources;
    gate.otherSources = activation.otherSources;
    gate.leaseWaitMs = activation.leaseWaitMs;
    gate.peerMissing = new Map(
      activation.peerMissing.map(([osd, objects]) => [osd, new Set(objects)]),
    );
    this.host.later(() => {
      if (this.gates.get(pgid) !== gate) return;
      if (gate.role === "replica") gate.phase = "replica_active";
      this.host.emit({ type: "activated", pool, seed, interval: gate.interval });
    });
  }

  goActive(pool: number, seed: number, interval: number): void {
    const gate = this.gates.get(pgId(pool, seed));
    if (gate?.interval !== interval || gate.phase !== "peering") return;
    assert(gate.role === "primary" && gate.acting.length >= gate.minSize, "it may go active");
    gate.phase = "active";
    this.progress(pool, seed, gate);
  }

  setRecovery(pool: number, seed: number, interval: number, maxInFlight: number): void {
    const gate = this.gates.get(pgId(pool, seed));
    if (gate?.interval !== interval || maxInFlight === 0) return;
    this.host.later(() => this.recoverAll(pool, seed, gate));
  }

  removePg(pool: number, seed: number): void {
    this.gates.delete(pgId(pool, seed));
    this.store.copies.delete(pgId(pool, seed));
  }

  sendControl(osd: number, body: Uint8Array): void {
    this.host.deliver(osd, body);
  }

  async setMeta(key: string, value: string): Promise<void> {
    this.store.meta.set(key, value);
  }

  async pgLog(pool: number, seed: number, after: number, limit: number) {
    const { log } = this.store.copy(pgId(pool, seed));
    return log.filter(({ number }) => number > after).slice(0, limit);
  }

  async pgHorizon(pool: number, seed: number) {
    return Uint8Array.of(this.store.copy(pgId(pool, seed)).horizon);
  }

  async pgMissing(pool: number, seed: number) {
    return [...this.store.copy(pgId(pool, seed)).missing.values()];
  }

  async listObjects(pool: number, seed: number, after: string | null, limit: number) {
    return [...this.store.copy(pgId(pool, seed)).objects]
      .filter(([name]) => after === null || name > after)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, limit);
  }

  private progress(pool: number, seed: number, gate: Gate): void {
    const { interval } = gate;
    const own = this.store.copy(pgId(pool, seed)).missing.size;
    const missingCount = [...gate.peerMissing.values()].reduce((sum, set) => sum + set.size, own);
    this.host.later(() => {
      this.host.emit({ type: "recoveryProgress", pool, seed, interval, missingCount });
    });
  }

  private recoverAll(pool: number, seed: number, gate: Gate): void {
    const pgid = pgId(pool, seed);
    if (this.gates.get(pgid) !== gate || this.host.recoveryStalls?.()) return;
    const own = this.store.copy(pgid);
    for (const lack of [...own.missing.values()]) {
      const [object, need, removed] = lack;
      const isKnown = need[1] !== 0;
      const source = [...gate.sources, ...(isKnown ? gate.otherSources : [])]
        .filter((osd) => !gate.peerMissing.get(osd)?.has(object))
        .map((osd) => this.host.copyOf(osd, pgid, gate.interval))
        .find((copy) => copy?.has(lack));
      if (removed) own.remove(object);
      else if (source !== undefined) own.recover(object, source);
      else this.unfound(pool, seed, gate, object);
    }
    for (const [osd, objects] of gate.peerMissing) {
      const copy = this.host.copyOf(osd, pgid, gate.interval);
      for (const object of [...objects]) {
        if (own.missing.has(object) || copy === undefined) continue;
        copy.recover(object, own);
        objects.delete(object);
      }
    }
    this.progress(pool, seed, gate);
  }

  private unfound(pool: number, seed: number, gate: Gate, object: string): void {
    const error = Object.assign(new Error("no source"), { code: "unfound" });
    const { interval } = gate;
    this.host.later(() => {
      this.host.emit({ type: "recoveryFailed", pool, seed, interval, object, error });
    });
  }
}
