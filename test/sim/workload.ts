// What the clients of a simulated cluster do: unique values into blocks of 4 KiB of shared objects,
// reads, and objects of their own that they write, remove and read again.
//
// An object that is removed is written once before, and read only after that write was
// acknowledged: zeros then mean "removed", so that its values are unique as the checker wants them.
import type { SeededRandom } from "./random.js";
import { initialValue, type Recorder, removedValue } from "./recorder.js";

export interface WorkloadOptions {
  objects: number;
  blocks: number;
  /** operations of one client that are under way at a time */
  depth: number;
  maxPauseMs: number;
  writePercent: number;
  /** of the operations that are the life of an object that ends by its removal */
  removePercent: number;
}

/** Between two reads of an object by a client that reads closely. */
const closePauseMs = 3;

export class Workload {
  private running = true;
  private nextObject = 0;
  private readonly removable: { name: string; removed: boolean }[] = [];

  constructor(
    private readonly recorder: Recorder,
    private readonly options: WorkloadOptions,
    private readonly random: SeededRandom,
  ) {}

  /** Begins; goes on until stop(). */
  start(): void {
    for (let client = 0; client < this.recorder.cluster.clients.length; client += 1) {
      for (let lane = 0; lane < this.options.depth; lane += 1) {
        const random = this.random.fork();
        this.recorder.go(this.lane(client, random));
      }
    }
  }

  /** No new operations any more. */
  stop(): void {
    this.running = false;
  }

  /** Reads every block once, by one client. Resolves when all are answered. */
  async readAll(client: number): Promise<void> {
    const reads: Promise<string>[] = [];
    for (let object = 0; object < this.options.objects; object += 1) {
      for (let block = 0; block < this.options.blocks; block += 1) {
        reads.push(this.recorder.read(client, { object: `o${object}`, block }, initialValue));
      }
    }
    for (const { name, removed } of this.removable) {
      const zeros = removed ? removedValue : "early";
      reads.push(this.recorder.read(client, { object: name, block: 0 }, zeros));
    }
    await Promise.all(reads);
  }

  /** Reads by one client, of all shared objects, so often that hardly a moment goes unseen. */
  readClosely(client: number, durationMs: number): void {
    const endMs = this.recorder.cluster.nowMs() + durationMs;
    for (let object = 0; object < this.options.objects; object += 1) {
      // Each object by a lane of its own: one that nobody serves stalls no other.
      this.recorder.go(this.closeLane(client, `o${object}`, endMs, this.random.fork()));
    }
  }

  private async closeLane(
    client: number,
    object: string,
    endMs: number,
    random: SeededRandom,
  ): Promise<void> {
    while (this.running && this.recorder.cluster.nowMs() < endMs) {
      const address = { object, block: random.below(this.options.blocks) };
      await this.recorder.read(client, address, initialValue);
      await this.recorder.pause(random.below(closePauseMs * 1000) / 1000);
    }
  }

  private async lane(client: number, random: SeededRandom): Promise<void> {
    const { options, recorder } = this;
    while (this.running) {
      await recorder.pause(random.below(options.maxPauseMs * 1000) / 1000);
      if (!this.running) return;
      if (random.percent(options.removePercent)) {
        await this.lifeOfAnObject(client, random);
        continue;
      }
      const address = {
        object: `o${random.below(options.objects)}`,
        block: random.below(options.blocks),
      };
      if (random.percent(options.writePercent)) await recorder.write(client, address);
      else await recorder.read(client, address, initialValue);
    }
  }

  private async lifeOfAnObject(client: number, random: SeededRandom): Promise<void> {
    const { recorder } = this;
    const object = { name: `d${this.nextObject++}`, removed: false };
    const address = { object: object.name, block: 0 };
    if ((await recorder.write(client, address)) !== "ok") return;
    this.removable.push(object);
    const other = random.below(recorder.cluster.clients.length);
    recorder.go(recorder.read(other, address, removedValue));
    await recorder.pause(random.below(2000));
    if (!this.running) return;
    object.removed = true;
    await recorder.remove(client, address);
    await recorder.read(other, address, removedValue);
  }
}
