// A disk that again and again gives nothing back. One unreadable sector is mended from another copy
// (docs/operating/scrub.md); a disk with many of them is at its end, and its OSD says so. Pure.
import { StorageError } from "../common/errors.js";

/** So many reads of clients that the disk fails, in so long. */
const maxErrors = 16;
const windowMs = 60_000;

export class ReadErrors {
  private timesMs: number[] = [];

  /**
   * @param damage that a read has met, as "CODE: what was wrong"
   * @returns why the OSD has to end; undefined: it may go on
   */
  met(damage: string, nowMs: number): StorageError | undefined {
    // What reads well but wrong is the matter of scrubs: the medium itself answers.
    if (!damage.startsWith("io_error")) return undefined;
    this.timesMs = [...this.timesMs, nowMs].filter((atMs) => nowMs - atMs < windowMs);
    if (this.timesMs.length < maxErrors) return undefined;
    const text = `${maxErrors} reads of the disk failed in ${windowMs / 1000} s, the last one by`;
    return new StorageError("io_error", `${text} ${damage}`);
  }
}
