// `cairn migration`: live import, and moving images while they are in use.
import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import type { OriginSpec } from "../client/index.js";
import { StorageError, toStorageError } from "../common/errors.js";
import { imagesOf, nameOf, withImageProgress, withImages } from "./image-access.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { printResult } from "./output.js";
import { originOf, parseSourceSpec } from "./source-spec.js";
import type { ImageAddress } from "./spec.js";
import { image } from "./table/slots.js";

type LongFlags = ClusterOptions & ProgressOptions;

interface PrepareFlags extends ClusterOptions, LayoutFlags {
  importOnly?: true;
  sourceSpec?: string;
  sourceSpecPath?: string;
  thinOvercommit?: true;
}

export async function prepareAction(
  source: string | ImageAddress | undefined,
  to: ImageAddress,
  flags: PrepareFlags,
): Promise<void> {
  if (flags.importOnly === true) return importFrom(await originFor(source, flags), to, flags);
  if (flags.sourceSpec !== undefined || flags.sourceSpecPath !== undefined) {
    throw usage("a source spec goes with --import-only");
  }
  if (source === undefined) throw usage("name the image and what it becomes: SOURCE DEST");
  const from = typeof source === "string" ? image("the image").read([source], {}) : source;
  const info = await withImages(flags, from, async (images, client) => {
    const target = { scope: (await imagesOf(client, to)).scope, name: to.image };
    return images.migrations.prepare(from.image, target, layoutOf(flags));
  });
  printResult(flags, info, () => `${nameOf(from)} is used as ${nameOf(to)} from now on`);
}

async function importFrom(
  origin: OriginSpec,
  to: ImageAddress,
  flags: PrepareFlags,
): Promise<void> {
  const info = await withImages(flags, to, (images) =>
    images.migrations.importFrom(to.image, origin, {
      ...layoutOf(flags),
      overcommit: flags.thinOvercommit === true,
    }),
  );
  printResult(flags, info, () => `${nameOf(to)} can be used; it reads from ${origin.location}`);
}

async function originFor(
  source: string | ImageAddress | undefined,
  { sourceSpec, sourceSpecPath }: PrepareFlags,
): Promise<OriginSpec> {
  const given = [source, sourceSpec, sourceSpecPath].filter((value) => value !== undefined);
  if (given.length !== 1 || typeof given[0] !== "string") {
    throw usage("--import-only takes one source: FILE, --source-spec or --source-spec-path");
  }
  if (sourceSpec !== undefined) return parseSourceSpec(sourceSpec);
  if (sourceSpecPath === undefined) return originOf(given[0]);
  try {
    const isInput = sourceSpecPath === "-";
    const text = isInput ? await readAll(process.stdin) : await readFile(sourceSpecPath, "utf8");
    return parseSourceSpec(text);
  } catch (thrown) {
    throw toStorageError(thrown, `read ${sourceSpecPath}`);
  }
}

function usage(message: string): StorageError {
  return new StorageError("invalid_argument", message, {
    remedy: "`cairn migration prepare --help` shows examples.",
  });
}

export async function executeAction(spec: ImageAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `copying to ${nameOf(spec)}`, spec, (images, progress) =>
    images.migrations.execute(spec.image, progress),
  );
  printResult(flags, { ...spec, executed: true }, () => `${nameOf(spec)} has all of its data`);
}

export async function commitAction(spec: ImageAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `ending ${nameOf(spec)}`, spec, (images, progress) =>
    images.migrations.commit(spec.image, progress),
  );
  printResult(flags, { ...spec, committed: true }, () => `${nameOf(spec)} stands for itself now`);
}

export async function abortAction(spec: ImageAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `undoing ${nameOf(spec)}`, spec, (images, progress) =>
    images.migrations.abort(spec.image, progress),
  );
  printResult(flags, { ...spec, aborted: true }, () => "the migration is undone");
}
