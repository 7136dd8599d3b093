// The head file: names the newest epoch of the store and the hash of its map, in one checksummed
// line, replaced atomically. It is the witness against which a store that lost its end shows:
// LevelDB drops the damaged end of its log without a word. docs/format/monitor-store.md
import { createHash } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import path from "node:path";
import { StorageError, toStorageError } from "../../common/errors.js";
import { epoch } from "../../common/units.js";
import type { MapHead } from "./map-store.js";

/** Of every version of the file: which one, and a checksum behind everything else. */
const anyVersionPattern = /^(cairn-monitor-head ([0-9]+) .*) ([0-9a-f]{64})\n$/;
const linePattern =
  /^(cairn-monitor-head 1 ([0-9a-f-]{36}) ([0-9]{1,10}) ([0-9a-f]{64})) ([0-9a-f]{64})\n$/;

/** What the head file says. */
export interface HeadRecord extends MapHead {
  clusterId: string;
}

/** The file's content. */
export function formatHead(head: HeadRecord): string {
  const text = `cairn-monitor-head 1 ${head.clusterId} ${head.epoch} ${head.hash}`;
  return `${text} ${sha256(text)}\n`;
}

/** @throws corrupt when it is not what formatHead() writes; incompatible_version: a newer one's */
export function parseHead(content: string, file: string): HeadRecord {
  const [, line = "", version = "", lineChecksum] = anyVersionPattern.exec(content) ?? [];
  if (Number(version) > 1 && sha256(line) === lineChecksum) {
    throw newerVersion(`the head file ${file} of the map store has format version ${version}`);
  }
  const match = linePattern.exec(content);
  const [, text = "", clusterId = "", epochText = "", hash = "", checksum = ""] = match ?? [];
  if (match === null || sha256(text) !== checksum) {
    throw new StorageError("corrupt", `the head file ${file} of the map store is damaged`, {
      remedy: restoreRemedy(path.dirname(file)),
    });
  }
  return { clusterId, epoch: epoch(Number(epochText)), hash };
}

/** A store that is whole, but of a version of Cairn that came later: nothing is to be mended. */
export function newerVersion(what: string): StorageError {
  return new StorageError("incompatible_version", `${what}, this monitor reads version 1`, {
    remedy: "Run the version of Cairn that has written it.",
  });
}

/** What an operator can do about a damaged store. */
export function restoreRemedy(dataDir: string): string {
  return (
    `Move ${dataDir} away, then make the store anew from the maps that the OSDs hold: ` +
    "`cairn monitor rebuild --help`. Do not edit or remove single files: they show the loss."
  );
}

/** @throws not_found, corrupt, incompatible_version */
export async function readHead(file: string): Promise<HeadRecord> {
  let content: string;
  try {
    content = await readFile(file, "utf8");
  } catch (thrown) {
    throw toStorageError(thrown, `read ${file}`);
  }
  return parseHead(content, file);
}

/** Replaces the file; durable when it resolves: file, then name, then folder. */
export async function writeHead(file: string, head: HeadRecord): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(formatHead(head));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  const folder = await open(path.dirname(file), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
