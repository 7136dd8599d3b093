// Live migration of images: from files, or from one pool, namespace or name to another, while the
// new image is in use already. migration-machine.ts says what comes next; here it is carried out.
// docs/operating/migration.md
import { StorageError } from "../../common/errors.js";
import type { NativeFence } from "../../native/binding.js";
import { refuseUncloneable } from "./clones.js";
import type { PendingEntry } from "./directory.js";
import { makeChange } from "./exclusive.js";
import { joinParent } from "./family.js";
import { hasFeature, type ImageFeature, parseFeature } from "./features.js";
import { headerObject, type ImageHeader, sectorBytes } from "./header.js";
import { changeHeader } from "./header-change.js";
import { type ImageKey, keyText, type SnapKey } from "./keys.js";
import {
  abandon,
  begin,
  checkNew,
  clear,
  clearStale,
  type LayoutOptions,
  type NewImage,
} from "./making.js";
import { announceChange } from "./management-lock.js";
import { listMetadata, metadataSteps } from "./metadata.js";
import { recordSteps, refuseUnmovable } from "./migration-changes.js";
import { moveClones, movedTo, type Side } from "./migration-clones.js";
import { type MigrationStep, type MigrationVerb, nextStep } from "./migration-machine.js";
import type { MigrationOrigin, MigrationState } from "./migration-record.js";
import { forgetSources, takeOverSnapshots } from "./migration-snapshots.js";
import { describeOrigin, type OriginSpec } from "./migration-source.js";
import { goesTo, migrationView, sourceImage, specOf, targetRecord } from "./migration-state.js";
import { hasCode } from "./omap-values.js";
import type { ImageRef, SnapRef } from "./references.js";
import { unpublish, withImageLock } from "./removal.js";
import { type ImageInfo, noProgress, type Progress, type Scope } from "./scope.js";
import { overSnapshots } from "./snapshot-changes.js";
import { snapshotByKey } from "./snapshots.js";

/** The source's snapshots may change until it is marked. */
const maxMarks = 5;

export interface MigrationInfo {
  side: "target" | "source";
  /** of the target */
  state: MigrationState | undefined;
  /** the other image, or the file or URL */
  other: string;
}

export interface PrepareOptions extends LayoutOptions {
  overcommit?: boolean;
}

interface Target {
  scope: Scope;
  id: string;
  header: ImageHeader;
}

export class Migrations {
  constructor(private readonly scope: Scope) {}

  /**
   * An image of this scope that shows what a file has, and is filled from it later.
   * @throws already_exists; and what describeOrigin() does
   */
  async importFrom(
    name: string,
    from: OriginSpec,
    { overcommit = false, ...layout }: PrepareOptions = {},
  ): Promise<ImageInfo> {
    const { origin, sizeBytes: overlapBytes } = await describeOrigin(from);
    const sizeBytes = Math.ceil(overlapBytes / sectorBytes) * sectorBytes;
    const entry = await this.begin(
      name,
      { ...layout, sizeBytes },
      origin,
      overlapBytes,
      overcommit,
    );
    await this.publish(entry);
    return this.scope.infoOf(name, await this.scope.header(entry.id));
  }

  /**
   * An image of this scope that shows what a snapshot of another one does, and is filled from it
   * later: until then it is a clone of it. @throws not_found, already_exists, invalid_argument
   */
  async importSnapshot(
    name: string,
    from: { scope: Scope; image: ImageKey; snap: SnapKey },
    { overcommit = false, ...layout }: PrepareOptions = {},
  ): Promise<ImageInfo> {
    const header = await from.scope.header(await from.scope.idOf(from.image));
    const { id, kind, sizeBytes } = snapshotByKey(from.scope, header, from.image, from.snap);
    refuseUncloneable(header, `${from.scope.specOf(from.image)}@${keyText(from.snap)}`, kind);
    const snapshot = { ...from.scope.refOf(header.id), snapId: id };
    const entry = await this.begin(
      name,
      { ...layout, sizeBytes, parent: { ...snapshot, overlapBytes: sizeBytes } },
      { kind: "snapshot", snapshot },
      sizeBytes,
      overcommit,
    );
    await this.publish(entry);
    return this.scope.infoOf(name, await this.scope.header(entry.id));
  }

  /**
   * This scope's image is used under its new name from here on, wherever that is; whoever has it
   * open goes on. What was cut off is finished. @throws already_exists, busy, invalid_argument
   */
  async prepare(
    image: string,
    to: { scope: Scope; name: string },
    layout: LayoutOptions = {},
  ): Promise<ImageInfo> {
    const id = await this.scope.idOf(image);
    const source = this.scope.refOf(id);
    const there = new Migrations(to.scope);
    const target =
      (await there.begunBefore(to.name, source)) ??
      (await there.make(to.name, this.scope, id, layout));
    await there.walk("prepare", target);
    return to.scope.infoOf(to.name, await to.scope.header(target));
  }

  /** Copies what is not copied yet, while the image is in use. Can be cut off, and repeated. */
  async execute(image: string, progress: Progress = noProgress): Promise<void> {
    const { scope, id, header } = await this.find(image);
    const spec = await specOf(scope, id);
    if (nextStep("execute", await migrationView(scope, header), spec) === "done") return;
    await makeChange(scope, id, { kind: "migrationExecute" }, progress);
  }

  /** The source goes, the migration is over. @throws busy before all is copied, or in use */
  async commit(image: string, progress: Progress = noProgress): Promise<void> {
    const { scope, id } = await this.find(image);
    await new Migrations(scope).walk("commit", id, progress);
  }

  /** The target goes; the source is what it was when the migration was prepared. @throws busy */
  async abort(image: string, progress: Progress = noProgress): Promise<void> {
    const header = await this.scope.header(await this.scope.idOf(image));
    const target = goesTo(header);
    if (target !== undefined && !(await exists(this.scope, target))) {
      // Aborted while it was still being prepared: nothing of the target has been used.
      const source = { scope: this.scope, header };
      await freeSource(source, target.imageId);
      return settleFreed(source);
    }
    const { scope, id } = await this.find(image);
    await new Migrations(scope).walk("abort", id, progress);
  }

  /** undefined: it takes part in none. @throws not_found */
  async info(image: ImageKey): Promise<MigrationInfo | undefined> {
    const { scope } = this;
    const header = await scope.header(await scope.idOf(image));
    const target = goesTo(header);
    if (target !== undefined) {
      const other = await specOf(scope.elsewhere(target.pool, target.namespace), target.imageId);
      return { side: "source", state: undefined, other };
    }
    const record = targetRecord(header);
    if (record === undefined) return undefined;
    if (record.source.kind === "file") {
      const { files, snapshot } = record.source;
      const of = snapshot === undefined ? "" : `, snapshot ${snapshot}`;
      return { side: "target", state: record.state, other: `${files[0]?.name ?? ""}${of}` };
    }
    if (record.source.kind === "snapshot") {
      const other = await snapSpecOf(scope, record.source.snapshot);
      return { side: "target", state: record.state, other };
    }
    const source = await sourceImage(scope, record);
    const { imageId } = record.source.image;
    const other = source === undefined ? imageId : await specOf(source.scope, imageId);
    return { side: "target", state: record.state, other };
  }

  /** The target, named by itself or by its source. @throws not_found, invalid_argument */
  private async find(image: string): Promise<Target> {
    const id = await this.scope.idOf(image);
    const header = await this.scope.header(id);
    const target = goesTo(header);
    if (target === undefined) {
      // That it is one of a migration, nextStep() requires.
      return { scope: this.scope, id, header };
    }
    const scope = this.scope.elsewhere(target.pool, target.namespace);
    const there = await scope.headerIfAny(target.imageId);
    if (there !== undefined) return { scope, id: target.imageId, header: there };
    throw new StorageError("not_found", `the image that ${image} is migrated to is gone`, {
      remedy: `Undo the migration: cairn migration abort ${this.scope.prefix}${image}`,
    });
  }

  /** Carries out what comes next, and looks again, until the verb is done. */
  private async walk(verb: MigrationVerb, id: string, progress = noProgress): Promise<void> {
    const { scope } = this;
    const spec = await specOf(scope, id);
    for (;;) {
      const header = await scope.header(id);
      const step = nextStep(verb, await migrationView(scope, header), spec);
      const isLast = await this.carryOut(step, header, progress);
      if (isLast) return;
    }
  }

  /** @returns whether the verb is done with it */
  private async carryOut(
    step: MigrationStep,
    header: ImageHeader,
    progress: Progress,
  ): Promise<boolean> {
    const { scope } = this;
    const source = await sourceOf(scope, header);
    switch (step) {
      case "markSource": {
        if (source !== undefined) await this.mark(source, header.id);
        return false;
      }
      case "moveClones":
      case "removeSource":
        if (source !== undefined) await this.endSource(source, header.id, progress);
        return false;
      case "endMigration":
        await forgetSources(scope, header.id);
        await settle(scope, await scope.header(header.id));
        await changeHeader(scope, header.id, undefined, (view) =>
          targetRecord(view.header) === undefined ? undefined : recordSteps(view, undefined),
        );
        await announceChange(scope.lockPorts(), { pool: scope.pool.id, id: header.id });
        return true;
      case "beginAbort":
      case "returnClones":
      case "freeSource":
      case "removeTarget":
        await this.undo(header, progress);
        return true;
      case "beginCopy":
      case "copy":
      case "takeBackAbort":
      case "done":
        return true;
    }
  }

  /** The target has the snapshots of the source as they are when that is marked. */
  private async mark(source: { scope: Scope; header: ImageHeader }, id: string): Promise<void> {
    const { scope } = this;
    const change = { kind: "migrationMark" as const, target: scope.refOf(id) };
    for (let attempt = 1; ; attempt += 1) {
      await takeOverSnapshots(scope, id, await source.scope.header(source.header.id));
      try {
        return await makeChange(source.scope, source.header.id, change);
      } catch (thrown) {
        if (!hasCode(thrown, "precondition_failed") || attempt === maxMarks) throw thrown;
      }
    }
  }

  /**
   * Under the source's lock, so that nobody undoes the migration meanwhile: what comes next on the
   * way to its end. @throws busy while anybody has the source open
   */
  private endSource(source: Side, id: string, progress: Progress): Promise<void> {
    const { scope } = this;
    const { header } = source;
    return withImageLock(source.scope, header.id, header, async (fence) => {
      const target = { scope, header: await scope.header(id) };
      const spec = await specOf(scope, id);
      const step = nextStep("commit", await migrationView(scope, target.header), spec);
      if (step === "moveClones") {
        return moveClones(source, target, movedTo(target.header));
      }
      if (step !== "removeSource") return;
      await clear(source.scope, await unname(source.scope, header.id), progress, fence);
    });
  }

  /** Under the target's lock: nobody writes to it when its source is free again. */
  private undo(header: ImageHeader, progress: Progress): Promise<void> {
    const { scope } = this;
    const { id } = header;
    return withImageLock(scope, id, header, async (fence) => {
      const now = await scope.header(id);
      const spec = await specOf(scope, id);
      if (now.snapshots.some((snapshot) => snapshot.source === undefined)) {
        throw new StorageError("busy", `${spec} has snapshots`, {
          remedy: `Remove them first: cairn snap purge ${spec}`,
        });
      }
      const source = await sourceOf(scope, now);
      const isFree = nextStep("abort", await migrationView(scope, now), spec) === "removeTarget";
      if (source !== undefined && !isFree) {
        // Of the source too, so that nobody ends the migration meanwhile.
        await withImageLock(source.scope, source.header.id, source.header, () =>
          this.giveBack(source, id, spec, fence),
        );
      }
      if (source !== undefined) await settleFreed(source);
      await clear(scope, await unname(scope, id), progress, fence);
    });
  }

  /** Until the source is as free as it was. Under the locks of both images. */
  private async giveBack(
    source: Side,
    id: string,
    spec: string,
    fence: NativeFence | undefined,
  ): Promise<void> {
    const { scope } = this;
    for (;;) {
      const header = await scope.header(id);
      const step = nextStep("abort", await migrationView(scope, header), spec);
      if (step === "removeTarget") return;
      if (step === "freeSource") await freeSource(source, id);
      if (step === "beginAbort") {
        await changeHeader(scope, id, fence, (view) => {
          const record = targetRecord(view.header);
          if (record?.state !== "executed") return undefined;
          return recordSteps(view, { ...record, state: "aborting" });
        });
      }
      if (step === "returnClones") {
        const pairs = [...movedTo(header)].map(([from, to]) => [to, from] as const);
        await moveClones({ scope, header }, source, new Map(pairs));
      }
    }
  }

  private async begunBefore(name: string, source: ImageRef): Promise<string | undefined> {
    const id = await this.scope.directory.idOf(name);
    if (id === undefined) return undefined;
    const origin = targetRecord(await this.scope.header(id))?.source;
    return origin?.kind === "image" && origin.image.imageId === source.imageId ? id : undefined;
  }

  /** The target with its name; nobody can open it before the source is marked. */
  private async make(
    name: string,
    from: Scope,
    sourceId: string,
    layout: LayoutOptions,
  ): Promise<string> {
    const header = await from.header(sourceId);
    const spec = await specOf(from, sourceId);
    refuseUnmovable(header, spec);
    const { sizeBytes, order, stripeUnitBytes, stripeCount, features } = header;
    const own: LayoutOptions = { objectBytes: 2 ** order, stripeUnitBytes, stripeCount };
    const kept = (
      ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"] as const
    )
      .filter((feature) => hasFeature(features, feature))
      .map(parseFeature);
    const chosen = layout.objectBytes === undefined ? { ...own, ...layout } : layout;
    const origin = { kind: "image" as const, image: from.refOf(sourceId) };
    const image = { features: kept, ...chosen, sizeBytes };
    if (header.snapshots.some(({ children }) => children > 0)) {
      refuseWithoutLayering(image.features, spec);
    }
    const entry = await this.begin(name, image, origin, sizeBytes, true);
    try {
      const steps = metadataSteps(await listMetadata(from, sourceId, ""));
      const object = headerObject(entry.id);
      if (steps.length > 0) await this.scope.io.operate(this.scope.pool.id, object, steps);
    } catch (thrown) {
      await abandon(this.scope, entry, thrown);
    }
    await this.publish(entry);
    return entry.id;
  }

  private async begin(
    name: string,
    image: NewImage,
    source: MigrationOrigin,
    overlapBytes: number,
    overcommit: boolean,
  ): Promise<PendingEntry> {
    if (image.features?.includes("exclusive-lock") === false) {
      throw new StorageError("invalid_argument", "what is migrated needs the exclusive lock", {
        remedy: "Leave it among the features; `cairn feature disable` takes it away afterwards.",
      });
    }
    checkNew(this.scope, name, image, overcommit);
    await clearStale(this.scope, ["creating"]);
    const migration = { side: "target" as const, state: "prepared" as const, source, overlapBytes };
    const { scope } = this;
    const { parent } = image;
    const made = await begin(scope, "creating", name, { ...image, migration }, async (id) => {
      if (parent !== undefined) await joinParent(scope, parent, scope.refOf(id), undefined);
    });
    return made.entry;
  }

  private async publish(entry: PendingEntry): Promise<void> {
    try {
      await this.scope.directory.publish(entry);
    } catch (thrown) {
      await abandon(this.scope, entry, thrown);
    }
  }
}

/** Its ids where it is gone. */
async function snapSpecOf(scope: Scope, { pool, namespace, imageId, snapId }: SnapRef) {
  try {
    const there = scope.elsewhere(pool, namespace);
    const { snapshots } = await there.header(imageId);
    const name = snapshots.find(({ id }) => id === snapId)?.name ?? String(snapId);
    return `${await specOf(there, imageId)}@${name}`;
  } catch (thrown) {
    if (hasCode(thrown, "not_found") || hasCode(thrown, "corrupt")) return `${imageId}@${snapId}`;
    throw thrown;
  }
}

async function exists(from: Scope, { pool, namespace, imageId }: ImageRef): Promise<boolean> {
  return (await from.elsewhere(pool, namespace).headerIfAny(imageId)) !== undefined;
}

async function sourceOf(scope: Scope, header: ImageHeader) {
  const record = targetRecord(header);
  return record === undefined ? undefined : sourceImage(scope, record);
}

/** From its name into a pending entry, or the entry that it has already. */
async function unname(scope: Scope, id: string): Promise<PendingEntry> {
  const name = await scope.directory.nameOf(id);
  if (name !== undefined) return unpublish(scope, id, name);
  const entry = (await scope.directory.pending()).find((candidate) => candidate.id === id);
  if (entry !== undefined) return entry;
  throw new StorageError("not_found", `the image with the id ${id} is being removed by others`);
}

function refuseWithoutLayering(features: readonly ImageFeature[], spec: string): void {
  if (features.includes("layering")) return;
  throw new StorageError("invalid_argument", `${spec} has clones, which need layering`, {
    remedy: "Leave the feature layering among those of the new image.",
  });
}

async function freeSource({ scope, header }: Side, targetId: string): Promise<void> {
  await changeHeader(scope, header.id, undefined, (view) =>
    goesTo(view.header)?.imageId === targetId ? recordSteps(view, undefined) : undefined,
  );
}

/** Snapshots that only clones needed, which have gone meanwhile, go as well. */
async function settle(scope: Scope, header: ImageHeader): Promise<void> {
  if (overSnapshots(header).length === 0 && header.detaching === undefined) return;
  await makeChange(scope, header.id, { kind: "settle" });
}

async function settleFreed({ scope, header }: Side): Promise<void> {
  const now = await scope.headerIfAny(header.id);
  if (now === undefined || now.migration !== undefined) return;
  // The source is free whether this succeeds or not: whoever takes its lock next does it too.
  await settle(scope, now).catch(() => undefined);
}
