// What the clients of a simulated cluster do: unique values into blocks of 4 KiB of shared objects,
// reads, and objects of their own that they write, remove and read again. All of it becomes a
// history for the linearizability checker.
//
// An object that is removed is written once before, and read only after that write was
// acknowledged: zeros then mean "removed", so that its values are unique as the checker wants them.
import type { BlockOperation } from "../checkers/linearizability.js";
import type { SeededRandom } from "./random.js";
import type { SimCluster } from "./sim-cluster.js";

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

export const initialValue = "0";
const removedValue = "removed";
const tornText = "torn";

interface Address {
  object: string;
  block: number;
}

export class Workload {
  readonly history: BlockOperation[] = [];
  /** answers other than ok, by code */
  readonly errors = new Map<string, number>();
  completed = 0;
  private running = true;
  private nextValue = 1;
  private nextObject = 0;
  private readonly pending = new Set<BlockOperation>();
  private readonly removable: { name: string; removed: boolean }[] = [];

  constructor(
    private readonly cluster: SimCluster,
    private readonly options: WorkloadOptions,
    private readonly random: SeededRandom,
  ) {}

  /** Begins; goes on until stop(). */
  start(): void {
    for (let client = 0; client < this.cluster.clients.length; client += 1) {
      for (let lane = 0; lane < this.options.depth; lane += 1) {
        const random = this.random.fork();
        this.go(this.lane(client, random));
      }
    }
  }

  /** No new operations any more. */
  stop(): void {
    this.running = false;
  }

  /** Since when the oldest operation that is not answered has been under way; Infinity: none. */
  oldestPendingNs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { startNs } of this.pending) oldest = Math.min(oldest, startNs);
    return oldest;
  }

  /** Reads every block once, by one client. Resolves when all are answered. */
  async readAll(client: number): Promise<void> {
    const reads: Promise<void>[] = [];
    for (let object = 0; object < this.options.objects; object += 1) {
      for (let block = 0; block < this.options.blocks; block += 1) {
        reads.push(this.read(client, { object: `o${object}`, block }, initialValue));
      }
    }
    for (const { name, removed } of this.removable) {
      reads.push(this.read(client, { object: name, block: 0 }, removed ? removedValue : "early"));
    }
    await Promise.all(reads);
  }

  /** An exception inside is a defect of the harness: it must not vanish. */
  private go(work: Promise<void>): void {
    work.catch((thrown: unknown) => {
      process.nextTick(() => {
        throw thrown;
      });
    });
  }

  private async lane(client: number, random: SeededRandom): Promise<void> {
    const { options } = this;
    while (this.running) {
      await this.pause(random.below(options.maxPauseMs * 1000) / 1000);
      if (!this.running) return;
      if (random.percent(options.removePercent)) {
        await this.lifeOfAnObject(client, random);
        continue;
      }
      const address = {
        object: `o${random.below(options.objects)}`,
        block: random.below(options.blocks),
      };
      if (random.percent(options.writePercent)) await this.write(client, address);
      else await this.read(client, address, initialValue);
    }
  }

  private pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.cluster.time.schedule(delayMs, resolve));
  }

  private async lifeOfAnObject(client: number, random: SeededRandom): Promise<void> {
    const object = { name: `d${this.nextObject++}`, removed: false };
    const address = { object: object.name, block: 0 };
    if (!(await this.write(client, address))) return;
    this.removable.push(object);
    const other = random.below(this.cluster.clients.length);
    this.go(this.read(other, address, removedValue));
    await this.pause(random.below(2000));
    if (!this.running) return;
    object.removed = true;
    await this.remove(client, address);
    await this.read(other, address, removedValue);
  }

  private begin(
    client: number,
    { object, block }: Address,
    kind: "read" | "write",
    value: string,
  ): BlockOperation {
    const startNs = this.cluster.time.nowNs();
    const endNs = Number.POSITIVE_INFINITY;
    const operation = { client, block: `${object}/${block}`, kind, value, startNs, endNs };
    this.pending.add(operation);
    return operation;
  }

  /** @returns true when it was answered with ok */
  private async run(
    operation: BlockOperation,
    answer: Promise<number>,
  ): Promise<number | undefined> {
    const { trace, time } = this.cluster;
    const name = `${operation.kind} ${operation.block}`;
    try {
      const value = await answer;
      operation.endNs = time.nowNs();
      this.completed += 1;
      return value;
    } catch (thrown) {
      const { code } = thrown as { code: string };
      this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
      trace.add(`client${operation.client} ${name} failed: ${code}`);
      return undefined;
    } finally {
      this.pending.delete(operation);
    }
  }

  private async write(client: number, address: Address): Promise<boolean> {
    const value = this.nextValue++;
    const operation = this.begin(client, address, "write", String(value));
    this.history.push(operation);
    const { io } = this.client(client);
    const pool = this.cluster.pool();
    const done = await this.run(operation, io.write(pool, address.object, address.block, value));
    this.note(operation, done);
    return done !== undefined;
  }

  private async remove(client: number, address: Address): Promise<void> {
    const operation = this.begin(client, address, "write", removedValue);
    this.history.push(operation);
    const { io } = this.client(client);
    const done = await this.run(operation, io.remove(this.cluster.pool(), address.object));
    this.note(operation, done);
  }

  /** @param zeros what zeros mean there */
  private async read(client: number, address: Address, zeros: string): Promise<void> {
    const operation = this.begin(client, address, "read", "");
    const { io } = this.client(client);
    const pool = this.cluster.pool();
    const value = await this.run(operation, io.read(pool, address.object, address.block));
    if (value === undefined) return;
    operation.value = value === 0 ? zeros : value < 0 ? tornText : String(value);
    this.history.push(operation);
    this.note(operation, value);
  }

  private note({ client, kind, block, value }: BlockOperation, done: number | undefined): void {
    if (done === undefined) return;
    this.cluster.trace.add(`client${client} ${kind} ${block} ${value}`);
  }

  private client(index: number) {
    const client = this.cluster.clients[index];
    if (client === undefined) throw new Error(`there is no client ${index}`);
    return client;
  }
}
