// `cairn create`, `ls`, `info`, `rm`, `resize`, `import`, `export`: images as `rbd` has them.
import type { Command } from "commander";
import type { ImageSpec } from "../client/image/image-spec.js";
import type { ImageInfo } from "../client/index.js";
import { formatSize } from "../common/units.js";
import { withCluster as onCluster } from "./connect.js";
import { imagesOf, specValue } from "./image-access.js";
import {
  type ClusterOptions,
  type ProgressOptions,
  sizeValue,
  withCluster,
  withExamples,
  withProgress,
} from "./options.js";
import { fieldsText, printResult, tableText } from "./output.js";
import { startProgress } from "./progress.js";
import { withAbortSignal } from "./signals.js";

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

const overcommitOption = [
  "--thin-overcommit",
  "allow an image that is larger than its pool can hold",
] as const;

export function registerImage(program: Command): void {
  registerMetadata(program);
  registerCopies(program);
}

function registerMetadata(program: Command): void {
  const create = program
    .command("create")
    .description("Create an image. It is thin: space is taken as it is written.")
    .argument("<pool/image>", "its pool and name", specValue)
    .requiredOption("--size <size>", "its size: 4G, 512M, bytes", sizeValue)
    .option(...overcommitOption);
  withCluster(create).action(createAction);
  withExamples(create, "cairn create rbd/disk1 --size 4G");

  const list = program
    .command("ls")
    .description("List the images of a pool.")
    .argument("[pool]", "the pool", "rbd");
  withCluster(list).action(listAction);
  withExamples(list, "cairn ls", "cairn ls fast --format json");

  const info = program
    .command("info")
    .description("Show an image.")
    .argument("<pool/image>", "its pool and name", specValue);
  withCluster(info).action(infoAction);
  withExamples(info, "cairn info rbd/disk1");

  const remove = program
    .command("rm")
    .description("Remove an image and its data. A removal that was cut off is finished.")
    .argument("<pool/image>", "its pool and name", specValue);
  withProgress(withCluster(remove)).action(removeAction);
  withExamples(remove, "cairn rm rbd/disk1");

  const resize = program
    .command("resize")
    .description("Change the size of an image.")
    .argument("<pool/image>", "its pool and name", specValue)
    .requiredOption("--size <size>", "its new size", sizeValue)
    .option("--allow-shrink", "discard what lies behind the new size")
    .option(...overcommitOption);
  withProgress(withCluster(resize)).action(resizeAction);
  withExamples(resize, "cairn resize rbd/disk1 --size 8G");
}

function registerCopies(program: Command): void {
  const importing = program
    .command("import")
    .description(
      "Make an image from a raw or qcow2 file; which of them it is shows in its content. Blocks\n" +
        "of zeros take no space. The image appears when all of it is stored.",
    )
    .argument("<file>", "the file; - is standard input")
    .argument("<pool/image>", "pool and name of the new image", specValue)
    .option(...overcommitOption);
  withProgress(withCluster(importing)).action(importAction);
  withExamples(
    importing,
    "cairn import debian.qcow2 rbd/debian",
    "zcat disk.raw.gz | cairn import - rbd/disk1",
  );

  const exporting = program
    .command("export")
    .description("Write an image to a new raw file, sparse, or to standard output.")
    .argument("<pool/image>", "its pool and name", specValue)
    .argument("<file>", "the file; - is standard output");
  withProgress(withCluster(exporting)).action(exportAction);
  withExamples(
    exporting,
    "cairn export rbd/disk1 disk1.raw",
    "cairn export rbd/disk1 - | zstd > disk1.raw.zst",
  );
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

async function createAction({ pool, image }: ImageSpec, flags: SizeFlags): Promise<void> {
  const info = await onCluster(flags, async (client) =>
    (await imagesOf(client, pool)).create(image, flags.size, {
      overcommit: flags.thinOvercommit === true,
    }),
  );
  printResult(flags.format, info, () => `created ${pool}/${image}: ${formatSize(info.sizeBytes)}`);
}

async function listAction(pool: string, flags: ClusterOptions): Promise<void> {
  const infos = await onCluster(flags, async (client) => (await imagesOf(client, pool)).list());
  printResult(flags.format, infos, () =>
    infos.length === 0
      ? ""
      : tableText(
          [{ title: "NAME" }, { title: "SIZE", align: "right" }, { title: "CREATED" }],
          infos.map((info) => [
            info.name,
            formatSize(info.sizeBytes),
            new Date(info.createdAt).toISOString().slice(0, 19).replace("T", " "),
          ]),
        ),
  );
}

async function infoAction({ pool, image }: ImageSpec, flags: ClusterOptions): Promise<void> {
  const info = await onCluster(flags, async (client) => (await imagesOf(client, pool)).info(image));
  printResult(flags.format, info, () => infoText(info));
}

async function removeAction({ pool, image }: ImageSpec, flags: LongFlags): Promise<void> {
  const progress = startProgress(`removing ${pool}/${image}`, flags.progress);
  try {
    await onCluster(flags, async (client) =>
      (await imagesOf(client, pool)).remove(image, progress.update),
    );
  } finally {
    progress.end();
  }
  printResult(flags.format, { pool, name: image, removed: true }, () => `removed ${pool}/${image}`);
}

async function resizeAction({ pool, image }: ImageSpec, flags: ResizeFlags): Promise<void> {
  const progress = startProgress(`shrinking ${pool}/${image}`, flags.progress);
  try {
    const info = await onCluster(flags, async (client) =>
      (await imagesOf(client, pool)).resize(image, flags.size, {
        allowShrink: flags.allowShrink === true,
        overcommit: flags.thinOvercommit === true,
        progress: progress.update,
      }),
    );
    printResult(flags.format, info, () => `${pool}/${image} has ${formatSize(info.sizeBytes)} now`);
  } finally {
    progress.end();
  }
}

async function importAction(file: string, spec: ImageSpec, flags: ImportFlags): Promise<void> {
  const info = await withAbortSignal(async (signal) => {
    const { importFile } = await import("./image-import.js");
    return importFile(file, spec, flags, signal);
  });
  printResult(
    flags.format,
    info,
    () => `imported ${spec.pool}/${spec.image}: ${formatSize(info.sizeBytes)}`,
  );
}

async function exportAction(spec: ImageSpec, file: string, flags: LongFlags): Promise<void> {
  const result = await withAbortSignal(async (signal) => {
    const { exportFile } = await import("./image-export.js");
    return exportFile(spec, file, flags, signal);
  });
  // Standard output carries the image then.
  if (file === "-") return;
  printResult(
    flags.format,
    result,
    () => `exported ${spec.pool}/${spec.image} to ${file}: ${formatSize(result.sizeBytes)}`,
  );
}
