// `cairn diff` and `cairn du`: what an image has that a snapshot of it has not, and how much.

import { once } from "node:events";
import { defaultPool } from "../client/image/spec.js";
import type { DiffExtent, ImageInfo, SnapshotInfo } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import {
  type ImageLayer,
  nameOf,
  readableImages,
  withImageProgress,
  withImages,
} from "./image-access.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { type Output, printResult, table } from "./output.js";
import type { ImageOrSnap } from "./spec.js";
import type { PoolAddress } from "./table/slots.js";

interface DiffFlags extends ClusterOptions {
  fromSnap?: string;
  wholeObject?: true;
}

interface UsageFlags extends ClusterOptions, ProgressOptions {
  fromSnap?: string;
  mergeSnapshots?: true;
}

/** A part as rbd's JSON has it. */
export interface DiffRow {
  offset: number;
  length: number;
  exists: boolean;
}

export async function diffAction(spec: ImageOrSnap, flags: DiffFlags): Promise<void> {
  const { diffExtents, openReader } = await import("../client/index.js");
  await withImages(flags, spec, async (images, client) => {
    const fromId = await snapIdOf(images, spec.image, flags.fromSnap);
    const { handle, close } = await openReader(images, spec.image, { snap: spec.snap });
    const options = { wholeObject: flags.wholeObject === true };
    try {
      const extents = diffExtents(client.io, handle, fromId, options);
      await printRows(joined(extents, fromId !== 0), flags);
    } finally {
      await close();
    }
  });
}

/** Joins what touches; without a snapshot to compare with, zeros are no difference. */
export async function* joined(
  extents: AsyncIterable<DiffExtent> | Iterable<DiffExtent>,
  withZeros: boolean,
): AsyncGenerator<DiffRow> {
  let last: DiffRow | undefined;
  for await (const { offset, length, state } of extents) {
    const exists = state === "data";
    if (!exists && !withZeros) continue;
    if (last !== undefined && last.exists === exists && last.offset + last.length === offset) {
      last.length += length;
      continue;
    }
    if (last !== undefined) yield last;
    last = { offset, length, exists };
  }
  if (last !== undefined) yield last;
}

/** An image can have millions of parts: they are printed as they come, where that can be. */
async function printRows(rows: AsyncIterable<DiffRow>, flags: DiffFlags): Promise<void> {
  const { format, prettyFormat } = flags;
  const asJson = format === "json";
  if (format === "table" || (asJson && (prettyFormat === true || process.stdout.isTTY))) {
    return printTogether(rows, flags);
  }
  let before = asJson ? "[" : "          OFFSET        LENGTH  TYPE\n";
  let isEmpty = true;
  for await (const { offset, length, exists } of rows) {
    const [at, long] = [String(offset).padStart(16), String(length).padStart(12)];
    const line = `${at}  ${long}  ${exists ? "data" : "zero"}\n`;
    await written(before + (asJson ? JSON.stringify({ offset, length, exists }) : line));
    before = asJson ? "," : "";
    isEmpty = false;
  }
  if (asJson) await written(isEmpty ? "[]\n" : "]\n");
}

async function written(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

async function printTogether(rows: AsyncIterable<DiffRow>, flags: DiffFlags): Promise<void> {
  const found: DiffRow[] = [];
  for await (const row of rows) found.push(row);
  const right = "right" as const;
  printResult(flags, found, () =>
    table(
      [{ title: "OFFSET", align: right }, { title: "LENGTH", align: right }, { title: "TYPE" }],
      found.map(({ offset, length, exists }) => [offset, length, exists ? "data" : "zero"]),
    ),
  );
}

const openOptions = (snap: string | undefined) => ({
  readOnly: true,
  ...(snap === undefined ? {} : { snap }),
});

async function snapIdOf(
  images: ImageLayer,
  image: string,
  snap: string | undefined,
): Promise<number> {
  return snap === undefined ? 0 : (await images.snapshots.find(image, snap)).id;
}

/** What an image or a snapshot has that the one before it has not. */
export interface UsageRow {
  name: string;
  snapshot?: string;
  provisionedBytes: number;
  usedBytes: number;
}

export async function usageAction(
  spec: ImageOrSnap | undefined,
  flags: UsageFlags & Partial<PoolAddress>,
): Promise<void> {
  if (spec === undefined && flags.fromSnap !== undefined) {
    throw new StorageError("invalid_argument", "--from-snap goes with an image");
  }
  const { pool = defaultPool, namespace = "" } = spec ?? flags;
  const doing = `measuring ${spec === undefined ? pool : nameOf(spec)}`;
  const rows = await withImageProgress(
    flags,
    doing,
    { pool, namespace },
    async (images, progress) => {
      const infos = spec === undefined ? await measurable(images) : [await images.info(spec.image)];
      const found: UsageRow[] = [];
      for (const [at, info] of infos.entries()) {
        progress(at, infos.length);
        found.push(...(await usageOf(images, info, spec?.snap, flags)));
      }
      return found;
    },
  );
  const total = totalOf(rows);
  printResult(flags, { images: rows, ...total }, () => usageTable(rows, total));
}

/** All images of a pool but those that go elsewhere: what they have counts for their target. */
async function measurable(images: ImageLayer): Promise<ImageInfo[]> {
  const found: ImageInfo[] = [];
  for (const info of await readableImages(images)) {
    if ((await images.migrations.info(info.name))?.side !== "source") found.push(info);
  }
  return found;
}

async function usageOf(
  images: ImageLayer,
  info: ImageInfo,
  snap: string | undefined,
  { fromSnap, mergeSnapshots }: UsageFlags,
): Promise<UsageRow[]> {
  const { name } = info;
  const snapshots = await images.snapshots.list(name);
  const from = fromSnap === undefined ? undefined : await images.snapshots.find(name, fromSnap);
  const measured = snapshots.filter(({ id }) => id > (from?.id ?? 0));
  const rows: UsageRow[] = [];
  let beforeId = from?.id ?? 0;
  for (const snapshot of snap === undefined ? measured : upTo(measured, name, snap)) {
    const usedBytes = await measure(images, name, snapshot.name, beforeId);
    const { sizeBytes } = snapshot;
    rows.push({ name, snapshot: snapshot.name, provisionedBytes: sizeBytes, usedBytes });
    beforeId = snapshot.id;
  }
  if (snap !== undefined) return rows.slice(-1);
  const usedBytes = await measure(images, name, undefined, beforeId);
  rows.push({ name, provisionedBytes: info.sizeBytes, usedBytes });
  if (mergeSnapshots !== true) return rows;
  const all = rows.reduce((sum, row) => sum + row.usedBytes, 0);
  return [{ name, provisionedBytes: info.sizeBytes, usedBytes: all }];
}

/** The snapshots up to one of them. */
function upTo(snapshots: readonly SnapshotInfo[], image: string, snap: string): SnapshotInfo[] {
  const index = snapshots.findIndex(({ name }) => name === snap);
  if (index >= 0) return snapshots.slice(0, index + 1);
  throw new StorageError("not_found", `there is no snapshot ${image}@${snap} there`, {
    remedy: "`cairn snap ls` lists the snapshots, oldest first.",
  });
}

async function measure(
  images: ImageLayer,
  image: string,
  snap: string | undefined,
  fromId: number,
): Promise<number> {
  const { handle } = await images.open(image, openOptions(snap));
  try {
    return (await images.scope.io.measureImage(handle, fromId)).usedBytes;
  } finally {
    images.close(handle);
  }
}

/** An image counts once in what is provisioned, its snapshots all in what is used. */
export function totalOf(rows: readonly UsageRow[]): {
  totalProvisionedBytes: number;
  totalUsedBytes: number;
} {
  const heads = rows.filter(({ snapshot }) => snapshot === undefined);
  const provisioned = heads.length === 0 ? rows : heads;
  return {
    totalProvisionedBytes: provisioned.reduce((sum, row) => sum + row.provisionedBytes, 0),
    totalUsedBytes: rows.reduce((sum, row) => sum + row.usedBytes, 0),
  };
}

function usageTable(rows: readonly UsageRow[], total: ReturnType<typeof totalOf>): Output {
  const lines = rows.map(({ name, snapshot, provisionedBytes, usedBytes }) => [
    snapshot === undefined ? name : `${name}@${snapshot}`,
    formatSize(provisionedBytes),
    formatSize(usedBytes),
  ]);
  const last = [
    "<TOTAL>",
    formatSize(total.totalProvisionedBytes),
    formatSize(total.totalUsedBytes),
  ];
  return table(
    [
      { title: "NAME" },
      { title: "PROVISIONED", align: "right" },
      { title: "USED", align: "right" },
    ],
    rows.length > 1 ? [...lines, last] : lines,
  );
}
