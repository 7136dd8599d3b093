// Who an OSD is: a small file beside its store, written once when the store is made.
import { open, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import type { OsdConfig } from "../common/config.js";
import { StorageError, toStorageError } from "../common/errors.js";
import { makeFolders } from "../common/make-folders.js";
import { Checker } from "../common/schema.js";
import type { OsdOptions } from "../native/index.js";
import { OsdIdSchema, UuidSchema } from "../proto/osd-map.js";

const IdentitySchema = Type.Object(
  {
    osd: OsdIdSchema,
    clusterId: UuidSchema,
    /** of the object store; the monitor refuses another one under the same OSD id */
    storeId: UuidSchema,
  },
  { additionalProperties: false },
);
export type Identity = Static<typeof IdentitySchema>;
const checker = new Checker(IdentitySchema, "OSD identity file", "corrupt");

/** The identity file of an OSD's data folder. */
export function identityFile(dataDir: string): string {
  return path.join(dataDir, "osd.json");
}

/** The store of an OSD: a block device or a file. */
export function storePath({
  store,
  dataDir,
}: {
  store?: string | undefined;
  dataDir: string;
}): string {
  return store ?? path.join(dataDir, "store");
}

/** What an OSD's configuration says to its native core. */
export function coreConfig(
  config: OsdConfig,
): Pick<OsdOptions, "path" | "osd" | "localSockets" | "movesOverwrites" | "metadataCacheBytes"> {
  const { id, localSockets, movesOverwrites, metadataCacheBytes } = config;
  return { path: storePath(config), osd: id, localSockets, movesOverwrites, metadataCacheBytes };
}

/** @throws not_found, corrupt, wrong_daemon when it is that of another OSD */
export async function readIdentity({ id, dataDir }: OsdConfig): Promise<Identity> {
  const identity = await readFolderIdentity(dataDir);
  if (identity.osd !== id) {
    throw new StorageError("wrong_daemon", `${dataDir} is of osd.${identity.osd}, not osd.${id}`, {
      remedy: `Start it with the id ${identity.osd}, or name the folder of osd.${id}.`,
    });
  }
  return identity;
}

/** Whichever OSD's folder it is. @throws not_found, corrupt */
export async function readFolderIdentity(dataDir: string): Promise<Identity> {
  const file = identityFile(dataDir);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    const error = toStorageError(thrown, `read ${file}`);
    if (error.code !== "not_found") throw error;
    throw new StorageError("not_found", `${dataDir} holds no OSD`, {
      remedy: "Make its store first, or name the folder of an existing one.",
    });
  }
  return checker.check(parsed(text, file));
}

function parsed(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new StorageError("corrupt", `${file} is damaged: not JSON`);
  }
}

/** Writes the file, durably. @throws already_exists */
export async function writeIdentity(dataDir: string, identity: Identity): Promise<void> {
  const file = identityFile(dataDir);
  try {
    makeFolders(dataDir, 0o700);
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(identity)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    const error = toStorageError(thrown, `write ${file}`);
    if (error.code !== "already_exists") throw error;
    throw new StorageError("already_exists", `${dataDir} holds an OSD already`, {
      remedy: "Name another folder, or remove that OSD first.",
      cause: thrown,
    });
  }
}

/** Takes a half-made identity away. */
export async function removeIdentity(dataDir: string): Promise<void> {
  await rm(identityFile(dataDir), { force: true });
}
