// `cairn lock ls|rm`, and what `cairn status POOL/IMAGE` shows: an image's lock and its watchers.
import type { ImageUse } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { fieldsText, printResult, table } from "./output.js";
import type { ImageAddress } from "./spec.js";

export async function listAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const { holder } = await useOf(spec, flags);
  const locks = holder === undefined ? [] : [holder];
  printResult(flags, locks, () =>
    table(
      [{ title: "LOCK ID" }, { title: "CLIENT" }, { title: "HOLDER" }, { title: "SINCE" }],
      locks.map(({ id, client, description, takenAt }) => [
        id,
        client,
        description,
        new Date(takenAt).toISOString(),
      ]),
    ),
  );
}

/** @param locker what rbd wants beside the id; of the holder, if it is given */
export async function removeAction(
  spec: ImageAddress,
  lockId: string,
  locker: string | undefined,
  flags: ClusterOptions & { expire: number },
): Promise<void> {
  const { pool, image } = spec;
  const { breakLock, imageUse } = await import("../client/index.js");
  const holder = await onCluster(flags, async (client) => {
    const images = await imagesOf(client, spec);
    const { id } = await images.info(spec.image);
    const record = (await imageUse(images.lockPorts(), { pool: images.poolId, id })).holder;
    if (locker !== undefined && record !== undefined && locker !== record.client) {
      throw new StorageError("not_found", `the lock is held by client ${record.client}`);
    }
    // First the blocklist, then the lock: whoever takes it next finds the old holder shut out.
    await breakLock(images.lockPorts(), { pool: images.poolId, id }, lockId, async (listed) => {
      const expireMs = flags.expire;
      const { epoch } = await client.command("osd blocklist add", { client: listed, expireMs });
      await client.untilEpoch(epoch);
    });
    return record;
  });
  printResult(
    flags,
    { pool, image, lockId, blocklisted: holder?.client },
    () => `broke the lock of ${nameOf(spec)}; client ${holder?.client} is on the blocklist`,
  );
}

async function useOf(spec: ImageAddress, flags: ClusterOptions): Promise<ImageUse> {
  const { imageUse } = await import("../client/index.js");
  return onCluster(flags, async (client) => {
    const images = await imagesOf(client, spec);
    const { id } = await images.info(spec.image);
    return imageUse(images.lockPorts(), { pool: images.poolId, id });
  });
}

/** `cairn status POOL/IMAGE` */
export async function imageStatusAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const use = await useOf(spec, flags);
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
