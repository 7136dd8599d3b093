// Makes a folder and those above it that are not there. In place of mkdir's `recursive`, which asks
// for ever where a folder that is there takes none (ENOENT in /proc).
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";

/**
 * @returns the first folder that had to be made; undefined: all were there
 * @throws the system error; EEXIST when something else has the name
 */
export function makeFolders(folder: string, mode: number): string | undefined {
  try {
    mkdirSync(folder, { mode });
    return folder;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "EEXIST" && isFolder(folder)) return undefined;
    const above = path.dirname(folder);
    if (code !== "ENOENT" || above === folder) throw thrown;
    const first = makeFolders(above, mode);
    // Once only, whatever it says: the folder above it is there.
    mkdirSync(folder, { mode });
    return first ?? folder;
  }
}

function isFolder(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}
