// Files that exports make. One appears under its name when all of it is there; until then it has
// another one in the same folder. What an export that was killed has left goes with the next one to
// the same name.
import { constants, type FileHandle, link, lstat, open, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { StorageError, toStorageError } from "../common/errors.js";

const suffix = ".cairn-export";

/** Fills a file that appears under its name when all of it is there. @throws already_exists */
export async function toNewFile(
  file: string,
  fill: (output: FileHandle) => Promise<void>,
): Promise<void> {
  const begin = `.${path.basename(file)}.${hostname()}.`;
  const partial = path.join(path.dirname(file), `${begin}${process.pid}${suffix}`);
  await refuseExisting(file);
  await clearLeft(path.dirname(file), begin);
  let output: FileHandle;
  try {
    output = await open(partial, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600);
  } catch (thrown) {
    throw withRoomRemedy(toStorageError(thrown, `make ${file}`));
  }
  try {
    await fill(output);
    await output.sync();
    // link() fails where rename() would overwrite what somebody has put there meanwhile.
    await link(partial, file);
  } catch (thrown) {
    throw withRoomRemedy(toStorageError(thrown, `write ${file}`));
  } finally {
    await output.close();
    await rm(partial, { force: true });
  }
}

/** An error of writing; that of a full file system says what to do. */
export function withRoomRemedy(thrown: unknown): StorageError {
  const error = toStorageError(thrown);
  if (error.code !== "no_space" || error.remedy !== undefined) return error;
  const remedy = "Make room there, or write it to another file system.";
  return new StorageError(error.code, error.message, { remedy, cause: thrown });
}

async function refuseExisting(file: string): Promise<void> {
  try {
    await lstat(file);
  } catch (thrown) {
    const error = toStorageError(thrown, `look at ${file}`);
    if (error.code === "not_found") return;
    throw error;
  }
  throw new StorageError("already_exists", `${file} exists`, {
    remedy: "Choose another name, or remove it first.",
  });
}

/** Of processes of this host that are gone. */
async function clearLeft(folder: string, begin: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(begin) || !name.endsWith(suffix)) continue;
    const pid = name.slice(begin.length, -suffix.length);
    if (/^[0-9]+$/.test(pid) && !isAlive(Number(pid))) {
      await rm(path.join(folder, name), { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as { code?: unknown }).code !== "ESRCH";
  }
}
