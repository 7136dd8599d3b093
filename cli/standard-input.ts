// Standard input as the source of `cairn import -`. It is read where it stands, by programs that
// inherit it: opened anew a file would begin at its first byte, and a socket cannot be.
//
// What flows as raw data is handed on while it flows. Anything else has to be in a file first
// (qcow2 needs random access): it is spooled to TMPDIR.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fstatSync, readFileSync } from "node:fs";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { StorageError, toStorageError } from "../common/errors.js";

/** What came by a pipe: a stream of raw data, or a file with all of it. */
export type PipedInput =
  | {
      kind: "stream";
      fileDescriptor: number;
      /** After the last byte. @throws io_error: that was not the end of what came in */
      ended: () => Promise<void>;
      close: () => Promise<void>;
    }
  | { kind: "spool"; path: string; close: () => Promise<void> };

const headBytes = 512;

/** True for a file that nobody has read from: it may be opened by its name. */
export function isWholeFile(): boolean {
  if (!fstatSync(0).isFile()) return false;
  return /^pos:\s*0$/m.test(readFileSync("/proc/self/fdinfo/0", "utf8"));
}

/** @throws invalid_argument (empty), canceled by the signal, no_space (in TMPDIR), io_error */
export async function openPipe(signal: AbortSignal): Promise<PipedInput> {
  const folder = await mkdtemp(path.join(tmpdir(), "cairn-import-"));
  const close = () => rm(folder, { recursive: true, force: true });
  try {
    const head = path.join(folder, "head");
    await writeFile(head, await readHead(signal));
    if (await isRaw(head)) return await stream(folder, head, signal, close);
    const spool = path.join(folder, "spool");
    await spoolTo(spool, head, signal);
    return { kind: "spool", path: spool, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** The first bytes; the rest stays where it is. */
async function readHead(signal: AbortSignal): Promise<Buffer> {
  // Byte by byte: no program may take more than these, and keep it.
  const words = ["bs=1", `count=${headBytes}`, "status=none"];
  const head = spawn("dd", words, { stdio: ["inherit", "pipe", 2] });
  const parts: Buffer[] = [];
  head.stdout?.on("data", (part: Buffer) => parts.push(part));
  await endOf(head, signal);
  return Buffer.concat(parts);
}

/** @throws invalid_argument (empty), unsupported_feature (a format that is neither) */
async function isRaw(head: string): Promise<boolean> {
  const { FileSource, probe } = await import("../qcow2/index.js");
  if ((await readFile(head)).length === 0) {
    throw new StorageError("invalid_argument", "standard input is empty: there is no image", {
      remedy: "Name a file, or look at what the command before the pipe says.",
    });
  }
  const source = await FileSource.open(head);
  try {
    return (await probe(source)) === "raw";
  } finally {
    await source.close();
  }
}

/** The head and the rest of the pipe, put together again by cat in a named pipe. */
async function stream(
  folder: string,
  head: string,
  signal: AbortSignal,
  remove: () => Promise<void>,
): Promise<PipedInput> {
  const fifo = path.join(folder, "fifo");
  await endOf(spawn("mkfifo", ["-m", "0600", fifo], { stdio: ["ignore", "ignore", 2] }), signal);
  // Each end waits for the other one when it is opened, but not for one that is both.
  const both = await open(fifo, "r+");
  const input = await open(fifo, "r");
  const writer = await open(fifo, "w");
  await both.close();
  const cat = spawn("cat", ["--", head, "-"], { stdio: ["inherit", writer.fd, 2] });
  const end = endOf(cat, signal);
  end.catch(() => undefined); // whoever asks by ended() is told
  await writer.close(); // cat's is the only one: its end is that of the pipe
  return {
    kind: "stream",
    fileDescriptor: input.fd,
    ended: () => end,
    close: async () => {
      cat.kill();
      await input.close();
      await remove();
    },
  };
}

async function spoolTo(file: string, head: string, signal: AbortSignal): Promise<void> {
  const output = await open(file, "wx", 0o600);
  try {
    await endOf(spawn("cat", ["--", head, "-"], { stdio: ["inherit", output.fd, 2] }), signal);
  } catch (thrown) {
    const error = toStorageError(thrown);
    if (error.code !== "io_error") throw error;
    throw new StorageError("io_error", `cannot spool to ${tmpdir()}: ${error.message}`, {
      remedy: "It needs room there for all that comes in: TMPDIR names another folder.",
      cause: thrown,
    });
  } finally {
    await output.close();
  }
}

/**
 * Waits for the end of a program, which the signal brings about.
 * @throws canceled by the signal; io_error: it failed, what it has given is not all
 */
async function endOf(program: ChildProcess, signal: AbortSignal): Promise<void> {
  const stop = () => program.kill();
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    // "close", not "exit": by then all that it has printed is here.
    const [code, by] = (await once(program, "close")) as [number | null, string | null];
    if (signal.aborted) throw new StorageError("canceled", "stopped; nothing was imported");
    if (code === 0) return;
    const how = by === null ? `exit code ${code}` : by;
    throw new StorageError("io_error", `standard input was not read to its end (${how})`);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
