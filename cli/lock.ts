// `cairn lock ls|rm`, and what `cairn status POOL/IMAGE` shows: an image's lock and its watchers.
import type { Command } from "commander";
import type { ImageSpec } from "../client/image/image-spec.js";
import type { ImageUse } from "../client/index.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, specValue } from "./image-access.js";
import { type ClusterOptions, durationValue, withCluster, withExamples } from "./options.js";
import { fieldsText, printResult, tableText } from "./output.js";

const defaultExpireMs = 3_600_000;

export function registerLock(program: Command): void {
  const lock = program.command("lock").description("The exclusive locks of images.");

  const list = lock
    .command("ls")
    .description("Show who holds the lock of an image.")
    .argument("<pool/image>", "the image", specValue);
  withCluster(list).action(listAction);
  withExamples(list, "cairn lock ls rbd/disk1");

  const remove = lock
    .command("rm")
    .description(
      "Break a lock: its holder is put on the blocklist, so that nothing that it still sends is\n" +
        "carried out. For holders that are gone this is not needed: they time out.",
    )
    .argument("<pool/image>", "the image", specValue)
    .argument("<lock-id>", "as `cairn lock ls` shows it")
    .option(
      "--expire <duration>",
      "how long the holder stays listed",
      durationValue,
      defaultExpireMs,
    );
  withCluster(remove).action(removeAction);
  withExamples(remove, "cairn lock rm rbd/disk1 17234567890.3");
}

async function listAction({ pool, image }: ImageSpec, flags: ClusterOptions): Promise<void> {
  const { holder } = await useOf({ pool, image }, flags);
  const locks = holder === undefined ? [] : [holder];
  printResult(flags.format, locks, () =>
    locks.length === 0
      ? ""
      : tableText(
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

async function removeAction(
  { pool, image }: ImageSpec,
  lockId: string,
  flags: ClusterOptions & { expire: number },
): Promise<void> {
  const { breakLock, imageUse } = await import("../client/index.js");
  const holder = await onCluster(flags, async (client) => {
    const images = await imagesOf(client, pool);
    const { id } = await images.info(image);
    const record = (await imageUse(images.lockPorts(), { pool: images.poolId, id })).holder;
    // First the blocklist, then the lock: whoever takes it next finds the old holder shut out.
    await breakLock(images.lockPorts(), { pool: images.poolId, id }, lockId, async (listed) => {
      const expireMs = flags.expire;
      const { epoch } = await client.command("osd blocklist add", { client: listed, expireMs });
      await client.untilEpoch(epoch);
    });
    return record;
  });
  printResult(
    flags.format,
    { pool, image, lockId, blocklisted: holder?.client },
    () => `broke the lock of ${pool}/${image}; client ${holder?.client} is on the blocklist`,
  );
}

export async function useOf({ pool, image }: ImageSpec, flags: ClusterOptions): Promise<ImageUse> {
  const { imageUse } = await import("../client/index.js");
  return onCluster(flags, async (client) => {
    const images = await imagesOf(client, pool);
    const { id } = await images.info(image);
    return imageUse(images.lockPorts(), { pool: images.poolId, id });
  });
}

/** `cairn status POOL/IMAGE` */
export async function imageStatusAction(spec: ImageSpec, flags: ClusterOptions): Promise<void> {
  const use = await useOf(spec, flags);
  const { holder, watchers } = use;
  const watching = watchers.map(({ client, description }) => `${description} (client ${client})`);
  printResult(flags.format, use, () =>
    fieldsText([
      ["image", `${spec.pool}/${spec.image}`],
      ["lock", holder === undefined ? "free" : `${holder.description} (lock ${holder.id})`],
      ["watchers", watching.length === 0 ? "none" : watching.join(", ")],
    ]),
  );
}
