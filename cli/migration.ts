// `cairn migration`: live import, and moving images while they are in use.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { StorageError, toStorageError } from "../common/errors.js";
import { imagesOf, nameOf, withImageProgress, withImages } from "./image-access.js";
import { type LayoutFlags, layoutOf } from "./image-layout.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { printResult } from "./output.js";
import { type ImportSource, originOf, parseSourceSpec } from "./source-spec.js";
import { type ImageAddress, type ImageOrSnap, imageKey, snapKey } from "./spec.js";
import { imageOrSnapshot } from "./table/slots.js";

type LongFlags = ClusterOptions & ProgressOptions;

interface PrepareFlags extends ClusterOptions, LayoutFlags {
  importOnly?: true;
  sourceSpec?: string;
  sourceSpecPath?: string;
  thinOvercommit?: true;
}

/** What is to be moved or imported, as it was given: by a word, or in parts by options. */
export interface GivenSource {
  text?: string | undefined;
  image?: ImageOrSnap | undefined;
  /** of the word: beside it, or in place of @SNAP */
  snap?: string | undefined;
}

export async function prepareAction(
  source: GivenSource,
  to: ImageAddress,
  flags: PrepareFlags,
): Promise<void> {
  if (flags.importOnly === true) return importFrom(await sourceFor(source, flags), to, flags);
  if (flags.sourceSpec !== undefined || flags.sourceSpecPath !== undefined) {
    throw usage("a source spec goes with --import-only");
  }
  const from = givenImage(source);
  if (from === undefined) throw usage("name the image and what it becomes: SOURCE DEST");
  if (from.snap !== undefined) {
    throw usage(
      "an image moves with all its snapshots",
      "One snapshot alone, as an image of its own: --import-only POOL/IMAGE@SNAP DEST.",
    );
  }
  const info = await withImages(flags, from, async (images, client) => {
    const target = { scope: (await imagesOf(client, to)).scope, name: to.image };
    return images.migrations.prepare(from.image, target, layoutOf(flags));
  });
  printResult(flags, info, () => `${nameOf(from)} is used as ${nameOf(to)} from now on`);
}

async function importFrom(
  source: ImportSource,
  to: ImageAddress,
  flags: PrepareFlags,
): Promise<void> {
  const options = { ...layoutOf(flags), overcommit: flags.thinOvercommit === true };
  const info = await withImages(flags, to, async ({ migrations }, client) => {
    if (!("native" in source)) return migrations.importFrom(to.image, source, options);
    const { native } = source;
    const { scope } = await imagesOf(client, native);
    const snap = snapKey(native);
    if (snap === undefined) throw whichSnapshot(native);
    return migrations.importSnapshot(to.image, { scope, image: imageKey(native), snap }, options);
  });
  const from = "native" in source ? nameOf(source.native) : source.location;
  printResult(flags, info, () => `${nameOf(to)} can be used; it reads from ${from}`);
}

const whichSnapshot = (image: ImageAddress) =>
  usage(
    `which snapshot of ${nameOf(image)}? An image that stays is imported as one`,
    "Give POOL/IMAGE@SNAP, or --snap. To move the image, leave --import-only out.",
  );

async function sourceFor(
  source: GivenSource,
  { sourceSpec, sourceSpecPath }: PrepareFlags,
): Promise<ImportSource> {
  const { text, image, snap } = source;
  const given = [text ?? image, sourceSpec, sourceSpecPath].filter((value) => value !== undefined);
  if (given.length !== 1) throw oneSource();
  if (sourceSpec !== undefined) return withSnap(parseSourceSpec(sourceSpec), snap);
  if (sourceSpecPath !== undefined) {
    return withSnap(parseSourceSpec(await specIn(sourceSpecPath)), snap);
  }
  if (text !== undefined && !isSnapshot(source)) return withSnap(originOf(text), snap);
  const native = givenImage(source);
  if (native === undefined) throw oneSource();
  if (native.snap === undefined) throw whichSnapshot(native);
  return { native };
}

const oneSource = () =>
  usage(
    "--import-only takes one source: FILE, POOL/IMAGE@SNAP, --source-spec or --source-spec-path",
  );

/** A word that is no file here, and names a snapshot. */
function isSnapshot({ text = "", snap }: GivenSource): boolean {
  if (/^https?:\/\//.test(text) || existsSync(text)) return false;
  return snap !== undefined || /^[^@]+@[^@/]+$/.test(text);
}

function givenImage({ text, image, snap }: GivenSource): ImageOrSnap | undefined {
  if (image !== undefined) return image;
  return text === undefined ? undefined : imageOrSnapshot("the image").read([text], { snap });
}

/** @param snap of a qcow2 file */
function withSnap(source: ImportSource, snap: string | undefined): ImportSource {
  if (snap === undefined) return source;
  if (!("native" in source) && source.snapshot === undefined) return { ...source, snapshot: snap };
  throw usage("the snapshot is given twice: in the source spec, and by --snap");
}

async function specIn(file: string): Promise<string> {
  try {
    return file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  } catch (thrown) {
    throw toStorageError(thrown, `read ${file}`);
  }
}

function usage(
  message: string,
  remedy = "`cairn migration prepare --help` shows examples.",
): StorageError {
  return new StorageError("invalid_argument", message, { remedy });
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
