// `cairn create`, `ls`, `info`, `rm`, `resize`, `import`, `export`: images as `rbd` has them.
import type { ImageInfo } from "../client/index.js";
import { formatSize } from "../common/units.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { fieldsText, printResult, table } from "./output.js";
import { startProgress } from "./progress.js";
import { withAbortSignal } from "./signals.js";
import type { ImageAddress } from "./spec.js";
import type { PoolAddress } from "./table/slots.js";

interface SizeFlags extends ClusterOptions {
  size: number;
  thinOvercommit?: boolean;
}

interface ResizeFlags extends SizeFlags, ProgressOptions {
  allowShrink?: boolean;
}

type LongFlags = ClusterOptions & ProgressOptions;

interface ImportFlags extends LongFlags {
  thinOvercommit?: boolean;
}

function infoText(info: ImageInfo): string {
  return fieldsText([
    ["image", `${info.pool}/${info.name}`],
    ["id", info.id],
    ["size", `${formatSize(info.sizeBytes)} (${info.sizeBytes} bytes)`],
    ["objects", `${info.objectCount} of ${formatSize(info.objectBytes)}`],
    ["object prefix", info.objectPrefix],
    ["created", new Date(info.createdAt).toISOString()],
  ]);
}

export async function createAction(spec: ImageAddress, flags: SizeFlags): Promise<void> {
  const info = await onCluster(flags, async (client) =>
    (await imagesOf(client, spec)).create(spec.image, flags.size, {
      overcommit: flags.thinOvercommit === true,
    }),
  );
  printResult(flags, info, () => `created ${nameOf(spec)}: ${formatSize(info.sizeBytes)}`);
}

export async function listAction(pool: PoolAddress, flags: ClusterOptions): Promise<void> {
  const infos = await onCluster(flags, async (client) => (await imagesOf(client, pool)).list());
  printResult(flags, infos, () =>
    table(
      [{ title: "NAME" }, { title: "SIZE", align: "right" }, { title: "CREATED" }],
      infos.map((info) => [
        info.name,
        formatSize(info.sizeBytes),
        new Date(info.createdAt).toISOString().slice(0, 19).replace("T", " "),
      ]),
    ),
  );
}

export async function infoAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const info = await onCluster(flags, async (client) =>
    (await imagesOf(client, spec)).info(spec.image),
  );
  printResult(flags, info, () => infoText(info));
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
  const progress = startProgress(`shrinking ${nameOf(spec)}`, flags.progress);
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

export async function importAction(
  file: string,
  spec: ImageAddress,
  flags: ImportFlags,
): Promise<void> {
  const info = await withAbortSignal(async (signal) => {
    const { importFile } = await import("./image-import.js");
    return importFile(file, spec, flags, signal);
  });
  printResult(flags, info, () => `imported ${nameOf(spec)}: ${formatSize(info.sizeBytes)}`);
}

export async function exportAction(
  spec: ImageAddress,
  file: string,
  flags: LongFlags,
): Promise<void> {
  const result = await withAbortSignal(async (signal) => {
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
