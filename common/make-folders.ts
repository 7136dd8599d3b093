// Makes a folder and those above it that are not there. In place of mkdir's `recursive`, which asks
// for ever where a folder that is there takes none (ENOENT in /proc).
import { mkdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";

/**
 * @returns the first folder that had to be made; undefined: all were there
 * @throws the system error; EEXIST when something else has the name
 */
export function makeFolders(folder: string, mode: number): string | undefined {
  const wanted = path.normalize(folder);
  const code = make(wanted, mode);
  if (code !== "ENOENT") return code === undefined ? wanted : undefined;
  const above = path.dirname(wanted);
  if (above === wanted) throw noFolder(wanted);
  const first = makeFolders(above, mode);
  // Once only: the folder above it is there. Another process may have been faster.
  const again = make(wanted, mode);
  if (again === "ENOENT") throw noFolder(wanted);
  return first ?? (again === undefined ? wanted : undefined);
}

/** @returns undefined: it was made; else ENOENT, or EEXIST for a folder that is there */
function make(folder: string, mode: number): "ENOENT" | "EEXIST" | undefined {
  try {
    mkdirSync(folder, { mode });
    return undefined;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT" || (code === "EEXIST" && isFolder(folder))) return code;
    throw thrown;
  }
}

function noFolder(folder: string): Error {
  return Object.assign(new Error(`ENOENT: no such file or directory, mkdir '${folder}'`), {
    code: "ENOENT",
  });
}

/**
 * Takes a folder away with all that is in it, and those above it that makeFolders made, up to
 * `first`, while nobody else has put anything into them.
 */
export function removeMadeFolders(folder: string, first: string): void {
  const top = path.resolve(first);
  let at = path.resolve(folder);
  rmSync(at, { recursive: true, force: true });
  while (at !== top) {
    at = path.dirname(at);
    try {
      rmdirSync(at);
    } catch {
      return; // somebody uses it
    }
  }
}

function isFolder(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}
