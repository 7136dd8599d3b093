// `cairn clone`, `children`, `flatten`; `cp`, `deep cp`, `mv`, `sparsify`: images made from images.
import type { ChildInfo, ClusterClient } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { formatSize } from "../common/units.js";
import { imagesOf, nameOf, withImageProgress, withImages } from "./image-access.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { printResult } from "./output.js";
import {
  type ImageAddress,
  type ImageOrSnap,
  imageKey,
  type SnapAddress,
  type SnapOrId,
  snapKey,
} from "./spec.js";

type LongFlags = ClusterOptions & ProgressOptions;

export async function cloneAction(
  from: SnapAddress,
  to: ImageAddress,
  flags: ClusterOptions & LayoutFlags,
): Promise<void> {
  const info = await withImages(flags, from, async (images, client) => {
    const { scope } = await imagesOf(client, to);
    const target = { scope, name: to.image };
    return images.clones.create(from.image, from.snap, target, layoutOf(flags));
  });
  printResult(flags, info, () => `${nameOf(to)} is a clone of ${nameOf(from)}`);
}

export async function childrenAction(
  spec: SnapOrId,
  flags: ClusterOptions & { descendants?: true },
): Promise<void> {
  const children = await withImages(flags, spec, async (images, client) => {
    const found = await images.clones.children(imageKey(spec), snapKey(spec));
    return flags.descendants ? withDescendants(client, found) : found;
  });
  printResult(flags, children, () => children.map(childText).join("\n"));
}

/** Each child before its own children. */
async function withDescendants(
  client: ClusterClient,
  children: readonly ChildInfo[],
): Promise<ChildInfo[]> {
  const all: ChildInfo[] = [];
  for (const child of children) {
    all.push(child, ...(await withDescendants(client, await childrenOf(client, child))));
  }
  return all;
}

/** One that is being made or removed, or whose pool is gone, has none that could be asked for. */
async function childrenOf(client: ClusterClient, child: ChildInfo): Promise<ChildInfo[]> {
  try {
    const { clones } = await imagesOf(client, child);
    return await clones.children({ id: child.id });
  } catch (thrown) {
    if (thrown instanceof StorageError && thrown.code === "not_found") return [];
    throw thrown;
  }
}

function childText({ pool, namespace, name, id, snapshot }: ChildInfo): string {
  const where = namespace === "" ? pool : `${pool}/${namespace}`;
  return `${where}/${name ?? `${id} (no name: in the trash, or going)`} @${snapshot}`;
}

export async function flattenAction(spec: ImageAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `flattening ${nameOf(spec)}`, spec, (images, progress) =>
    images.clones.flatten(spec.image, progress),
  );
  printResult(flags, { ...spec, flattened: true }, () => `${nameOf(spec)} stands for itself now`);
}

export async function copyAction(
  from: ImageOrSnap,
  to: ImageAddress,
  flags: LongFlags & LayoutFlags,
): Promise<void> {
  const doing = `copying ${nameOf(from)}`;
  const info = await withImageProgress(flags, doing, from, async (images, progress, client) => {
    const target = { scope: (await imagesOf(client, to)).scope, name: to.image };
    return images.copies.copy(from.image, from.snap, target, { ...layoutOf(flags), progress });
  });
  printResult(flags, info, () => `copied ${nameOf(from)} to ${nameOf(to)}`);
}

export async function deepCopyAction(
  from: ImageOrSnap,
  to: ImageAddress,
  flags: LongFlags & LayoutFlags & { flatten?: boolean },
): Promise<void> {
  if (from.snap !== undefined) {
    throw new StorageError("invalid_argument", "a deep copy is of an image with its snapshots", {
      remedy: `Of one snapshot alone: cairn cp ${nameOf(from)} ${nameOf(to)}`,
    });
  }
  const doing = `copying ${nameOf(from)}`;
  const info = await withImageProgress(flags, doing, from, async (images, progress, client) => {
    const target = { scope: (await imagesOf(client, to)).scope, name: to.image };
    const { flatten = false } = flags;
    return images.copies.deepCopy(from.image, target, { ...layoutOf(flags), flatten, progress });
  });
  printResult(
    flags,
    info,
    () => `copied ${nameOf(from)} with ${info.snapshotCount} snapshots to ${nameOf(to)}`,
  );
}

export async function renameAction(
  from: ImageAddress,
  to: ImageAddress,
  flags: ClusterOptions,
): Promise<void> {
  if (from.pool !== to.pool || from.namespace !== to.namespace) {
    throw new StorageError("invalid_argument", "an image stays in its pool and namespace", {
      remedy: `Copy it: cairn deep cp ${nameOf(from)} ${nameOf(to)}`,
    });
  }
  const info = await withImages(flags, from, (images) => images.rename(from.image, to.image));
  printResult(flags, info, () => `${nameOf(from)} is ${nameOf(to)} now`);
}

export async function sparsifyAction(
  spec: ImageAddress,
  flags: LongFlags & { sparseSize: number },
): Promise<void> {
  const doing = `looking for zeros in ${nameOf(spec)}`;
  const result = await withImageProgress(flags, doing, spec, (images, progress) =>
    images.copies.sparsify(spec.image, { sparseBytes: flags.sparseSize, progress }),
  );
  printResult(
    flags,
    { ...spec, ...result },
    () => `${formatSize(result.freedBytes)} of zeros given back`,
  );
}
