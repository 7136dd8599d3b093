// A few OSDs with one PG, in one process and without time or sockets: real trackers, PG services
// and messages, fake native cores, and a monitor that only makes maps.
import { assert, defined } from "../../common/assert.js";
import { silentLog } from "../../common/log.js";
import { epoch, type PgId, pgId } from "../../common/units.js";
import type { OsdEvent } from "../../native/index.js";
import { emptyMap } from "../../proto/fixtures.js";
import {
  findOsd,
  fullWeight,
  type MapChanges,
  makeIncremental,
  type OsdInfo,
  type OsdMap,
  sealed,
} from "../../proto/osd-map.js";
import { type CrushPort, PlacementTracker } from "../map/placement-tracker.js";
import { PgService } from "../pg/pg-service.js";
import { restoreTracker, storeMap } from "../stored-map.js";
import { FakeCore } from "./fake-core.js";
import { type FakeCopy, FakeStore, makeEntry } from "./fake-store.js";

export const testPg: PgId = pgId(1, 0);

/** One OSD while it runs. */
interface Running {
  core: FakeCore;
  tracker: PlacementTracker;
  service: PgService;
  incarnation: number;
  map: OsdMap | undefined;
}

export interface TestClusterOptions {
  osds: number;
  size?: number;
  minSize?: number;
}

export class TestCluster {
  map: OsdMap;
  nowMs = 0;
  /** acknowledged: object -> its version; undefined: removed */
  readonly acked = new Map<string, string | undefined>();
  readonly stores: FakeStore[];
  /** CRUSH's choice for the PG, by preference; the tests change it */
  order: number[];
  /** called with each new map */
  onMap: () => void = () => undefined;
  /** false: the monitor ignores what primaries ask for */
  takesPgTemp = true;
  /** true: this message gets lost */
  loses: () => boolean = () => false;
  /** recovery that is begun gets nowhere while this is true */
  recoveryStalls = false;
  private readonly maps: OsdMap[] = [];
  private readonly running = new Map<number, Running>();
  private queue: { osd: number; incarnation: number; run: () => void }[] = [];
  private incarnations = 0;

  private constructor({ osds, size = 3, minSize = 2 }: TestClusterOptions) {
    this.stores = Array.from({ length: osds }, () => new FakeStore());
    this.order = Array.from({ length: osds }, (_, id) => id).slice(0, size);
    const pool = {
      id: 1,
      name: "rbd",
      pgNum: 1,
      size,
      minSize,
      crushRule: 0,
      createdEpoch: epoch(2),
      application: "rbd",
    };
    this.map = sealed({ ...emptyMap(), maxOsd: osds });
    this.maps.push(this.map);
    this.publish({ pools: [pool], nextPoolId: 2 });
  }

  /** A cluster whose OSDs all run. */
  static async start(options: TestClusterOptions): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    for (let id = 0; id < options.osds; id++) await cluster.boot(id);
    await cluster.settle();
    return cluster;
  }

  // ---- OSDs

  /** Starts an OSD; the map shows it up. @param gap the maps that it has missed are gone */
  async boot(id: number, { gap = false } = {}): Promise<void> {
    assert(!this.running.has(id), `osd.${id} does not run`);
    const incarnation = ++this.incarnations;
    const store = defined(this.stores[id], `store of osd.${id}`);
    const isMe = () => this.running.get(id)?.incarnation === incarnation;
    const later = (run: () => void) => this.queue.push({ osd: id, incarnation, run });
    const core = new FakeCore(store, {
      later,
      emit: (event) => isMe() && this.emit(id, event),
      deliver: (to, body) => this.deliver(id, to, body),
      copyOf: (osd, pgid, interval) => this.copyIn(osd, pgid, interval),
      recoveryStalls: () => this.recoveryStalls,
    });
    const tracker = new PlacementTracker(id, this.crush());
    const service = new PgService(
      {
        self: id,
        core,
        log: silentLog,
        nowMs: () => this.nowMs,
        requestUpThru: (wanted) => later(() => this.recordUpThru(id, wanted)),
        requestPgTemp: (pgid, acting) => later(() => this.setPgTemp(pgid, acting)),
        onStateChanged: () => undefined,
        onContact: () => undefined,
      },
      tracker,
    );
    const getMeta = async (key: string) => store.meta.get(key) ?? null;
    const reader = { getMeta, setPgNum: core.setPgNum.bind(core) };
    const map = await restoreTracker(reader, store.statuses(), tracker, silentLog);
    this.running.set(id, { core, tracker, service, incarnation, map });
    this.catchUp(id, gap);
    const before = findOsd(this.map, id);
    if (before?.up) this.markDown(id);
    this.publish({ osds: [this.bootedOsd(id, incarnation, before)] });
  }

  /** Power cut: the map does not show it yet. */
  kill(id: number): void {
    this.running.delete(id);
  }

  markDown(...ids: number[]): void {
    const osds = ids.map((id) => {
      const osd = defined(findOsd(this.map, id), `osd.${id}`);
      return { ...osd, up: false, downAt: epoch(this.map.epoch + 1) };
    });
    this.publish({ osds });
  }

  /** kill() and markDown(). */
  async lose(...ids: number[]): Promise<void> {
    for (const id of ids) this.kill(id);
    this.markDown(...ids);
    await this.settle();
  }

  /** CRUSH chooses anew. */
  async remap(order: number[]): Promise<void> {
    this.order = order;
    const osd = defined(this.map.osds[0], "an OSD");
    // Any change of an OSD makes the trackers ask CRUSH again.
    this.publish({ osds: [{ ...osd, weight: osd.weight - 1 }] });
    await this.settle();
  }

  /** Any other change of the map: flags, levels of use. */
  async change(changes: MapChanges): Promise<void> {
    this.publish(changes);
    await this.settle();
  }

  // ---- the PG

  stateOf(id: number): string {
    const states = this.running.get(id)?.service.states() ?? [];
    return states.find(({ pgid }) => pgid === testPg)?.name ?? "none";
  }

  state(id: number) {
    const states = this.running.get(id)?.service.states() ?? [];
    return defined(
      states.find(({ pgid }) => pgid === testPg),
      `PG at osd.${id}`,
    );
  }

  copy(id: number): FakeCopy {
    return defined(this.stores[id], `store of osd.${id}`).copy(testPg);
  }

  /**
   * Writes an object by the primary; acknowledged when the whole acting set has it.
   * @param reaching the members that the write reaches; default: all
   */
  write(object: string, { removes = false, reaching }: WriteOptions = {}): void {
    const primary = this.primary();
    const gate = defined(this.gate(primary), "the primary's gate");
    assert(gate.phase === "active", `the PG is active, not ${gate.phase}`);
    assert(!this.copy(primary).missing.has(object), `${object} is not missing`);
    const numbers = gate.acting.map((osd) => this.copy(osd).lastUpdate()[1]);
    const number = Math.max(...numbers) + 1;
    const entry = makeEntry({ epoch: gate.interval, number, object, removes });
    for (const osd of reaching ?? gate.acting) this.copy(osd).write(entry);
    if (reaching !== undefined) return;
    this.acked.set(object, removes ? undefined : `${gate.interval},${number}`);
  }

  /** The acting set that the primary's native core serves with. */
  members(): number[] {
    return this.gate(this.primary())?.acting ?? [];
  }

  isActive(): boolean {
    const primary = this.primary();
    return this.running.has(primary) && this.gate(primary)?.phase === "active";
  }

  /** The acting set by the newest map. */
  acting(): number[] {
    const isUp = (id: number) => findOsd(this.map, id)?.up;
    const temporary = this.map.pgTemp[testPg]?.filter(isUp) ?? [];
    return temporary.length > 0 ? temporary : this.order.filter(isUp);
  }

  primary(): number {
    return this.acting()[0] ?? -1;
  }

  /** What differs between the acting copies and what was acknowledged; empty: nothing. */
  differences(): string[] {
    const found: string[] = [];
    for (const id of this.acting()) {
      const copy = this.copy(id);
      if (copy.missing.size > 0) found.push(`osd.${id} lacks ${[...copy.missing.keys()]}`);
      const first = this.copy(this.primary());
      if (`${copy.lastUpdate()}` !== `${first.lastUpdate()}`) found.push(`osd.${id} log`);
      for (const name of new Set([...copy.objects.keys(), ...first.objects.keys()])) {
        const [has, wanted] = [copy.objects.get(name), first.objects.get(name)];
        if (`${has}` !== `${wanted}`) found.push(`osd.${id} ${name}: ${has}, not ${wanted}`);
      }
      for (const [name, version] of this.acked) {
        const has = copy.objects.get(name)?.join();
        if (has !== version) found.push(`osd.${id} ${name}: ${has}, acknowledged ${version}`);
      }
    }
    return found;
  }

  // ---- time and messages

  /** Runs until nothing happens any more; about 3 s of ticks pass. */
  async settle(): Promise<void> {
    for (let round = 0; round < 4; round++) {
      await this.drain();
      this.nowMs += 1001;
      for (const { service } of this.running.values()) service.tick();
    }
    await this.drain();
  }

  private async drain(): Promise<void> {
    for (let quietTurns = 0; quietTurns < 10; quietTurns++) {
      await Promise.resolve();
      const due = this.queue;
      this.queue = [];
      for (const { osd, incarnation, run } of due) {
        if (this.running.get(osd)?.incarnation === incarnation) run();
      }
      if (due.length > 0) quietTurns = 0;
    }
  }

  private emit(id: number, event: OsdEvent): void {
    this.running.get(id)?.service.onNativeEvent(event);
  }

  private deliver(from: number, to: number, body: Uint8Array): void {
    const [sender, receiver] = [this.running.get(from), this.running.get(to)];
    if (sender === undefined || receiver === undefined || this.loses()) return;
    const fromIncarnation = BigInt(sender.incarnation);
    const event: OsdEvent = { type: "control", fromOsd: from, fromIncarnation, body };
    const run = () => this.emit(to, event);
    this.queue.push({ osd: to, incarnation: receiver.incarnation, run });
  }

  private copyIn(osd: number, pgid: PgId, interval: number): FakeCopy | undefined {
    const gate = this.running.get(osd)?.core.gates.get(pgid);
    return gate?.interval === interval ? this.stores[osd]?.copy(pgid) : undefined;
  }

  /** The gate of the PG at an OSD's native core. */
  gate(id: number) {
    return this.running.get(id)?.core.gates.get(testPg);
  }

  // ---- maps

  private crush(): CrushPort {
    const mapPgs = () => Int32Array.from(this.order);
    return { compile: () => new Uint8Array(), mapper: { mapPgs } };
  }

  private bootedOsd(id: number, incarnation: number, before: OsdInfo | undefined): OsdInfo {
    return {
      id,
      uuid: `00000000-0000-4000-8000-${String(id).padStart(12, "0")}`,
      up: true,
      in: true,
      weight: before?.weight ?? fullWeight,
      address: { host: "127.0.0.1", port: 6800 + id },
      incarnation: String(incarnation),
      upFrom: epoch(this.map.epoch + 1),
      upThru: before?.upThru ?? epoch(0),
      downAt: before?.downAt ?? epoch(0),
      sizeBytes: 2 ** 30,
      deviceClass: "ssd",
      host: `host${id}`,
    };
  }

  private setPgTemp(pgid: PgId, acting: readonly number[]): void {
    if (`${this.map.pgTemp[pgid] ?? []}` === `${acting}` || !this.takesPgTemp) return;
    this.publish({ pgTemp: { [pgid]: [...acting] } });
  }

  private recordUpThru(id: number, wanted: number): void {
    const osd = defined(findOsd(this.map, id), `osd.${id}`);
    if (!osd.up || osd.upThru >= wanted) return;
    this.publish({ osds: [{ ...osd, upThru: epoch(Math.max(wanted, osd.upThru)) }] });
  }

  private publish(changes: MapChanges): void {
    this.map = makeIncremental(this.map, changes, 0).map;
    this.maps.push(this.map);
    const { map } = this;
    this.onMap();
    for (const [id, { incarnation }] of this.running) {
      this.queue.push({ osd: id, incarnation, run: () => this.apply(id, map, true) });
    }
  }

  /** Brings the maps that it has missed to an OSD that starts. */
  private catchUp(id: number, gap: boolean): void {
    const have = this.running.get(id)?.map?.epoch;
    if (gap || have === undefined) {
      this.apply(id, this.map, false);
      return;
    }
    for (const map of this.maps) if (map.epoch > have) this.apply(id, map, true);
  }

  private apply(id: number, map: OsdMap, contiguous: boolean): void {
    const osd = this.running.get(id);
    if (osd === undefined || map.epoch <= (osd.map?.epoch ?? 0)) return;
    osd.map = map;
    const { removed } = osd.tracker.advance(map, contiguous);
    const me = findOsd(map, id);
    if (me?.up && me.incarnation === String(osd.incarnation)) osd.service.apply(map, removed);
    void storeMap(osd.core, map);
  }
}

interface WriteOptions {
  removes?: boolean;
  reaching?: number[];
}
