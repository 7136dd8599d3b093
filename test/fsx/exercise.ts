// Runs operations against disks and the model, several in flight. A finding is an answer that the
// model does not allow, or an operation that fails.
import type { Disk, View } from "./disk.js";
import type { FamilyOperation } from "./family.js";
import { FamilyModel, type Place } from "./family-model.js";
import { compare, type ImageModel } from "./model.js";
import {
  blockBytes,
  conflicts,
  describeOperation,
  isRange,
  type Operation,
  type PathName,
  type RangeKind,
  type SnapshotRead,
} from "./operations.js";

/** What the exercise needs of the world around it. Image 0 is there at the beginning. */
export interface ImagePort {
  open(image: number, path: PathName): Promise<Disk>;
  /** read-only, beside whoever else has it open */
  view(place: Place, path: PathName): Promise<View>;
  /** of the closed image */
  resize(image: number, sizeBytes: number): Promise<void>;
  /** Takes the lock over from whoever has the image open. @returns lets it go again */
  stealLock(image: number): Promise<() => Promise<void>>;
  createSnapshot(place: Required<Place>): Promise<void>;
  removeSnapshot(place: Required<Place>): Promise<void>;
  rollback(place: Required<Place>): Promise<void>;
  clone(place: Required<Place>, clone: number): Promise<void>;
  /** nothing where it has no parent */
  flatten(image: number): Promise<void>;
  /** with its snapshots */
  removeImage(image: number): Promise<void>;
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

/** What nothing else goes on beside. */
type Alone = Exclude<Operation, { kind: RangeKind | "flush" | "snapRead" | "flatten" }>;

function isAlone(operation: Operation): operation is Alone {
  return !isRange(operation) && !["flush", "snapRead", "flatten"].includes(operation.kind);
}

/** What is done to an image that a front end has open. */
const isLive = ({ kind }: Operation) => kind === "snapCreate" || kind === "flatten";

async function checkRange(view: View, model: ImageModel, offset: number, lengthBytes: number) {
  const expected = model.expected(offset, lengthBytes);
  const mismatch = compare(expected, await view.read(offset, lengthBytes), offset);
  if (mismatch !== undefined) throw new Error(`at ${mismatch.offset}: ${mismatch.text}`);
}

interface Running {
  operation: Operation;
  ended: Promise<void>;
}

export class Exercise {
  readonly counts: Record<string, number> = {};
  private readonly family: FamilyModel;
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
    this.family = new FamilyModel(sizeBytes);
  }

  /** @param sizeBytes of image 0, which is blank */
  static async begin(port: ImagePort, path: PathName, sizeBytes: number): Promise<Exercise> {
    const exercise = new Exercise(port, await port.open(0, path), path, sizeBytes);
    exercise.checkSize();
    return exercise;
  }

  /** @throws Finding */
  async run(operation: Operation): Promise<void> {
    const index = this.index++;
    this.history.push(`${describeOperation(index, operation)} (${this.path})`);
    if (this.history.length > historyLength) this.history.shift();
    await this.untilFree(operation);
    this.count(operation);
    if (isAlone(operation)) {
      try {
        await this.alone(operation);
      } catch (thrown) {
        throw this.finding(index, operation, thrown);
      }
      return;
    }
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
    try {
      await this.checkAll(this.disk, this.model);
      await this.checkPlaces(this.family.placesAside());
      await this.disk.close();
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      throw new Finding(`at the end: ${reason}`, this.history);
    }
  }

  /** After a finding: closes what is open, as the cluster's client must not end before. */
  async abandon(): Promise<void> {
    await Promise.all(this.running.map(({ ended }) => ended));
    // What has failed may have closed it already.
    await this.disk.close().catch(() => undefined);
  }

  /** Of the image that is worked on. */
  private get model(): ImageModel {
    return this.family.current;
  }

  private count(operation: Operation): void {
    const path = operation.kind === "snapRead" ? operation.path : this.path;
    const isOver = isRange(operation) || operation.kind === "snapRead" || isLive(operation);
    const key = isOver ? `${operation.kind} over ${path}` : operation.kind;
    this.counts[key] = (this.counts[key] ?? 0) + 1;
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
    if (operation.kind === "flatten") return this.port.flatten(this.family.image);
    if (operation.kind === "snapRead") return this.checkSnapshot(operation);
    if (!isRange(operation)) return;
    const { kind, offset, lengthBytes } = operation;
    switch (kind) {
      case "read":
        return checkRange(this.disk, this.model, offset, lengthBytes);
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

  private async checkSnapshot({ path, offset, lengthBytes, ...place }: SnapshotRead) {
    const model = this.family.at(place);
    await this.withView(place, path, (view) => checkRange(view, model, offset, lengthBytes));
  }

  private async checkPlaces(places: readonly Place[]): Promise<void> {
    for (const place of places) {
      const model = this.family.at(place);
      await this.withView(place, this.path, (view) => this.checkAll(view, model));
    }
  }

  private async checkAll(view: View, model: ImageModel): Promise<void> {
    const step = 1 << 20;
    for (let offset = 0; offset < model.sizeBytes; offset += step) {
      await checkRange(view, model, offset, Math.min(step, model.sizeBytes - offset));
    }
  }

  private async withView(place: Place, path: PathName, run: (view: View) => Promise<void>) {
    const { sizeBytes } = this.family.at(place);
    const { image, snapshot = "none" } = place;
    try {
      const view = await this.port.view(place, path);
      try {
        if (view.sizeBytes !== sizeBytes) {
          throw new Error(`it has ${view.sizeBytes} bytes instead of ${sizeBytes}`);
        }
        await run(view);
      } finally {
        await view.close();
      }
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      throw new Error(`image ${image}, snapshot ${snapshot}, over ${path}: ${reason}`);
    }
  }

  private async checkStatus(offset: number, lengthBytes: number): Promise<void> {
    const runs = await this.disk.zeroRuns(offset, lengthBytes);
    for (const run of runs ?? []) {
      const end = Math.min(run.offset + run.lengthBytes, offset + lengthBytes);
      if (this.model.isZero(run.offset, end - run.offset)) continue;
      throw new Error(`${run.offset} to ${end} is said to be zero`);
    }
  }

  private async alone(operation: Alone): Promise<void> {
    const { port, family } = this;
    const { image } = family;
    switch (operation.kind) {
      case "reopen":
        this.path = operation.path;
        return this.whileClosed(async () => undefined);
      case "resize":
        return this.whileClosed(async () => {
          await port.resize(image, operation.sizeBytes);
          this.model.resize(operation.sizeBytes);
        });
      case "steal":
        return this.steal();
      case "snapCreate":
        await port.createSnapshot({ image, snapshot: operation.snapshot });
        return family.createSnapshot(operation.snapshot);
      case "snapRemove":
        await port.removeSnapshot(operation);
        return family.removeSnapshot(operation);
      case "rollback":
        return this.rollback({ image, snapshot: operation.snapshot });
      case "clone":
        return this.whileClosed(async () => {
          await port.clone(operation, operation.clone);
          family.clone(operation, operation.clone);
        });
      case "retire":
        return this.retire(operation);
    }
  }

  private async whileClosed(run: () => Promise<void>): Promise<void> {
    await this.disk.close();
    await run();
    this.disk = await this.port.open(this.family.image, this.path);
    this.checkSize();
  }

  /** In use, unless its size changes: the front ends of this run ask for that once. */
  private async rollback(place: Required<Place>): Promise<void> {
    const run = async () => {
      await this.port.rollback(place);
      this.family.rollback(place.snapshot);
    };
    const isSameSize = this.family.at(place).sizeBytes === this.model.sizeBytes;
    return isSameSize ? run() : this.whileClosed(run);
  }

  /** What goes is looked at once more. */
  private async retire({ snapshots, images }: FamilyOperation & { kind: "retire" }): Promise<void> {
    const { family, port } = this;
    for (const snapshot of snapshots) {
      const place = { image: family.image, snapshot };
      await this.checkPlaces([place]);
      await port.removeSnapshot(place);
      family.removeSnapshot(place);
    }
    for (const image of images) {
      await this.checkPlaces(family.placesOf(image));
      await port.removeImage(image);
      family.removeImage(image);
    }
  }

  /** What comes after the takeover is refused, changes nothing, and says that it is fenced. */
  private async steal(): Promise<void> {
    // The lock is taken by the first request.
    await checkRange(this.disk, this.model, 0, blockBytes);
    const letGo = await this.port.stealLock(this.family.image);
    const foreign = new Uint8Array(blockBytes).fill(foreignByte);
    await this.mustFail("a write", this.disk.write(0, foreign));
    await this.mustFail("a read", this.disk.read(0, blockBytes));
    const { code } = await this.disk.lockLost;
    if (code !== "fenced") throw new Error(`the lock was lost with ${code} instead of fenced`);
    await this.whileClosed(letGo);
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
