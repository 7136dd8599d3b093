// Clients with snapshots: each image has one client that writes its objects, takes snapshots of it
// and removes them; all clients read what the snapshots show. What a snapshot has to show is known,
// as an image's changes come one after the other.
//
// A change that was answered with an error may have happened: until the next one of that block the
// old and the new value are both right, also for a snapshot that was taken meanwhile.
import type { SimSnapContext } from "../../native/index.js";
import type { SeededRandom } from "./random.js";
import type { Recorder } from "./recorder.js";

export interface SnapOptions {
  images: number;
  /** of each image */
  objects: number;
  blocks: number;
  maxPauseMs: number;
  /** of the steps of an image */
  takePercent: number;
  dropPercent: number;
  removePercent: number;
}

const zero = 0;
const maxSnapshots = 6;

/** By object/block: the values that are right; absent: zeros. */
type Contents = ReadonlyMap<string, ReadonlySet<number>>;

interface Image {
  readonly name: string;
  readonly client: number;
  head: Map<string, ReadonlySet<number>>;
  context: SimSnapContext;
  /** that exist, by id */
  readonly snapshots: Map<number, Contents>;
}

export class SnapWorkload {
  readonly findings: string[] = [];
  /** so many were taken and removed */
  taken = 0;
  dropped = 0;
  private running = true;
  private changesSnapshots = true;
  private readonly images: readonly Image[];

  constructor(
    private readonly recorder: Recorder,
    private readonly options: SnapOptions,
    private readonly random: SeededRandom,
  ) {
    const clients = recorder.cluster.clients.length;
    this.images = Array.from({ length: options.images }, (_, index) => ({
      name: `s${index}`,
      client: index % clients,
      head: new Map(),
      context: { seq: 0, snaps: [] },
      snapshots: new Map(),
    }));
  }

  /** Begins; goes on until stop(). */
  start(): void {
    for (const image of this.images) {
      this.recorder.go(this.change(image, this.random.fork()));
      this.recorder.go(this.look(image, this.random.fork()));
    }
  }

  /** No snapshot is taken or removed any more: the map comes to rest. */
  keepSnapshots(): void {
    this.changesSnapshots = false;
  }

  /** No new operations any more. */
  stop(): void {
    this.running = false;
  }

  /** Reads all that the heads and snapshots show. Resolves when all is answered. */
  async readAll(client: number): Promise<void> {
    const reads: Promise<void>[] = [];
    for (const image of this.images) {
      for (const snap of [undefined, ...image.snapshots.keys()]) {
        for (let object = 0; object < this.options.objects; object += 1) {
          for (let block = 0; block < this.options.blocks; block += 1) {
            reads.push(this.read(image, client, { object, block }, snap));
          }
        }
      }
    }
    await Promise.all(reads);
  }

  private async change(image: Image, random: SeededRandom): Promise<void> {
    const { recorder, options } = this;
    while (this.running) {
      await recorder.pause(random.below(options.maxPauseMs * 1000) / 1000);
      if (!this.running) return;
      if (this.changesSnapshots && random.percent(options.takePercent)) await this.take(image);
      else if (this.changesSnapshots && random.percent(options.dropPercent)) {
        await this.drop(image, random);
      } else if (random.percent(options.removePercent)) await this.remove(image, random);
      else await this.write(image, random);
    }
  }

  private async look(image: Image, random: SeededRandom): Promise<void> {
    const { recorder, options } = this;
    while (this.running) {
      await recorder.pause(random.below(options.maxPauseMs * 1000) / 1000);
      const snaps = [...image.snapshots.keys()];
      if (snaps.length === 0 || !this.running) continue;
      const at = { object: random.below(options.objects), block: random.below(options.blocks) };
      const client = random.below(recorder.cluster.clients.length);
      await this.read(image, client, at, random.pick(snaps));
    }
  }

  private async take(image: Image): Promise<void> {
    if (image.snapshots.size >= maxSnapshots) return;
    const made = await this.recorder.cluster.ask("pool snap allocate", { pool: "sim" });
    if (made === undefined) return;
    const { id } = made;
    image.snapshots.set(id, new Map(image.head));
    image.context = { seq: id, snaps: [id, ...image.context.snaps] };
    this.taken += 1;
  }

  private async drop(image: Image, random: SeededRandom): Promise<void> {
    const snaps = [...image.snapshots.keys()];
    if (snaps.length === 0) return;
    const id = random.pick(snaps);
    image.snapshots.delete(id);
    const left = image.context.snaps.filter((snap) => snap !== id);
    image.context = { ...image.context, snaps: left };
    // The monitor may have ended before it answered: what it did not hear is asked for again.
    const ids = [id];
    for (let tries = 0; tries < 20; tries += 1) {
      if (await this.recorder.cluster.ask("pool snap remove", { pool: "sim", ids })) break;
      await this.recorder.pause(500);
    }
    this.dropped += 1;
  }

  private async write(image: Image, random: SeededRandom): Promise<void> {
    const { objects, blocks } = this.options;
    const at = { object: random.below(objects), block: random.below(blocks) };
    const { object, key } = this.addressOf(image, at);
    const { code, value } = await this.recorder.changeBlock(
      image.client,
      { object, block: at.block },
      image.context,
    );
    this.changed(image, key, value, code);
  }

  private async remove(image: Image, random: SeededRandom): Promise<void> {
    const index = random.below(this.options.objects);
    const { object } = this.addressOf(image, { object: index, block: 0 });
    const code = await this.recorder.removeObject(image.client, object, image.context);
    for (let block = 0; block < this.options.blocks; block += 1) {
      this.changed(image, this.addressOf(image, { object: index, block }).key, zero, code);
    }
  }

  private changed(image: Image, key: string, value: number, code: string): void {
    const before = image.head.get(key) ?? new Set([zero]);
    image.head.set(key, new Set(code === "ok" ? [value] : [...before, value]));
  }

  private async read(
    image: Image,
    client: number,
    at: { object: number; block: number },
    snap: number | undefined,
  ): Promise<void> {
    const { object, key } = this.addressOf(image, at);
    const address = { object, block: at.block };
    const contents = snap === undefined ? image.head : image.snapshots.get(snap);
    const expected = contents?.get(key) ?? new Set([zero]);
    const { code, value } = await this.recorder.readBlock(client, address, snap);
    const isThere = snap === undefined || image.snapshots.has(snap);
    // The id of one that was removed meanwhile may be forgotten already: nothing is promised then.
    if (!isThere) return;
    if (code === "not_found") {
      this.findings.push(`snapshot ${snap} of ${object} is said to be gone`);
    }
    if (value === undefined || expected.has(value)) return;
    const what = snap === undefined ? "its head" : `snapshot ${snap}`;
    this.findings.push(
      `${object} block ${at.block}: ${what} shows ${value}, not ${[...expected].join(" or ")}`,
    );
  }

  private addressOf({ name }: Image, at: { object: number; block: number }) {
    const object = `${name}-${at.object}`;
    return { object, key: `${object}/${at.block}` };
  }
}
