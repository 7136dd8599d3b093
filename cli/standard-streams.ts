// What becomes of a verb when its standard output or error cannot be written to: the reader has
// gone, the disk is full. Standard error carries messages and progress only: they are dropped.
// Standard output is why most verbs run: they end; not so one that serves others.
import { exitCodes, toStorageError } from "../common/errors.js";
import { errorText } from "./error-report.js";

let serves = false;

/** Has to be called before anything is written. @param argv decides on the form of an error */
export function guardStreams(argv: readonly string[]): void {
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    const hasReader = error.code !== "EPIPE";
    if (hasReader) {
      process.stderr.write(errorText(toStorageError(error, "write the output"), argv));
    }
    // `cairn pg ls | head`: nothing is left to say.
    if (!serves) process.exit(hasReader ? exitCodes.failure : exitCodes.success);
  });
}

/**
 * The first line of a verb that serves others until it is stopped: who reads it may go, and take no
 * service away from them.
 */
export function announce(line: string): void {
  serves = true;
  process.stdout.write(`${line}\n`);
}
