// `cairn namespace ...`, `pool init`, `pool stats`: pools as places for images.
import { formatSize } from "../common/units.js";
import { withMonitor } from "./connect.js";
import { readableImages, withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { fieldsText, printResult, table } from "./output.js";
import type { PoolAddress } from "./table/slots.js";

const inPool = ({ pool }: PoolAddress) => ({ pool, namespace: "" });

export async function createAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const { Namespaces } = await import("../client/index.js");
  await withImages(flags, inPool(place), ({ scope }) =>
    new Namespaces(scope).create(place.namespace),
  );
  printResult(flags, place, () => `created the namespace ${place.pool}/${place.namespace}`);
}

export async function listAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const { Namespaces } = await import("../client/index.js");
  const list = await withImages(flags, inPool(place), ({ scope }) => new Namespaces(scope).list());
  printResult(flags, list, () =>
    table(
      [{ title: "NAME" }, { title: "STATE" }],
      list.map(({ name, state }) => [name, state]),
    ),
  );
}

export async function removeAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const { Namespaces } = await import("../client/index.js");
  await withImages(flags, inPool(place), ({ scope }) =>
    new Namespaces(scope).remove(place.namespace),
  );
  const value = { ...place, removed: true };
  printResult(flags, value, () => `removed the namespace ${place.pool}/${place.namespace}`);
}

export async function initAction({ pool }: PoolAddress, flags: ClusterOptions): Promise<void> {
  const result = await withMonitor(flags, (monitor) =>
    monitor.command("pool set", { name: pool, setting: "application", value: "rbd" }),
  );
  printResult(flags, result.pool, () => `the pool ${pool} is for images`);
}

export async function statsAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const stats = await withImages(flags, place, async (images) => {
    const [list, trash] = await Promise.all([readableImages(images), images.trash.list()]);
    const provisionedBytes = list.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const snapshots = list.reduce((sum, { snapshotCount }) => sum + snapshotCount, 0);
    return { images: list.length, snapshots, provisionedBytes, trashImages: trash.length };
  });
  printResult(flags, stats, () =>
    fieldsText([
      ["images", String(stats.images)],
      ["snapshots", String(stats.snapshots)],
      ["provisioned", formatSize(stats.provisionedBytes)],
      ["images in the trash", String(stats.trashImages)],
    ]),
  );
}
