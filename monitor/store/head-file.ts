// The head file: names the newest epoch of the store and the hash of its map, in one checksummed
// line, replaced atomically. It is the witness against which a store that lost its end shows:
// LevelDB drops the damaged end of its log without a word. docs/format/monitor-store.md
import { createHash } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import path from "node:path";
import { StorageError, toStorageError } from "../../common/errors.js";
import { epoch } from "../../common/units.js";
import type { MapHead } from "./map-store.js";

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

/** @throws corrupt when it is not what formatHead() writes */
export function parseHead(content: string, file: string): HeadRecord {
  const match = linePattern.exec(content);
  const [, text = "", clusterId = "", epochText = "", hash = "", checksum = ""] = match ?? [];
  if (match === null || sha256(text) !== checksum) {
    throw new StorageError("corrupt", `the head file ${file} of the map store is damaged`, {
      remedy: restoreRemedy(path.dirname(file)),
    });
  }
  return { clusterId, epoch: epoch(Number(epochText)), hash };
}

/** What an operator can do about a damaged store. */
export function restoreRemedy(dataDir: string): string {
  return (
    `Move ${dataDir} away, then make the store anew from the maps that the OSDs hold: ` +
    "`cairn monitor rebuild --help`. Do not edit or remove single files: they show the loss."
  );
}

/** @throws not_found, corrupt */
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
