// Clients with snapshots: each image has one client that writes its objects, takes snapshots of it
// and removes them; all clients read what the snapshots show. What a snapshot has to show is known
// (snap-model), as an image's changes come one after the other.
//
// Some images are as if they had a parent, out of which layers are filled: heads and snapshots get
// what they lack, as a deep flatten does it. Any client frees blocks of zeros, under no lock.
import type { SimSnapContext } from "../../native/index.js";
import type { SeededRandom } from "./random.js";
import type { Recorder } from "./recorder.js";
import {
  absent,
  blockOf,
  type Contents,
  change,
  doesExist,
  fill,
  isLacking,
  shownBy,
  zeros,
} from "./snap-model.js";

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
  fillPercent: number;
  zerosPercent: number;
  listPercent: number;
}

const maxSnapshots = 6;
const twicePercent = 40;
/** Of the layers of an image that one filling names. */
const namedPercent = 60;

interface Image {
  readonly name: string;
  readonly client: number;
  /** As if it had one: layers are filled, and freed zeros stay explicit. */
  readonly hasParent: boolean;
  readonly head: Contents;
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
      hasParent: index % 2 === 0,
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
      if (this.changesSnapshots && random.percent(options.takePercent)) {
        await this.take(image);
        // Two that show the same.
        if (random.percent(twicePercent)) await this.take(image);
      } else if (this.changesSnapshots && random.percent(options.dropPercent)) {
        await this.drop(image, random);
      } else if (random.percent(options.removePercent)) await this.remove(image, random);
      else if (image.hasParent && random.percent(options.fillPercent)) {
        await this.fillLayers(image, random);
      } else if (random.percent(options.zerosPercent)) await this.freeZeros(image, random);
      else if (random.percent(options.listPercent)) await this.list(image, random);
      else await this.write(image, this.anyBlock(random));
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

  private anyBlock(random: SeededRandom) {
    const { objects, blocks } = this.options;
    return { object: random.below(objects), block: random.below(blocks) };
  }

  private async write(
    image: Image,
    at: { object: number; block: number },
    bytes?: number,
  ): Promise<void> {
    const { object, key } = this.addressOf(image, at);
    const { code, value } = await this.recorder.changeBlock(
      image.client,
      { object, block: at.block },
      image.context,
      bytes,
    );
    change(image.head, key, value === 0 ? zeros : value, code === "ok");
  }

  private async remove(image: Image, random: SeededRandom): Promise<void> {
    const { object, keys } = this.objectOf(image, random.below(this.options.objects));
    const code = await this.recorder.removeObject(image.client, object, image.context);
    for (const key of keys) change(image.head, key, absent, code === "ok");
  }

  /** What a deep flatten does to an object; only of some layers, as if the others had no parent. */
  private async fillLayers(image: Image, random: SeededRandom): Promise<void> {
    const { recorder } = this;
    const { object, keys } = this.objectOf(image, random.below(this.options.objects));
    const ids = [...image.snapshots.keys()].sort((a, b) => a - b);
    const snaps = ids.filter(() => random.percent(namedPercent));
    const head = random.percent(namedPercent);
    const named = snaps.map((id) => image.snapshots.get(id) as Contents);
    if (head) named.push(image.head);
    if (named.length === 0) return;
    const layers = { snaps, head };
    const { value } = await recorder.lackingBlocks(image.client, object, keys.length, layers);
    for (const [block, lacks] of (value ?? []).entries()) {
      const expected = isLacking(named, keys[block] as string);
      if (expected === undefined || expected === lacks) continue;
      const what = lacks ? "lack" : "do not lack";
      this.findings.push(
        `${object} block ${block}: layers ${snaps} ${head} are said to ${what} it`,
      );
    }
    const note = (values: readonly number[], isDone: boolean) => {
      for (const [block, key] of keys.entries()) {
        for (const contents of named) fill(contents, key, values[block] as number, isDone);
      }
    };
    // Whoever reads meanwhile may see it or not.
    const { code, values } = await recorder.fillLayers(
      image.client,
      object,
      keys.length,
      layers,
      image.context,
      (begun) => note(begun, false),
    );
    if (code === "ok") note(values, true);
  }

  /** Zeros are written and freed; the writer goes on at once, whoever it was that frees them. */
  private async freeZeros(image: Image, random: SeededRandom): Promise<void> {
    const { recorder, options } = this;
    const at = this.anyBlock(random);
    const { object } = this.objectOf(image, at.object);
    await this.write(image, at, 0);
    const client = random.below(recorder.cluster.clients.length);
    recorder.go(recorder.sparsify(client, object, image.hasParent ? options.blocks : 0));
    if (random.percent(30)) return;
    await recorder.pause(random.below(1500) / 1000);
    await this.write(image, at);
  }

  private async list(image: Image, random: SeededRandom): Promise<void> {
    const { object, keys } = this.objectOf(image, random.below(this.options.objects));
    const snap = random.pick([undefined, ...image.snapshots.keys()]);
    const contents = snap === undefined ? image.head : (image.snapshots.get(snap) as Contents);
    const { value } = await this.recorder.listObjects(image.client, object, snap);
    const expected = doesExist(contents, keys);
    if (value === undefined || expected === undefined) return;
    if (value.includes(object) !== expected) {
      const what = expected ? "is not listed" : "is listed";
      this.findings.push(`${object} ${what} at ${snap === undefined ? "its head" : snap}`);
    }
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
    const before = shownBy(blockOf(contents, key));
    const { code, value } = await this.recorder.readBlock(client, address, snap);
    // It may have been filled meanwhile.
    const expected = new Set([...before, ...shownBy(blockOf(contents, key))]);
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

  private objectOf(image: Image, index: number) {
    const keys = Array.from(
      { length: this.options.blocks },
      (_, block) => this.addressOf(image, { object: index, block }).key,
    );
    return { object: `${image.name}-${index}`, keys };
  }

  private addressOf({ name }: Image, at: { object: number; block: number }) {
    const object = `${name}-${at.object}`;
    return { object, key: `${object}/${at.block}` };
  }
}
