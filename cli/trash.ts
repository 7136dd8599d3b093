// `cairn trash ...`: images that have lost their names but not their data.
import { systemClock } from "../common/ports.js";
import { nameOf, withImageProgress, withImages } from "./image-access.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { printResult, table, timeText } from "./output.js";
import type { ImageAddress } from "./spec.js";
import type { PoolAddress } from "./table/slots.js";

type LongFlags = ClusterOptions & ProgressOptions;

interface PurgeFlags extends LongFlags {
  expiredBefore?: number;
  threshold?: number;
}

export async function moveAction(
  spec: ImageAddress,
  flags: ClusterOptions & { expiresAt?: number; delay?: number },
): Promise<void> {
  const untilMs = flags.expiresAt;
  const delayMs = flags.delay ?? (untilMs === undefined ? 0 : untilMs - systemClock.wallMs());
  const info = await withImages(flags, spec, (images) =>
    images.trash.move(spec.image, Math.max(0, delayMs)),
  );
  printResult(flags, info, () => `${nameOf(spec)} is in the trash, with the id ${info.id}`);
}

export async function listAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const list = await withImages(flags, place, (images) => images.trash.list());
  printResult(flags, list, () =>
    table(
      [{ title: "ID" }, { title: "NAME" }, { title: "DELETED" }, { title: "KEPT UNTIL" }],
      list.map(({ id, name, deletedAt, deferUntil }) => [
        id,
        name,
        timeText(deletedAt),
        timeText(deferUntil),
      ]),
    ),
  );
}

export async function restoreAction(
  spec: ImageAddress,
  flags: ClusterOptions & { image?: string },
): Promise<void> {
  const info = await withImages(flags, spec, (images) =>
    images.trash.restore(spec.image, flags.image),
  );
  printResult(flags, info, () => `restored ${nameOf({ ...spec, image: info.name })}`);
}

export async function removeAction(
  spec: ImageAddress,
  flags: LongFlags & { force?: true },
): Promise<void> {
  await withImageProgress(flags, `removing ${nameOf(spec)}`, spec, (images, progress) =>
    images.trash.remove(spec.image, { force: flags.force === true, progress }),
  );
  const { pool, namespace, image: id } = spec;
  printResult(flags, { pool, namespace, id, removed: true }, () => `removed ${nameOf(spec)}`);
}

export async function purgeAction(place: PoolAddress, flags: PurgeFlags): Promise<void> {
  const { expiredBefore, threshold } = flags;
  const doing = `purging the trash of ${place.pool}`;
  const result = await withImageProgress(flags, doing, place, async (images, progress, client) => {
    const { usage } = await client.command("status", {});
    const usedRatio = usage.totalBytes === 0 ? 0 : usage.usedBytes / usage.totalBytes;
    return images.trash.purge({
      ...(expiredBefore === undefined ? {} : { expiredBefore }),
      ...(threshold === undefined ? {} : { threshold, usedRatio }),
      progress,
    });
  });
  printResult(flags, result, () =>
    [
      `removed ${result.removed.length} images from the trash`,
      ...result.kept.map(({ image, reason }) => `kept ${image.name} (${image.id}): ${reason}`),
    ].join("\n"),
  );
}
