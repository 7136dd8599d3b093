// Starts of this monitor that ended before it served anybody: counted in a file of its folder,
// because then no process is left that /metrics could ask. The monitor that starts there next
// shows the count, and so does one that runs while a second one is started beside it.
//
// A count, no record: two starts that are refused at the same moment may count as one, and a file
// that cannot be read or written costs the count, never the start.
import { readFile, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { Type } from "@sinclair/typebox";
import type { ErrorCode } from "../common/errors.js";
import { Checker } from "../common/schema.js";

const CountsSchema = Type.Record(Type.String(), Type.Integer({ minimum: 1 }));
const checker = new Checker(CountsSchema, "count of refused starts", "corrupt");

export type RefusedStarts = Readonly<Partial<Record<ErrorCode, number>>>;

function fileIn(dataDir: string): string {
  return path.join(dataDir, "refused-starts.json");
}

/** @returns by error code, since the folder was made; nothing when there is no such file */
export async function readRefusedStarts(dataDir: string): Promise<RefusedStarts> {
  try {
    return checker.check(JSON.parse(await readFile(fileIn(dataDir), "utf8")));
  } catch {
    return {};
  }
}

/** Counts one more, if the folder is a monitor's: nothing is put into a folder named by mistake. */
export async function countRefusedStart(dataDir: string, code: ErrorCode): Promise<void> {
  const file = fileIn(dataDir);
  try {
    await stat(path.join(dataDir, "head"));
    const counts = await readRefusedStarts(dataDir);
    const text = JSON.stringify({ ...counts, [code]: (counts[code] ?? 0) + 1 });
    await writeFile(`${file}.new`, `${text}\n`, { mode: 0o600 });
    await rename(`${file}.new`, file);
  } catch {
    // The error of the start itself is what the operator needs.
  }
}
