// `cairn create`, `ls`, `info`, `rm`, `resize`, `import`, `export`: images as `rbd` has them.
import path from "node:path";
import type {
  CreateOptions,
  ImageInfo,
  MigrationInfo,
  ParentInfo,
  SnapshotInfo,
  TrashInfo,
} from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import { withCluster as onCluster } from "./connect.js";
import { type ImageLayer, imagesOf, nameOf, readableImages, withImages } from "./image-access.js";
import type { ImportFlags } from "./image-import.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { fieldsText, printResult, table, timeText } from "./output.js";
import { startProgress } from "./progress.js";
import { withAbortSignal } from "./signals.js";
import {
  checkedName,
  type ImageAddress,
  type ImageOrId,
  type ImageOrSnap,
  imageKey,
} from "./spec.js";
import type { ImportPlace, PoolAddress } from "./table/slots.js";

interface SizeFlags extends ClusterOptions {
  size: number;
  thinOvercommit?: true;
}

interface CreateFlags extends SizeFlags, ProgressOptions {
  thickProvision?: true;
}

interface ResizeFlags extends SizeFlags, ProgressOptions {
  allowShrink?: true;
}

type LongFlags = ClusterOptions & ProgressOptions;

interface FormatFlags {
  exportFormat: "1" | "2";
}

interface InfoValue {
  info: ImageInfo;
  parent: ParentInfo | undefined;
  migration: MigrationInfo | undefined;
  inTrash: TrashInfo | undefined;
  snapshot: SnapshotInfo | undefined;
}

function infoText({ info, parent, migration, inTrash, snapshot }: InfoValue): string {
  const striped = info.stripeCount > 1 || info.stripeUnitBytes !== info.objectBytes;
  const stripes = `${formatSize(info.stripeUnitBytes)} over ${info.stripeCount}`;
  const when = timeText((snapshot ?? info).createdAt);
  const fields: (readonly [string, string] | undefined)[] = [
    ["image", nameOf({ ...info, image: info.name })],
    ["id", info.id],
    ["size", `${formatSize(info.sizeBytes)} (${info.sizeBytes} bytes)`],
    ["objects", `${info.objectCount} of ${formatSize(info.objectBytes)}`],
    striped ? ["stripes", stripes] : undefined,
    ["object prefix", info.objectPrefix],
    info.dataPool === undefined ? undefined : ["data pool", info.dataPool],
    ["features", info.features.join(", ")],
    ["snapshots", limited(info.snapshotCount, info.snapshotLimit)],
    parent && ["parent", parentText(parent)],
    migration && ["migration", migrationText(migration)],
    inTrash && ["in the trash", trashText(inTrash)],
    snapshot && ["protected", snapshot.protected ? "yes" : "no"],
    ["created", `${when} UTC`],
  ];
  return fieldsText(fields.filter((field) => field !== undefined));
}

const limited = (count: number, limit: number | undefined): string =>
  limit === undefined ? String(count) : `${count} of at most ${limit}`;

function parentText({ pool, namespace, name, id, snapshot, overlapBytes }: ParentInfo): string {
  const spec = nameOf({ pool, namespace, image: name ?? id, snap: snapshot });
  return `${spec}, up to ${formatSize(overlapBytes)}`;
}

const migrationText = ({ side, state, other }: MigrationInfo): string =>
  side === "source" ? `goes to ${other}, which is used instead` : `${state}, from ${other}`;

function trashText({ deletedAt, deferUntil }: TrashInfo): string {
  const since = `since ${timeText(deletedAt)} UTC`;
  return deferUntil > deletedAt ? `${since}, kept until ${timeText(deferUntil)} UTC` : since;
}

export async function createAction(
  spec: ImageAddress,
  flags: CreateFlags & LayoutFlags,
): Promise<void> {
  const options = { overcommit: flags.thinOvercommit === true, ...layoutOf(flags) };
  const create = (more: Pick<CreateOptions, "thickProvision" | "progress" | "signal">) =>
    onCluster(flags, async (client) =>
      (await imagesOf(client, spec)).create(spec.image, flags.size, { ...options, ...more }),
    );
  const info =
    flags.thickProvision === true ? await thickly(spec, flags, create) : await create({});
  printResult(flags, info, () => `created ${nameOf(spec)}: ${formatSize(info.sizeBytes)}`);
}

/** With progress, and so that a signal leaves nothing. */
async function thickly<T>(
  spec: ImageAddress,
  flags: CreateFlags,
  create: (options: CreateOptions) => Promise<T>,
): Promise<T> {
  const progress = startProgress(`provisioning ${nameOf(spec)}`, flags.progress);
  try {
    return await withAbortSignal((signal) =>
      create({ thickProvision: true, progress: progress.update, signal }),
    );
  } finally {
    progress.end();
  }
}

export async function listAction(
  place: PoolAddress,
  flags: ClusterOptions & { long?: true },
): Promise<void> {
  if (flags.long === true) return listLong(place, flags);
  const infos = await withImages(flags, place, readableImages);
  printResult(flags, infos, () => {
    // In a pipe as rbd prints it: what scripts go through, a name on each line.
    if (flags.format === "plain" && !process.stdout.isTTY) {
      return infos.map(({ name }) => name).join("\n");
    }
    return table(
      [{ title: "NAME" }, { title: "SIZE", align: "right" }, { title: "CREATED" }],
      infos.map((info) => [info.name, formatSize(info.sizeBytes), timeText(info.createdAt)]),
    );
  });
}

interface LongRow {
  image: string;
  snapshot?: string;
  id: string | number;
  sizeBytes: number;
  parent?: string;
  protected?: boolean;
  lock?: string;
}

/** With a row for each snapshot, and who holds the lock. */
async function listLong(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const rows = await withImages(flags, place, async (images) => {
    const found: LongRow[] = [];
    for (const info of await readableImages(images)) found.push(...(await longRows(images, info)));
    return found;
  });
  printResult(flags, rows, () =>
    table(
      [
        { title: "NAME" },
        { title: "ID" },
        { title: "SIZE", align: "right" },
        { title: "PARENT" },
        { title: "PROT" },
        { title: "LOCK" },
      ],
      rows.map((row) => [
        row.snapshot === undefined ? row.image : `${row.image}@${row.snapshot}`,
        row.id,
        formatSize(row.sizeBytes),
        row.parent ?? "",
        row.protected === true ? "yes" : "",
        row.lock ?? "",
      ]),
    ),
  );
}

async function longRows(images: ImageLayer, info: ImageInfo): Promise<LongRow[]> {
  const { name: image, id, sizeBytes } = info;
  const { imageUse } = await import("../client/index.js");
  const parent = info.parent === undefined ? undefined : await images.clones.parent(image);
  const { holder } = await imageUse(images.lockPorts(), { pool: images.poolId, id });
  const snapshots = await images.snapshots.list(image);
  const spec =
    parent && nameOf({ ...parent, image: parent.name ?? parent.id, snap: parent.snapshot });
  return [
    {
      ...{ image, id, sizeBytes },
      ...(spec !== undefined && { parent: spec }),
      ...(holder && { lock: holder.description }),
    },
    ...snapshots.map((snapshot) => ({
      image,
      snapshot: snapshot.name,
      id: snapshot.id,
      sizeBytes: snapshot.sizeBytes,
      protected: snapshot.protected,
    })),
  ];
}

export async function infoAction(
  spec: ImageOrSnap & ImageOrId,
  flags: ClusterOptions,
): Promise<void> {
  const { snap, imageId } = spec;
  const image = imageKey(spec);
  const found = await withImages(flags, spec, async (images) => {
    const [info, parent, migration, trash, snapshot] = await Promise.all([
      images.info(image),
      images.clones.parent(image),
      images.migrations.info(image),
      imageId === undefined ? [] : images.trash.list(),
      snap === undefined ? undefined : images.snapshots.info(image, snap),
    ]);
    const shown = snapshot === undefined ? info : { ...info, sizeBytes: snapshot.sizeBytes };
    const inTrash = trash.find(({ id }) => id === imageId);
    return { info: shown, parent, migration, inTrash, snapshot };
  });
  const { info, parent, migration, inTrash, snapshot } = found;
  const value = {
    ...info,
    ...(parent && { parent }),
    ...(migration && { migration }),
    ...(inTrash && { inTrash }),
    ...(snapshot && { snapshot }),
  };
  printResult(flags, value, () => infoText(found));
}

export async function removeAction(spec: ImageAddress, flags: LongFlags): Promise<void> {
  const progress = startProgress(`removing ${nameOf(spec)}`, flags.progress);
  try {
    await onCluster(flags, async (client) =>
      (await imagesOf(client, spec)).remove(spec.image, progress.update),
    );
  } finally {
    progress.end();
  }
  const { pool, image } = spec;
  printResult(flags, { pool, name: image, removed: true }, () => `removed ${nameOf(spec)}`);
}

export async function resizeAction(spec: ImageAddress, flags: ResizeFlags): Promise<void> {
  const progress = startProgress(`shrinking ${nameOf(spec)}`, flags.progress, "steps");
  try {
    const info = await onCluster(flags, async (client) =>
      (await imagesOf(client, spec)).resize(spec.image, flags.size, {
        allowShrink: flags.allowShrink === true,
        overcommit: flags.thinOvercommit === true,
        progress: progress.update,
      }),
    );
    printResult(flags, info, () => `${nameOf(spec)} has ${formatSize(info.sizeBytes)} now`);
  } finally {
    progress.end();
  }
}

/** @throws invalid_argument when a pipe has no name to give */
function importTarget(file: string, { image, ...place }: ImportPlace): ImageAddress {
  if (image !== undefined) return { ...place, image };
  if (file !== "-") return { ...place, image: checkedName(path.basename(file)) };
  throw new StorageError("invalid_argument", "what comes from standard input has no name", {
    remedy: "Name the image: cairn import - POOL/IMAGE",
  });
}

export async function importAction(
  file: string,
  place: ImportPlace,
  flags: ImportFlags & FormatFlags,
): Promise<void> {
  const spec = importTarget(file, place);
  const info = await withAbortSignal(async (signal) => {
    if (flags.exportFormat === "2") {
      const { importSnapshotsFile } = await import("./diff-files.js");
      return importSnapshotsFile(file, spec, flags, signal);
    }
    const { importFile } = await import("./image-import.js");
    return importFile(file, spec, flags, signal);
  });
  printResult(flags, info, () => `imported ${nameOf(spec)}: ${formatSize(info.sizeBytes)}`);
}

export async function exportAction(
  spec: ImageOrSnap,
  given: string | undefined,
  flags: LongFlags & FormatFlags,
): Promise<void> {
  const file = given ?? spec.image;
  const result = await withAbortSignal(async (signal) => {
    if (flags.exportFormat === "2") {
      const { exportSnapshotsFile } = await import("./diff-files.js");
      return exportSnapshotsFile(spec, file, flags, signal);
    }
    const { exportFile } = await import("./image-export.js");
    return exportFile(spec, file, flags, signal);
  });
  // Standard output carries the image then.
  if (file === "-") return;
  printResult(
    flags,
    result,
    () => `exported ${nameOf(spec)} to ${file}: ${formatSize(result.sizeBytes)}`,
  );
}
