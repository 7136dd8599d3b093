// Images whose whole size takes space from the beginning: real zeros, on all copies.
import { StorageError } from "../../common/errors.js";
import { formatSize } from "../../common/units.js";
import type { ImageAccess } from "./access.js";
import { type FillOptions, makeFilled, throwIfStopped } from "./filled-image.js";
import { blockBytes } from "./header.js";
import { withWorkDevice } from "./layout.js";
import type { NewImage } from "./making.js";
import type { ImageInfo, Scope } from "./scope.js";

/** @throws no_space when the pool has not so much; already_exists; canceled */
export async function createThick(
  scope: Scope,
  name: string,
  image: NewImage,
  options: FillOptions,
): Promise<ImageInfo> {
  await checkFree(scope, image);
  return makeFilled({ scope, name, image }, provision, options);
}

/** Nothing is set aside: who writes at the same time takes of the same space. */
async function checkFree(scope: Scope, { sizeBytes, dataPool }: NewImage): Promise<void> {
  const pool = dataPool === undefined ? scope.pool : scope.cluster.pool(dataPool);
  const freeBytes = await scope.cluster.storableBytes(pool);
  const neededBytes = Math.ceil(sizeBytes / blockBytes) * blockBytes;
  if (neededBytes <= freeBytes) return;
  const [needed, free] = [formatSize(neededBytes), formatSize(freeBytes)];
  throw new StorageError("no_space", `${pool.name} has ${free} left, and ${needed} are wanted`, {
    remedy:
      "Remove something, add OSDs, or leave --thick-provision out: a thin image takes space as " +
      "it is written. `cairn df` shows what is free.",
  });
}

async function provision(access: ImageAccess, stop: AbortSignal): Promise<void> {
  const { scope, id, fence, progress } = access;
  const fill = async (device: number) => {
    try {
      await scope.io.provisionImage(device, progress);
    } catch (thrown) {
      throwIfStopped(stop);
      throw thrown;
    }
  };
  await withWorkDevice(scope, await scope.header(id), fence, fill, { signal: stop });
}
