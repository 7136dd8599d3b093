// What happened in a simulated run, line by line: hashed always (two runs of a seed must agree),
// written to a file when somebody wants to read it.
import { createHash } from "node:crypto";
import { createWriteStream, type WriteStream } from "node:fs";
import pino from "pino";
import type { Logger } from "../../common/log.js";

export class Trace {
  private readonly digest = createHash("sha256");
  private readonly file: WriteStream | undefined;
  lines = 0;

  /** @param nowNs virtual time of each line */
  constructor(
    private readonly nowNs: () => number,
    path?: string,
  ) {
    this.file = path === undefined ? undefined : createWriteStream(path);
  }

  add(what: string): void {
    const line = `${(this.nowNs() / 1e6).toFixed(6)} ${what}\n`;
    this.lines += 1;
    this.digest.update(line);
    this.file?.write(line);
  }

  /** A logger whose lines become part of the trace. */
  logger(daemon: string): Logger {
    return pino(
      { level: "debug", base: null, timestamp: false },
      { write: (line: string) => this.add(`${daemon} ${line.trimEnd()}`) },
    );
  }

  /** Ends the trace. @returns its hash */
  async close(): Promise<string> {
    const { file } = this;
    if (file !== undefined) await new Promise<void>((resolve) => file.end(() => resolve()));
    return this.digest.digest("hex").slice(0, 16);
  }
}
