// Clients that take an image's exclusive lock over from each other, and often go on for a while as
// if nothing had happened: each operation names the token of its client's lock. All objects that
// they share belong to that one image.
import type { SeededRandom } from "./random.js";
import { initialValue, type Recorder } from "./recorder.js";

export interface FencedOptions {
  /** of the image */
  objects: number;
  blocks: number;
  /** operations of one client that are under way at a time; 0: no such clients */
  depth: number;
  maxPauseMs: number;
  /** of the operations: begins with a new token, whoever has the lock */
  takeOverPercent: number;
  writePercent: number;
}

const fenceKey = "image";
/** So often a client that was told that its lock is lost goes on with its old token. */
const stubbornPercent = 30;
const refusedPauseMs = 50;

export class FencedWorkload {
  private running = true;
  private newestToken = 0;
  /** by client; 0: it knows that it has no lock */
  private readonly tokens: number[];

  constructor(
    private readonly recorder: Recorder,
    private readonly options: FencedOptions,
    private readonly random: SeededRandom,
  ) {
    this.tokens = recorder.cluster.clients.map(() => 0);
  }

  /** Begins; goes on until stop(). */
  start(): void {
    for (const client of this.tokens.keys()) {
      for (let lane = 0; lane < this.options.depth; lane += 1) {
        this.recorder.go(this.lane(client, this.random.fork()));
      }
    }
  }

  /** No new operations any more. */
  stop(): void {
    this.running = false;
  }

  /** Reads every block once, under no lock. */
  async readAll(client: number): Promise<void> {
    if (this.options.depth === 0) return;
    const reads: Promise<string>[] = [];
    for (let object = 0; object < this.options.objects; object += 1) {
      for (let block = 0; block < this.options.blocks; block += 1) {
        reads.push(this.recorder.read(client, { object: `f${object}`, block }, initialValue));
      }
    }
    await Promise.all(reads);
  }

  private async lane(client: number, random: SeededRandom): Promise<void> {
    const { recorder, options, tokens } = this;
    while (this.running) {
      await recorder.pause(random.below(options.maxPauseMs * 1000) / 1000);
      if (!this.running) return;
      if (tokens[client] === 0 || random.percent(options.takeOverPercent)) {
        this.newestToken += 1;
        tokens[client] = this.newestToken;
      }
      const token = tokens[client] ?? 0;
      const address = {
        object: `f${random.below(options.objects)}`,
        block: random.below(options.blocks),
      };
      const fence = { key: fenceKey, token };
      const code = random.percent(options.writePercent)
        ? await recorder.write(client, address, fence)
        : await recorder.read(client, address, initialValue, fence);
      if (code === "fenced") await recorder.pause(refusedPauseMs);
      const isLost = code === "fenced" && tokens[client] === token;
      if (isLost && !random.percent(stubbornPercent)) tokens[client] = 0;
    }
  }
}
