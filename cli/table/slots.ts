// The places for words behind a verb: plain words, and names of images, snapshots, groups and pools
// that can also be given in parts by options.
import { InvalidArgumentError } from "commander";
import { defaultPool } from "../../client/image/spec.js";
import { StorageError } from "../../common/errors.js";
import {
  checkedName,
  type ImageAddress,
  type ImageOrSnap,
  joinParts,
  type PartOptions,
  type SnapAddress,
  type SpecParts,
  splitSpec,
} from "../spec.js";
import { asIs, optional } from "./option-rows.js";
import type { Completion, GivenFlags, OptionRows, Slot } from "./verb.js";

/** @throws invalid_argument */
export function missing(metavar: string): StorageError {
  return new StorageError("invalid_argument", `missing required argument '${metavar}'`);
}

interface WordOptions {
  completes?: Completion;
  choices?: readonly string[];
}

function parsed<T>(metavar: string, word: string, parse: (text: string) => T): T {
  try {
    return parse(word);
  } catch (thrown) {
    if (!(thrown instanceof InvalidArgumentError)) throw thrown;
    throw new StorageError(
      "invalid_argument",
      `argument value '${word}' is invalid for '${metavar}'. ${thrown.message}`,
    );
  }
}

/** One word. */
export function word<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  { completes = "none", choices }: WordOptions = {},
): Slot<T> {
  return {
    metavar,
    help,
    optional: false,
    completes,
    ...(choices === undefined ? {} : { choices }),
    options: {},
    named: () => false,
    read([text]) {
      if (text === undefined) throw missing(metavar);
      return parsed(metavar, text, parse);
    },
  };
}

/** One word, or the value of an option. */
export function wordOrOption(
  metavar: string,
  help: string,
  key: string,
  { completes = "none" }: WordOptions = {},
): Slot<string> {
  const slot = word(metavar, help, asIs, { completes });
  return {
    ...slot,
    options: { [key]: optional(metavar, `${help}; in place of the word`, asIs, { completes }) },
    named: (flags) => flags[key] !== undefined,
    read: (words, flags) => (flags[key] as string | undefined) ?? slot.read(words, flags),
  };
}

/** A file, or --path. */
export function file(help: string): Slot<string> {
  return wordOrOption("file", help, "path", { completes: "file" });
}

/** One of some words. */
export function oneOf<const C extends string>(
  metavar: string,
  help: string,
  choices: readonly C[],
): Slot<C> {
  const parse = (text: string): C => {
    const found = choices.find((choice) => choice === text);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
  };
  return word(metavar, help, parse, { choices });
}

/** A slot that may be left out. */
export function maybe<T>(slot: Slot<T>): Slot<T | undefined> {
  return {
    ...slot,
    optional: true,
    read: (words, flags) =>
      words.length === 0 && !slot.named(flags) ? undefined : slot.read(words, flags),
  };
}

/** All words that are left; at least one. */
export function rest<T>(
  metavar: string,
  help: string,
  parse: (text: string) => T,
  { completes = "none" }: WordOptions = {},
): Slot<T[]> {
  return {
    metavar: `${metavar}...`,
    help,
    optional: false,
    variadic: true,
    completes,
    options: {},
    named: () => false,
    read(words) {
      if (words.length === 0) throw missing(metavar);
      return words.map((text) => parsed(metavar, text, parse));
    },
  };
}

/** Which options name the parts of a spec. */
interface Side {
  pool: string;
  namespace: string;
  name: string;
  snap: string;
}

const imageSide: Side = { pool: "pool", namespace: "namespace", name: "image", snap: "snap" };
const groupSide: Side = { ...imageSide, name: "group" };
const trashSide: Side = { ...imageSide, name: "imageId" };
const destSide: Side = {
  pool: "destPool",
  namespace: "destNamespace",
  name: "dest",
  snap: "destSnap",
};
const destGroupSide: Side = { ...destSide, name: "destGroup" };
/** Of verbs that take a group and an image; --pool says it for both. */
const groupOfTwo: Side = {
  pool: "groupPool",
  namespace: "groupNamespace",
  name: "group",
  snap: "groupSnap",
};
const imageOfTwo: Side = {
  pool: "imagePool",
  namespace: "imageNamespace",
  name: "image",
  snap: "imageSnap",
};

const longName = (key: string): string =>
  `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

const completionOf: Readonly<Record<string, Completion>> = {
  group: "group",
  "image-id": "trashId",
};

function sideOptions(side: Side, what: string, withSnap: boolean): OptionRows {
  const completes = completionOf[what] ?? "image";
  const short = side.pool === "pool" ? { short: "p" } : {};
  const of = side.pool === "destPool" ? "of the new one" : `of the ${what}`;
  return {
    [side.pool]: optional("pool", `the pool ${of}, in place of POOL/`, asIs, {
      ...short,
      completes: "pool",
    }),
    [side.namespace]: optional("namespace", `the namespace ${of}`, asIs),
    [side.name]: optional(what, `the ${what}'s name, in place of the word`, asIs, { completes }),
    ...(withSnap ? { [side.snap]: snapOption(side) } : {}),
  };
}

/** That of what is made is a new name. */
const snapOption = (side: Side) =>
  optional("snap", "the snapshot, in place of @SNAP", asIs, {
    completes: side.snap === "snap" && side.name === "image" ? "snap" : "none",
  });

function givenParts(side: Side, flags: GivenFlags): SpecParts {
  const text = (key: string) => flags[key] as string | undefined;
  const { pool, namespace, name, snap } = side;
  return { pool: text(pool), namespace: text(namespace), name: text(name), snap: text(snap) };
}

/** For both of two specs. */
const commonPool: OptionRows = {
  pool: optional("pool", "the pool of both", asIs, { short: "p", completes: "pool" }),
};

interface SpecKind {
  metavar: string;
  what: string;
  side: Side;
  snap: "none" | "maybe" | "always";
  completes: Completion;
}

type Found = ImageAddress & { snap?: string };

function readSpec(kind: SpecKind, words: readonly string[], flags: GivenFlags): Found {
  const { metavar, side, what, snap: wantsSnap } = kind;
  const optionNames: PartOptions = {
    pool: longName(side.pool),
    namespace: longName(side.namespace),
    name: longName(side.name),
    snap: longName(side.snap),
  };
  const [text] = words;
  const fromWord = text === undefined ? {} : splitSpec(text, metavar);
  if (wantsSnap === "none" && fromWord.snap !== undefined) {
    throw new StorageError("invalid_argument", `"${text}" is no ${what} name: it has a snapshot`, {
      remedy: `Give it without @${fromWord.snap}.`,
    });
  }
  const parts = joinParts(fromWord, givenParts(side, flags), optionNames);
  const { pool = defaultPool, namespace = "", name, snap } = parts;
  if (name === undefined) throw missing(metavar);
  if (wantsSnap === "always" && snap === undefined) {
    throw new StorageError("invalid_argument", `which snapshot of ${pool}/${name}?`, {
      remedy: `Write ${metavar.toUpperCase()}, or give ${optionNames.snap}.`,
    });
  }
  checkedName(name);
  if (namespace !== "") checkedName(namespace);
  return { pool, namespace, image: name, ...(snap === undefined ? {} : { snap }) };
}

function specSlot<T>(kind: SpecKind, help: string): Slot<T> {
  return {
    metavar: kind.metavar,
    help,
    optional: false,
    completes: kind.completes,
    options: sideOptions(kind.side, kind.what, kind.snap !== "none"),
    named: (flags) => flags[kind.side.name] !== undefined,
    read: (words, flags) => readSpec(kind, words, flags) as T,
  };
}

/** POOL/IMAGE. */
export function image(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/image", what: "image", side: imageSide } as const;
  return specSlot({ ...kind, snap: "none", completes: "image" }, help);
}

/** POOL/IMAGE@SNAP. */
export function snapshot(help: string): Slot<SnapAddress> {
  const kind = { metavar: "pool/image@snap", what: "image", side: imageSide } as const;
  return specSlot({ ...kind, snap: "always", completes: "snap" }, help);
}

/** POOL/IMAGE or POOL/IMAGE@SNAP. */
export function imageOrSnapshot(help: string): Slot<ImageOrSnap> {
  const kind = { metavar: "pool/image[@snap]", what: "image", side: imageSide } as const;
  return specSlot({ ...kind, snap: "maybe", completes: "imageOrSnap" }, help);
}

/** The POOL/IMAGE that a verb makes, beside one that it reads. */
export function destImage(help: string): Slot<ImageAddress> {
  const kind = { metavar: "dest-pool/image", what: "image", side: destSide } as const;
  return specSlot({ ...kind, snap: "none", completes: "image" }, help);
}

/** POOL/GROUP: the group's name is in `image`. */
export function group(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/group", what: "group", side: groupSide } as const;
  return specSlot({ ...kind, snap: "none", completes: "group" }, help);
}

/** POOL/GROUP@SNAP. */
export function groupSnapshot(help: string): Slot<SnapAddress> {
  const kind = { metavar: "pool/group@snap", what: "group", side: groupSide } as const;
  return specSlot({ ...kind, snap: "always", completes: "group" }, help);
}

/** The POOL/IMAGE@SNAP that a snapshot is renamed to. */
export function destSnapshot(help: string): Slot<SnapAddress> {
  const kind = { metavar: "pool/image@new-snap", what: "image", side: destSide } as const;
  return specSlot({ ...kind, snap: "always", completes: "image" }, help);
}

/** The POOL/GROUP that a group is renamed to. */
export function destGroup(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/new-group", what: "group", side: destGroupSide } as const;
  return specSlot({ ...kind, snap: "none", completes: "group" }, help);
}

/** The POOL/GROUP of a verb that takes an image too. */
export function groupBesideImage(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/group", what: "group", side: groupOfTwo } as const;
  return inCommonPool(specSlot({ ...kind, snap: "none", completes: "group" }, help), groupOfTwo);
}

/** The POOL/IMAGE of a verb that takes a group too. */
export function imageBesideGroup(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/image", what: "image", side: imageOfTwo } as const;
  return inCommonPool(specSlot({ ...kind, snap: "none", completes: "image" }, help), imageOfTwo);
}

/** A spec that has no pool of its own is in the one of --pool. */
function inCommonPool<T>(slot: Slot<T>, side: Side): Slot<T> {
  return {
    ...slot,
    options: { ...slot.options, ...commonPool },
    read(words, flags) {
      const hasOwn = flags[side.pool] !== undefined || words.some((text) => text.includes("/"));
      return slot.read(words, hasOwn ? flags : { ...flags, [side.pool]: flags.pool });
    },
  };
}

/** The image that a file is imported as: without a name it gets that of the file. */
export function importedImage(help: string): Slot<ImportPlace> {
  const kind = { metavar: "pool/image", what: "image" } as const;
  const dest = specSlot({ ...kind, side: destSide, snap: "none", completes: "image" }, help);
  const short = specSlot({ ...kind, side: imageSide, snap: "none", completes: "image" }, help);
  return {
    ...dest,
    optional: true,
    options: { ...short.options, ...dest.options },
    named: (flags) => dest.named(flags) || short.named(flags),
    read(words, flags) {
      const parts = {
        destPool: flags.destPool ?? flags.pool,
        destNamespace: flags.destNamespace ?? flags.namespace,
        dest: flags.dest ?? flags.image,
      };
      if (words.length > 0 || parts.dest !== undefined) {
        return dest.read(words, parts) as ImageAddress;
      }
      const { destPool = defaultPool, destNamespace = "" } = parts as Record<string, string>;
      return { pool: destPool, namespace: destNamespace };
    },
  };
}

export interface ImportPlace {
  pool: string;
  /** "": none */
  namespace: string;
  image?: string;
}

/** POOL/ID of an image in the trash: the id is in `image`. */
export function trashed(help: string): Slot<ImageAddress> {
  const kind = { metavar: "pool/image-id", what: "image-id", side: trashSide } as const;
  return specSlot({ ...kind, snap: "none", completes: "trashId" }, help);
}

/** POOL/NAMESPACE. */
export function namespace(help: string): Slot<PoolAddress> {
  const { options } = pool(help);
  return {
    ...pool(help),
    metavar: "pool/namespace",
    completes: "namespace",
    optional: false,
    named: (flags) => flags.namespace !== undefined,
    read(words, flags) {
      const found = pool(help).read(words, flags);
      if (found.namespace !== "") {
        checkedName(found.namespace);
        return found;
      }
      if (words.length === 0) throw missing("pool/namespace");
      throw new StorageError("invalid_argument", `"${words[0]}" is not of the form POOL/NAMESPACE`);
    },
    options,
  };
}

export interface PoolAddress {
  pool: string;
  /** "": none */
  namespace: string;
}

/** POOL or POOL/NAMESPACE; left out: the pool rbd. */
export function pool(help: string): Slot<PoolAddress> {
  return {
    metavar: "pool",
    help,
    optional: true,
    completes: "pool",
    options: {
      pool: optional("pool", "the pool, in place of the word", asIs, {
        short: "p",
        completes: "pool",
      }),
      namespace: optional("namespace", "a namespace of the pool", asIs),
    },
    named: (flags) => flags.pool !== undefined,
    read([text], flags) {
      const given = givenParts(imageSide, flags);
      const [name = given.pool ?? defaultPool, namespace, ...more] = text?.split("/") ?? [];
      if (name === "" || namespace === "" || more.length > 0) {
        throw new StorageError("invalid_argument", `"${text}" is not of the form POOL[/NAMESPACE]`);
      }
      return { pool: name, namespace: namespace ?? given.namespace ?? "" };
    },
  };
}
