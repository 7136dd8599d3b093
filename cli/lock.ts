// `cairn lock add|ls|rm`, and what `cairn status POOL/IMAGE` shows: an image's locks and watchers.
import type { ClusterClient, ImageUse } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { withCluster as onCluster } from "./connect.js";
import { type ImageLayer, imagesOf, nameOf, withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { fieldsText, printResult, table } from "./output.js";
import type { ImageAddress } from "./spec.js";

/** A lock as `lock ls` shows it. */
interface LockRow {
  kind: "automatic" | "exclusive" | "shared";
  id: string;
  client: string;
  description: string;
  /** milliseconds since 1970 */
  takenAt: number;
  /** of shared ones */
  tag?: string;
}

export async function listAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const { holder, advisory } = await onCluster(flags, async (client) => {
    const images = await imagesOf(client, spec);
    const use = await useIn(images, spec);
    return { ...use, advisory: await images.locks.list(spec.image) };
  });
  const { tag, locks = [] } = advisory ?? {};
  const kind = tag === undefined ? ("exclusive" as const) : ("shared" as const);
  const rows: LockRow[] = [
    ...(holder === undefined ? [] : [{ kind: "automatic" as const, ...holder }]),
    ...locks.map((lock) => ({ kind, ...lock, ...(tag === undefined ? {} : { tag }) })),
  ];
  printResult(flags, rows, () =>
    table(
      ["LOCKER", "ID", "KIND", "HOLDER", "SINCE"].map((title) => ({ title })),
      rows.map((row) => [
        `client.${row.client}`,
        row.id,
        row.tag === undefined ? row.kind : `shared, tag ${row.tag}`,
        row.description,
        new Date(row.takenAt).toISOString(),
      ]),
    ),
  );
}

export async function addAction(
  spec: ImageAddress,
  lockId: string,
  flags: ClusterOptions & { shared?: string },
): Promise<void> {
  const lock = await withImages(flags, spec, (images) =>
    images.locks.add(spec.image, lockId, flags.shared),
  );
  const { shared: tag } = flags;
  const kind = tag === undefined ? "exclusive" : "shared";
  printResult(
    flags,
    { kind, ...lock, ...(tag === undefined ? {} : { tag }) },
    () => `${nameOf(spec)} is locked as ${lockId} by client.${lock.client}`,
  );
}

/** @param locker what rbd wants beside the id; as "client.ID" or without that word */
export async function removeAction(
  spec: ImageAddress,
  lockId: string,
  locker: string | undefined,
  flags: ClusterOptions & { expire: number },
): Promise<void> {
  const client = locker?.replace(/^client\./, "");
  await onCluster(flags, async (cluster) => {
    const images = await imagesOf(cluster, spec);
    const { holder } = await useIn(images, spec);
    if (holder?.id === lockId) await breakHolder(cluster, images, spec, holder, client, flags);
    else await removeAdvisory(images, spec, lockId, client, flags);
  });
}

async function removeAdvisory(
  images: ImageLayer,
  spec: ImageAddress,
  lockId: string,
  locker: string | undefined,
  flags: ClusterOptions,
): Promise<void> {
  const { client } = await images.locks.remove(spec.image, lockId, locker);
  const { pool, image } = spec;
  printResult(
    flags,
    { pool, image, lockId, client },
    () => `took the lock ${lockId} of client.${client} from ${nameOf(spec)}`,
  );
}

async function breakHolder(
  cluster: ClusterClient,
  images: ImageLayer,
  spec: ImageAddress,
  { id: lockId, client: holder }: NonNullable<ImageUse["holder"]>,
  locker: string | undefined,
  flags: ClusterOptions & { expire: number },
): Promise<void> {
  const { pool, image } = spec;
  const { breakLock } = await import("../client/index.js");
  if (locker !== undefined && locker !== holder) {
    throw new StorageError("not_found", `the lock is held by client.${holder}`, {
      remedy: "`cairn lock ls POOL/IMAGE` lists the locks.",
    });
  }
  const { id } = await images.info(spec.image);
  // First the blocklist, then the lock: whoever takes it next finds the old holder shut out.
  await breakLock(images.lockPorts(), { pool: images.poolId, id }, lockId, async (listed) => {
    const expireMs = flags.expire;
    const { epoch } = await cluster.command("osd blocklist add", { client: listed, expireMs });
    await cluster.untilEpoch(epoch);
  });
  printResult(
    flags,
    { pool, image, lockId, blocklisted: holder },
    () => `broke the lock of ${nameOf(spec)}; client ${holder} is on the blocklist`,
  );
}

async function useIn(images: ImageLayer, { image }: ImageAddress): Promise<ImageUse> {
  const { imageUse } = await import("../client/index.js");
  const { id } = await images.info(image);
  return imageUse(images.lockPorts(), { pool: images.poolId, id });
}

/** `cairn status POOL/IMAGE` */
export async function imageStatusAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const use = await withImages(flags, spec, (images) => useIn(images, spec));
  const { holder, watchers } = use;
  const watching = watchers.map(({ client, description }) => `${description} (client ${client})`);
  printResult(flags, use, () =>
    fieldsText([
      ["image", nameOf(spec)],
      ["lock", holder === undefined ? "free" : `${holder.description} (lock ${holder.id})`],
      ["watchers", watching.length === 0 ? "none" : watching.join(", ")],
    ]),
  );
}
