// Runs the operations of simulated clients, and keeps what came of them: one history for the
// linearizability checker, the operations that were sent under a lock, errors, what is pending.
//
// Invariants: each value is written once; an operation without an answer, or with an error, stays
// in the history as one that never ended, since it may have taken effect.
// Does not: decide what is done, or judge it.
import type { SimFence, SimLayers, SimSnapContext } from "../../native/index.js";
import type { BlockOperation } from "../checkers/linearizability.js";
import type { FencedOperation } from "./fencing.js";
import type { SimCluster } from "./sim-cluster.js";

export const initialValue = "0";
export const removedValue = "removed";
const tornText = "torn";

export interface Address {
  object: string;
  block: number;
}

export class Recorder {
  readonly history: BlockOperation[] = [];
  /** those under a lock */
  readonly fenced: FencedOperation[] = [];
  /** answers other than ok, by code; those to lists of objects as "list: CODE" */
  readonly errors = new Map<string, number>();
  completed = 0;
  private nextValue = 1;
  private readonly pending = new Set<BlockOperation>();

  constructor(readonly cluster: SimCluster) {}

  /** Operations without any answer. */
  unanswered(): number {
    return this.pending.size;
  }

  /** Since when the oldest operation that is not answered has been under way; Infinity: none. */
  oldestPendingNs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { startNs } of this.pending) oldest = Math.min(oldest, startNs);
    return oldest;
  }

  /** An exception inside is a defect of the harness: it must not vanish. */
  go(work: Promise<unknown>): void {
    work.catch((thrown: unknown) => {
      process.nextTick(() => {
        throw thrown;
      });
    });
  }

  pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.cluster.time.schedule(delayMs, resolve));
  }

  /** Writes a value of its own. @returns ok, or the error's code */
  async write(client: number, address: Address, fence?: SimFence): Promise<string> {
    const value = this.nextValue++;
    const operation = this.begin(client, address, "write", String(value));
    this.history.push(operation);
    const { object, block } = address;
    const answer = this.io(client).write(this.cluster.pool(), object, block, value, fence);
    const { code } = await this.end(operation, answer);
    if (fence !== undefined) this.fenced.push({ operation, object, token: fence.token });
    return code;
  }

  async remove(client: number, address: Address): Promise<void> {
    const operation = this.begin(client, address, "write", removedValue);
    this.history.push(operation);
    await this.end(operation, this.io(client).remove(this.cluster.pool(), address.object));
  }

  /** @param zeros what zeros mean there. @returns ok, or the error's code */
  async read(
    client: number,
    { object, block }: Address,
    zeros: string,
    fence?: SimFence,
  ): Promise<string> {
    const operation = this.begin(client, { object, block }, "read", "");
    const answer = this.io(client).read(this.cluster.pool(), object, block, fence);
    const { code, value } = await this.end(operation, answer, (found) => {
      operation.value = found === 0 ? zeros : found < 0 ? tornText : String(found);
    });
    if (value === undefined) return code;
    this.history.push(operation);
    if (fence !== undefined) this.fenced.push({ operation, object, token: fence.token });
    return code;
  }

  /** Writes a value of its own, or this one, under a snap context; not part of the history. */
  async changeBlock(
    client: number,
    address: Address,
    context: SimSnapContext,
    value = this.nextValue++,
  ) {
    const { object, block } = address;
    const operation = this.begin(client, address, "write", String(value));
    const answer = this.io(client).write(
      this.cluster.pool(),
      object,
      block,
      value,
      undefined,
      context,
    );
    const { code } = await this.end(operation, answer);
    return { code, value };
  }

  /** As changeBlock(). @returns ok, or the error's code */
  async removeObject(client: number, object: string, context: SimSnapContext): Promise<string> {
    const operation = this.begin(client, { object, block: 0 }, "write", removedValue);
    const answer = this.io(client).remove(this.cluster.pool(), object, context);
    return (await this.end(operation, answer)).code;
  }

  /** Layers get values of their own, where they lack a block. */
  async fillLayers(
    client: number,
    object: string,
    blocks: number,
    layers: SimLayers,
    context: SimSnapContext,
    begin: (values: readonly number[]) => void,
  ) {
    const values = Array.from({ length: blocks }, () => this.nextValue++);
    begin(values);
    const what = `fill ${values.join(" ")} of ${layerNames(layers)}`;
    const operation = this.begin(client, { object, block: 0 }, "write", what);
    const answer = this.io(client).fill(this.cluster.pool(), object, values, layers, context);
    const { code } = await this.end(operation, answer);
    return { code, values };
  }

  /** Of each of the first blocks: whether one of the layers lacks it. */
  lackingBlocks(client: number, object: string, blocks: number, layers: SimLayers) {
    const what = `lacking in ${layerNames(layers)}`;
    const operation = this.begin(client, { object, block: 0 }, "read", what);
    const answer = this.io(client).lacking(this.cluster.pool(), object, blocks, layers);
    return this.end(operation, answer);
  }

  /** Frees the object's blocks of zeros; those before shownBlocks stay explicit zeros. */
  async sparsify(client: number, object: string, shownBlocks: number): Promise<void> {
    const operation = this.begin(client, { object, block: 0 }, "write", "sparsify");
    await this.end(operation, this.io(client).sparsify(this.cluster.pool(), object, shownBlocks));
  }

  /** The names of the objects in the PG of this one that exist at the snapshot. */
  listObjects(client: number, object: string, snap: number | undefined) {
    const operation = this.begin(client, { object, block: 0 }, "read", `list @${snap ?? "head"}`);
    return this.end(operation, this.io(client).list(this.cluster.pool(), object, snap));
  }

  /** Reads the head, or what a snapshot shows; not part of the history. */
  readBlock(client: number, address: Address, snap: number | undefined) {
    const { object, block } = address;
    const operation = this.begin(client, address, "read", snap === undefined ? "" : `@${snap}`);
    const answer = this.io(client).read(this.cluster.pool(), object, block, undefined, snap);
    return this.end(operation, answer);
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

  private async end<Value>(
    operation: BlockOperation,
    answer: Promise<Value>,
    onValue: (value: Value) => void = () => undefined,
  ): Promise<{ code: string; value: Value | undefined }> {
    const { trace, time } = this.cluster;
    const { client, kind, block } = operation;
    try {
      const value = await answer;
      operation.endNs = time.nowNs();
      this.completed += 1;
      onValue(value);
      trace.add(`client${client} ${kind} ${block} ${operation.value}`);
      return { code: "ok", value };
    } catch (thrown) {
      const { code } = thrown as { code: string };
      const error = operation.value.startsWith("list ") ? `list: ${code}` : code;
      this.errors.set(error, (this.errors.get(error) ?? 0) + 1);
      trace.add(`client${client} ${kind} ${block} failed: ${code}`);
      return { code, value: undefined };
    } finally {
      this.pending.delete(operation);
    }
  }

  private io(index: number) {
    const client = this.cluster.clients[index];
    if (client === undefined) throw new Error(`there is no client ${index}`);
    return client.io;
  }
}

function layerNames({ snaps, head }: SimLayers): string {
  return [...snaps.map((snap) => `@${snap}`), ...(head ? ["head"] : [])].join(" ");
}
