// What can follow on a command line: verbs, options, their values, and names that a cluster is
// asked for. Pure but for the source of the names.

import { defaultFeatures } from "../../client/image/features.js";
import type { ImageKey } from "../../client/image/keys.js";
import { defaultPool } from "../../client/image/spec.js";
import { longName } from "./help.js";
import { sharedNames } from "./option-rows.js";
import type { Completion, Family, OptionRow, Verb } from "./verb.js";

/** Where names come from. They are asked for only when they are needed. */
export interface NameSource {
  pools(): Promise<string[]>;
  images(pool: string, namespace: string): Promise<string[]>;
  snapshots(pool: string, namespace: string, image: ImageKey): Promise<string[]>;
  /** of all snapshots, also of those that only ids name */
  snapshotIds(pool: string, namespace: string, image: ImageKey): Promise<string[]>;
  groups(pool: string, namespace: string): Promise<string[]>;
  namespaces(pool: string): Promise<string[]>;
  trash(pool: string, namespace: string): Promise<string[]>;
  osds(): Promise<string[]>;
}

export interface Completions {
  /** whole words; one that ends with "/", "@" or "=" goes on */
  words: string[];
  /** the shell completes paths */
  paths?: "file" | "folder";
}

/**
 * @param words behind "cairn"; the last one is the one that is being written
 */
export async function complete(
  families: readonly Family[],
  words: readonly string[],
  names: NameSource,
): Promise<Completions> {
  const verbs = families.flatMap((family) => family.verbs);
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1).filter((word, at) => !(at === 0 && word === "help"));
  const { row, path, behind } = verbOf(verbs, before);
  const next = behind.length === 0 ? nextWords(verbs, path) : [];
  if (row === undefined) {
    const top = words.length === 1 ? ["help"] : [];
    return startingWith(current, [...next, ...top]);
  }
  if (words[0] === "help") return startingWith(current, next);
  const found = await argument(row, behind, current, names);
  return { ...found, words: [...startingWith(current, next).words, ...found.words] };
}

interface Found {
  row: Verb | undefined;
  /** words that lead to a verb or group */
  path: string[];
  /** words behind it */
  behind: string[];
}

function namesOf({ name, aliases }: Verb): readonly string[] {
  return [name, ...aliases];
}

function verbOf(verbs: readonly Verb[], words: readonly string[]): Found {
  const path: string[] = [];
  for (const word of words) {
    const longer = [...path, word].join(" ");
    const known = verbs.some((row) =>
      namesOf(row).some((name) => name === longer || name.startsWith(`${longer} `)),
    );
    if (!known) break;
    path.push(word);
  }
  const row = verbs.find((candidate) => namesOf(candidate).includes(path.join(" ")));
  return { row, path, behind: words.slice(path.length) };
}

/** Words that lead on from a path. Other names of verbs are left out: each verb shows once. */
function nextWords(verbs: readonly Verb[], path: readonly string[]): string[] {
  const prefix = path.map((word) => `${word} `).join("");
  const next = verbs
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name }) => name.slice(prefix.length).split(" ", 1)[0] ?? "");
  return [...new Set(next)].sort();
}

function startingWith(current: string, words: readonly string[]): Completions {
  return { words: words.filter((word) => word.startsWith(current)) };
}

async function argument(
  row: Verb,
  behind: readonly string[],
  current: string,
  names: NameSource,
): Promise<Completions> {
  const [, assigned, start] = /^(--[a-z-]+)=(.*)$/s.exec(current) ?? [];
  if (assigned !== undefined) {
    const option = optionOf(row, assigned);
    const { words, paths } = await optionValue(option, start ?? "", names, partsOf(row, behind));
    return { words: words.map((word) => `${assigned}=${word}`), ...(paths && { paths }) };
  }
  const previous = optionOf(row, behind.at(-1) ?? "");
  if (previous?.kind === "value")
    return optionValue(previous, current, names, partsOf(row, behind));
  if (current.startsWith("-")) return startingWith(current, optionWords(row));
  const index = behind.filter(
    (word, at) => !word.startsWith("-") && optionOf(row, behind[at - 1] ?? "")?.kind !== "value",
  ).length;
  const slot = row.slots[Math.min(index, row.slots.length - 1)];
  if (slot === undefined || (index >= row.slots.length && !slot.variadic)) return { words: [] };
  if (slot.choices !== undefined) return startingWith(current, slot.choices);
  return namesFor(slot.completes, current, names);
}

/** What the words so far say of where the names of options are. */
interface Parts {
  pool: string;
  namespace: string;
  image: ImageKey;
}

function partsOf(row: Verb, behind: readonly string[]): Parts {
  const given = (key: string): string | undefined => {
    const option = row.options[key];
    const at = behind.findIndex((word) => option !== undefined && optionOf(row, word) === option);
    return at < 0 ? undefined : behind[at + 1];
  };
  const word = behind.find(
    (one, at) => !one.startsWith("-") && optionOf(row, behind[at - 1] ?? "")?.kind !== "value",
  );
  const path = (word?.split("@")[0] ?? "").split("/");
  const imageId = given("imageId");
  return {
    pool: given("pool") ?? (path.length > 1 ? path[0] : undefined) ?? defaultPool,
    namespace: given("namespace") ?? (path.length > 2 ? path[1] : undefined) ?? "",
    image: imageId === undefined ? (given("image") ?? path.at(-1) ?? "") : { id: imageId },
  };
}

/** A verb's own options before those that all have. */
function optionWords(row: Verb): string[] {
  const word = (key: string) =>
    `--${row.options[key]?.kind === "negated" ? "no-" : ""}${longName(key)}`;
  const keys = Object.keys(row.options);
  const own = keys.filter((key) => !sharedNames.has(key));
  return [...own, ...keys.filter((key) => sharedNames.has(key))].map(word).concat("--help");
}

function optionOf(row: Verb, word: string): OptionRow | undefined {
  return Object.entries(row.options).find(
    ([key, { short }]) => word === `--${longName(key)}` || (short && word === `-${short}`),
  )?.[1];
}

async function optionValue(
  option: OptionRow | undefined,
  current: string,
  names: NameSource,
  { pool, namespace, image }: Parts,
): Promise<Completions> {
  if (option?.choices !== undefined) return startingWith(current, option.choices);
  const { completes = "none" } = option ?? {};
  switch (completes) {
    case "image":
      return startingWith(current, await names.images(pool, namespace));
    case "snap":
      return startingWith(current, await names.snapshots(pool, namespace, image));
    case "snapId":
      return startingWith(current, await names.snapshotIds(pool, namespace, image));
    case "group":
      return startingWith(current, await names.groups(pool, namespace));
    case "trashId":
      return startingWith(current, await names.trash(pool, namespace));
    default:
      return namesFor(completes, current, names);
  }
}

async function namesFor(
  completes: Completion,
  current: string,
  names: NameSource,
): Promise<Completions> {
  switch (completes) {
    case "none":
    case "verb":
    case "snapId":
      return { words: [] };
    case "file":
    case "folder":
      return { words: [], paths: completes };
    case "feature":
      return startingWith(current, defaultFeatures);
    case "pool":
    case "namespace":
      return startingWith(current, await names.pools());
    case "osd":
      return startingWith(current, await names.osds());
    case "trashId":
      return namesIn(current, names, ({ pool, namespace }) => names.trash(pool, namespace));
    case "group":
      return namesIn(current, names, ({ pool, namespace }) => names.groups(pool, namespace));
    default:
      return imageNames(completes, current, names);
  }
}

interface Place {
  pool: string;
  namespace: string;
}

/**
 * POOL/NAME: pools until there is a slash, then the names in the pool and its namespaces. A word
 * that has begun without a slash may be a name in the default pool, too.
 */
async function namesIn(
  current: string,
  names: NameSource,
  list: (place: Place) => Promise<string[]>,
): Promise<Completions> {
  const [pool = "", second, third] = current.split("/");
  if (second === undefined) {
    const pools = (await names.pools()).map((name) => `${name}/`);
    const short = current === "" ? [] : await list({ pool: defaultPool, namespace: "" });
    return startingWith(current, [...pools, ...short]);
  }
  if (third !== undefined) {
    const found = await list({ pool, namespace: second });
    return startingWith(
      current,
      found.map((name) => `${pool}/${second}/${name}`),
    );
  }
  const [found, namespaces] = await Promise.all([
    list({ pool, namespace: "" }),
    names.namespaces(pool),
  ]);
  return startingWith(current, [
    ...found.map((name) => `${pool}/${name}`),
    ...namespaces.map((name) => `${pool}/${name}/`),
  ]);
}

async function imageNames(
  completes: "image" | "snap" | "imageOrSnap",
  current: string,
  names: NameSource,
): Promise<Completions> {
  const [path = "", snap] = current.split("@");
  if (snap !== undefined) {
    if (completes === "image") return { words: [] };
    const parts = path.split("/");
    const [pool, namespace] = parts.length === 3 ? parts : [parts[0], ""];
    const image = parts.at(-1) ?? "";
    const place = parts.length === 1 ? defaultPool : (pool ?? "");
    const snaps = await names.snapshots(place, namespace ?? "", image);
    return startingWith(
      current,
      snaps.map((name) => `${path}@${name}`),
    );
  }
  const found = await namesIn(current, names, ({ pool, namespace }) =>
    names.images(pool, namespace),
  );
  if (completes !== "snap") return found;
  return { words: found.words.map((word) => (word.endsWith("/") ? word : `${word}@`)) };
}
