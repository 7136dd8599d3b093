// Runs operations against a disk and the model, several in flight. A finding is an answer that the
// model does not allow, or an operation that fails.
import type { Disk } from "./disk.js";
import { compare, ImageModel } from "./model.js";
import {
  blockBytes,
  conflicts,
  describeOperation,
  type Operation,
  type PathName,
} from "./operations.js";

/** What the exercise needs of the world around it. */
export interface ImagePort {
  open(path: PathName): Promise<Disk>;
  /** of the closed image */
  resize(sizeBytes: number): Promise<void>;
  /** Takes the lock over from whoever has the image open. @returns lets it go again */
  stealLock(): Promise<() => Promise<void>>;
}

export class Finding extends Error {
  constructor(
    message: string,
    /** the operations up to it, oldest first */
    readonly history: readonly string[],
  ) {
    super(message);
  }
}

const inFlightMax = 4;
const historyLength = 24;
/** Of what must never get into the image. */
const foreignByte = 0xdd;

interface Running {
  operation: Operation;
  ended: Promise<void>;
}

export class Exercise {
  readonly counts: Record<string, number> = {};
  private readonly model: ImageModel;
  private readonly history: string[] = [];
  private running: Running[] = [];
  private failure: Finding | undefined;
  private index = 0;

  private constructor(
    private readonly port: ImagePort,
    private disk: Disk,
    private path: PathName,
    sizeBytes: number,
  ) {
    this.model = new ImageModel(sizeBytes);
  }

  /** @param sizeBytes of the image, which is blank */
  static async begin(port: ImagePort, path: PathName, sizeBytes: number): Promise<Exercise> {
    const exercise = new Exercise(port, await port.open(path), path, sizeBytes);
    exercise.checkSize();
    return exercise;
  }

  /** @throws Finding */
  async run(operation: Operation): Promise<void> {
    const index = this.index++;
    this.history.push(`${describeOperation(index, operation)} (${this.path})`);
    if (this.history.length > historyLength) this.history.shift();
    await this.untilFree(operation);
    const key = "offset" in operation ? `${operation.kind} over ${this.path}` : operation.kind;
    this.counts[key] = (this.counts[key] ?? 0) + 1;
    if (operation.kind === "reopen") return this.reopen(operation.path);
    if (operation.kind === "resize") return this.resize(operation.sizeBytes);
    if (operation.kind === "steal") return this.steal(index, operation);
    const entry: Running = {
      operation,
      ended: this.start(index, operation)
        .catch((thrown: unknown) => {
          this.failure ??= this.finding(index, operation, thrown);
        })
        .finally(() => {
          this.running = this.running.filter((other) => other !== entry);
        }),
    };
    this.running.push(entry);
  }

  /** Everything once more, over the path that is open; then closes it. */
  async finish(): Promise<void> {
    await this.drain();
    const step = 1 << 20;
    for (let offset = 0; offset < this.model.sizeBytes; offset += step) {
      const lengthBytes = Math.min(step, this.model.sizeBytes - offset);
      const expected = this.model.expected(offset, lengthBytes);
      const mismatch = compare(expected, await this.disk.read(offset, lengthBytes), offset);
      if (mismatch !== undefined) {
        throw new Finding(`at the end, at ${mismatch.offset}: ${mismatch.text}`, this.history);
      }
    }
    await this.disk.close();
  }

  private finding(index: number, operation: Operation, thrown: unknown): Finding {
    if (thrown instanceof Finding) return thrown;
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    const where = `${describeOperation(index, operation)} over ${this.path}`;
    return new Finding(`${where}: ${reason}`, [...this.history]);
  }

  private async untilFree(operation: Operation): Promise<void> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure;
      const blocking = this.running.filter((other) => conflicts(operation, other.operation));
      if (blocking.length > 0) await Promise.all(blocking.map(({ ended }) => ended));
      else if (this.running.length >= inFlightMax) {
        await Promise.race(this.running.map(({ ended }) => ended));
      } else return;
    }
  }

  private async drain(): Promise<void> {
    await Promise.all(this.running.map(({ ended }) => ended));
    if (this.failure !== undefined) throw this.failure;
  }

  /** The model changes when the operation starts: nothing that touches its range runs beside it. */
  private async start(index: number, operation: Operation): Promise<void> {
    if (operation.kind === "flush") return this.disk.flush();
    if (!("offset" in operation)) return;
    const { kind, offset, lengthBytes } = operation;
    switch (kind) {
      case "read":
        return this.checkRead(offset, lengthBytes);
      case "write":
        return this.disk.write(offset, this.model.write(index, offset, lengthBytes));
      case "writeZeroes":
      case "writeZeroesUnmap":
        this.model.zero(offset, lengthBytes);
        return this.disk.writeZeroes(offset, lengthBytes, kind === "writeZeroesUnmap");
      case "discard":
        this.model.discard(offset, lengthBytes);
        return this.disk.discard(offset, lengthBytes);
      case "status":
        return this.checkStatus(offset, lengthBytes);
    }
  }

  private async checkRead(offset: number, lengthBytes: number): Promise<void> {
    const expected = this.model.expected(offset, lengthBytes);
    const mismatch = compare(expected, await this.disk.read(offset, lengthBytes), offset);
    if (mismatch !== undefined) throw new Error(`at ${mismatch.offset}: ${mismatch.text}`);
  }

  private async checkStatus(offset: number, lengthBytes: number): Promise<void> {
    const runs = await this.disk.zeroRuns(offset, lengthBytes);
    for (const run of runs ?? []) {
      const end = Math.min(run.offset + run.lengthBytes, offset + lengthBytes);
      if (this.model.isZero(run.offset, end - run.offset)) continue;
      throw new Error(`${run.offset} to ${end} is said to be zero`);
    }
  }

  private async reopen(path: PathName): Promise<void> {
    await this.disk.close();
    this.path = path;
    this.disk = await this.port.open(path);
    this.checkSize();
  }

  private async resize(sizeBytes: number): Promise<void> {
    await this.disk.close();
    await this.port.resize(sizeBytes);
    this.model.resize(sizeBytes);
    this.disk = await this.port.open(this.path);
    this.checkSize();
  }

  /** What comes after the takeover is refused, changes nothing, and says that it is fenced. */
  private async steal(index: number, operation: Operation): Promise<void> {
    try {
      // The lock is taken by the first request.
      await this.checkRead(0, blockBytes);
      const letGo = await this.port.stealLock();
      const foreign = new Uint8Array(blockBytes).fill(foreignByte);
      await this.mustFail("a write", this.disk.write(0, foreign));
      await this.mustFail("a read", this.disk.read(0, blockBytes));
      const { code } = await this.disk.lockLost;
      if (code !== "fenced") throw new Error(`the lock was lost with ${code} instead of fenced`);
      await this.disk.close();
      await letGo();
    } catch (thrown) {
      throw this.finding(index, operation, thrown);
    }
    this.disk = await this.port.open(this.path);
    this.checkSize();
  }

  private async mustFail(what: string, answer: Promise<unknown>): Promise<void> {
    const failed = await answer.then(
      () => false,
      () => true,
    );
    if (!failed) throw new Error(`${what} was accepted after the lock was taken over`);
  }

  private checkSize(): void {
    const { sizeBytes } = this.disk;
    if (sizeBytes === this.model.sizeBytes) return;
    const text = `the disk has ${sizeBytes} bytes instead of ${this.model.sizeBytes}`;
    throw new Finding(text, this.history);
  }
}
