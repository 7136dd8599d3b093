// `cairn snap ...`: the snapshots of images.
import type { SnapshotInfo } from "../client/index.js";
import { defined } from "../common/assert.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import { nameOf, withImageProgress, withImages } from "./image-access.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { type Output, printResult, table, timeText } from "./output.js";
import {
  type ImageAddress,
  type ImageOrId,
  imageKey,
  type SnapAddress,
  type SnapOrId,
  snapKey,
} from "./spec.js";

type LongFlags = ClusterOptions & ProgressOptions;

export async function createAction(spec: SnapAddress, flags: LongFlags): Promise<void> {
  const info = await withImages(flags, spec, (images) =>
    images.snapshots.create(spec.image, spec.snap),
  );
  printResult(flags, info, () => `created snapshot ${nameOf(spec)}`);
}

export async function listAction(
  spec: ImageOrId,
  flags: ClusterOptions & { all?: true },
): Promise<void> {
  const all = flags.all === true;
  const list = await withImages(flags, spec, (images) =>
    images.snapshots.list(imageKey(spec), { all }),
  );
  printResult(flags, list, () => listText(list, all));
}

function listText(list: readonly SnapshotInfo[], all: boolean): Output {
  const right = "right" as const;
  return table(
    [
      { title: "SNAPID", align: right },
      { title: "NAME" },
      { title: "SIZE", align: right },
      { title: "PROTECTED" },
      { title: "TIMESTAMP" },
      { title: "CLONES", align: right },
      ...(all ? [{ title: "NAMESPACE" }] : []),
    ],
    list.map((snapshot) => [
      snapshot.id,
      snapshot.name,
      formatSize(snapshot.sizeBytes),
      snapshot.protected ? "yes" : "",
      timeText(snapshot.createdAt),
      snapshot.children,
      ...(all ? [snapshot.kind] : []),
    ]),
  );
}

export async function removeAction(
  spec: SnapOrId,
  flags: LongFlags & { force?: true },
): Promise<void> {
  const key = defined(snapKey(spec), "the snapshot to be removed");
  await withImages(flags, spec, (images) =>
    images.snapshots.remove(imageKey(spec), key, { force: flags.force === true }),
  );
  printResult(flags, { ...spec, removed: true }, () => `removed snapshot ${nameOf(spec)}`);
}

export async function renameAction(
  from: SnapAddress,
  to: SnapAddress,
  flags: ClusterOptions,
): Promise<void> {
  const { snap: _, ...image } = from;
  const { snap, ...other } = to;
  if (nameOf(image) !== nameOf(other)) {
    throw new StorageError("invalid_argument", "a snapshot stays with its image", {
      remedy: `Write the new name as ${nameOf(image)}@${snap}.`,
    });
  }
  await withImages(flags, from, (images) => images.snapshots.rename(from.image, from.snap, snap));
  printResult(flags, { ...from, renamedTo: snap }, () => `${nameOf(from)} is ${nameOf(to)} now`);
}

export async function rollbackAction(spec: SnapAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `rolling ${spec.image} back`, spec, (images, progress) =>
    images.snapshots.rollback(spec.image, spec.snap, progress),
  );
  printResult(flags, { ...spec, rolledBack: true }, () => `rolled back to ${nameOf(spec)}`);
}

/** `cairn snap protect` or `unprotect`. */
export const protectAction =
  (isProtected: boolean) =>
  async (spec: SnapAddress & ImageOrId, flags: ClusterOptions): Promise<void> => {
    await withImages(flags, spec, (images) =>
      images.snapshots.protect(imageKey(spec), spec.snap, isProtected),
    );
    const how = isProtected ? "protected" : "not protected any more";
    printResult(flags, { ...spec, protected: isProtected }, () => `${nameOf(spec)} is ${how}`);
  };

export async function purgeAction(spec: ImageOrId, flags: LongFlags): Promise<void> {
  const doing = `removing snapshots of ${spec.image}`;
  const { removed, kept } = await withImageProgress(
    flags,
    doing,
    spec,
    async (images, progress) => {
      const gone = await images.snapshots.purge(imageKey(spec), progress);
      const left = await images.snapshots.list(imageKey(spec));
      return { removed: gone, kept: left.map(({ name }) => name) };
    },
  );
  printResult(flags, { ...spec, removed, kept }, () =>
    [
      `removed ${removed.length} snapshots of ${nameOf(spec)}`,
      ...(kept.length === 0 ? [] : [`kept: ${kept.join(", ")} (protected)`]),
    ].join("\n"),
  );
}

export async function limitAction(
  spec: ImageAddress,
  flags: ClusterOptions & { limit?: number },
): Promise<void> {
  const { limit } = flags;
  await withImages(flags, spec, (images) => images.snapshots.setLimit(spec.image, limit));
  printResult(flags, { ...spec, limit: limit ?? null }, () =>
    limit === undefined
      ? `${nameOf(spec)} has no limit of snapshots any more`
      : `${nameOf(spec)} can have ${limit} snapshots`,
  );
}
