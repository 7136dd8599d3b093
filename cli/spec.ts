// How images, snapshots, groups and namespaces are named on the command line, as rbd does it:
// [POOL/[NAMESPACE/]]IMAGE[@SNAP] as one word, or in parts with --pool, --namespace, --image and
// --snap. Pure.
import { checkImageName } from "../client/image/image-spec.js";
import type { ImageKey, SnapKey } from "../client/index.js";
import { StorageError } from "../common/errors.js";

/** A name in a pool. */
export interface ImageAddress {
  pool: string;
  /** "": none */
  namespace: string;
  image: string;
}

export interface SnapAddress extends ImageAddress {
  snap: string;
}

/** An image, or one of its snapshots. */
export interface ImageOrSnap extends ImageAddress {
  snap?: string;
}

/** By its name, or by its id: then `image` is the id, too. */
export interface ImageOrId extends ImageAddress {
  imageId?: string;
}

/** Of either kind, with a snapshot by its name or by its id, or without one. */
export interface SnapOrId extends ImageOrId {
  snap?: string;
  snapId?: number;
}

export function imageKey({ image, imageId }: ImageOrId): ImageKey {
  return imageId === undefined ? image : { id: imageId };
}

/** undefined: no snapshot is named */
export function snapKey({ snap, snapId }: SnapOrId): SnapKey | undefined {
  return snapId === undefined ? snap : { id: snapId };
}

export interface SpecParts {
  pool?: string | undefined;
  namespace?: string | undefined;
  name?: string | undefined;
  snap?: string | undefined;
}

/** What each part may be given as beside the word: for the messages. */
export interface PartOptions {
  pool: string;
  namespace: string;
  name: string;
  snap: string;
}

function wrong(message: string, remedy?: string): StorageError {
  return new StorageError("invalid_argument", message, { remedy });
}

/** Takes [POOL/[NAMESPACE/]]NAME[@SNAP] apart. @throws invalid_argument */
export function splitSpec(text: string, form: string): SpecParts {
  const malformed = () =>
    wrong(`"${text}" is not of the form ${form.toUpperCase()}`, "For example: rbd/disk1.");
  const [path = "", snap, ...moreSnaps] = text.split("@");
  const words = path.split("/");
  if (moreSnaps.length > 0 || snap === "" || words.length > 3 || words.includes("")) {
    throw malformed();
  }
  const name = words.at(-1);
  const pool = words.length > 1 ? words[0] : undefined;
  const namespace = words.length > 2 ? words[1] : undefined;
  return { pool, namespace, name, snap };
}

/** Joins the parts of the word with those of the options. @throws invalid_argument */
export function joinParts(word: SpecParts, given: SpecParts, options: PartOptions): SpecParts {
  const parts: SpecParts = {};
  for (const key of ["pool", "namespace", "name", "snap"] as const) {
    const [first, second] = [word[key], given[key]];
    if (first !== undefined && second !== undefined && first !== second) {
      throw wrong(`the ${key} is given twice: "${first}" and ${options[key]} ${second}`);
    }
    parts[key] = first ?? second;
  }
  return parts;
}

/** @throws invalid_argument */
export function checkedName(name: string): string {
  checkImageName(name);
  return name;
}
