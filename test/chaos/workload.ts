// The clients: which devices there are, who uses which, and their processes.
//
// Clients 1 to 4 share raw objects, 5 has an image of its own, 6 to 8 fight for the exclusive lock
// of another one.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { HistoryOptions, HistoryResult } from "../../native/index.js";
import type { ClientTask } from "./client.js";
import { decodeRecords, type RecordedOperation } from "./histories.js";

export type Device =
  | { kind: "objects"; name: string; sizeBytes: number }
  | { kind: "image"; name: string; sizeBytes: number }
  /** an image that is used under its exclusive lock only */
  | { kind: "locked"; name: string; sizeBytes: number };

const deviceBytes = 32 << 20;
/** 8 blocks in each 4 MiB object */
export const strideBytes = 512 << 10;
export const blocksPerDevice = deviceBytes / strideBytes;

const shared: Device = { kind: "objects", name: "chaos_shared", sizeBytes: deviceBytes };
/** The image that clients fight for. */
export const fought: Device = { kind: "locked", name: "fought", sizeBytes: deviceBytes };

/** The device of each client. */
export const devices: readonly Device[] = [
  shared,
  shared,
  shared,
  shared,
  { kind: "image", name: "own", sizeBytes: deviceBytes },
  fought,
  fought,
  fought,
];

/** Client numbers of the final reads: beyond all others. */
export const finalClient = 100;

export interface ClientResult {
  client: number;
  device: Device;
  operations: RecordedOperation[];
  /** one; of a device under its lock: one more for each time that another client took it over */
  sessions: number;
  failed: number;
  firstError: string | undefined;
}

export interface RunningClient {
  client: number;
  pid: number | undefined;
  device: Device;
  /** settles when its device is open */
  ready: Promise<void>;
  go(): void;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** Ends the process; its result is an error then. */
  kill(): void;
  /** @throws when the process ended without a result */
  result: Promise<ClientResult>;
}

export interface LoadShape {
  queueDepth: number;
  writePercent: number;
  pauseMs: number;
}

/** Writes and reads for loadMs, then up to drainMs of waiting for answers. */
export function mixedHistory(
  client: number,
  seed: number,
  loadMs: number,
  shape: LoadShape,
): HistoryOptions {
  return {
    mode: "mixed",
    client,
    blocks: blocksPerDevice,
    strideBytes,
    ...shape,
    durationMs: loadMs,
    drainMs: 30_000,
    seed: seed * 1000 + client,
  };
}

/** Reads each block once. */
export function finalReads(client: number): HistoryOptions {
  const shape = { queueDepth: 8, writePercent: 0, pauseMs: 0 };
  return { ...mixedHistory(client, 1, 0, shape), mode: "sweep" };
}

export function startClient(
  dir: string,
  monitor: ClientTask["monitor"],
  device: Device,
  history: HistoryOptions,
): RunningClient {
  const { client } = history;
  const output = path.join(dir, `client.${client}.history`);
  const task: ClientTask = { monitor, device, history, output };
  const script = fileURLToPath(new URL("./client.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(task)], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  const failure = async () => new Error(`client ${client}: exit code ${await ended}\n${said}`);
  const result = ended.then(async (code) => {
    if (code !== 0 || !existsSync(`${output}.json`)) throw await failure();
    const sessions = JSON.parse(readFileSync(`${output}.json`, "utf8")) as Omit<
      HistoryResult,
      "records"
    >[];
    return {
      client,
      device,
      operations: decodeRecords(readFileSync(output), device.name, client),
      sessions: sessions.length,
      failed: sessions.reduce((sum, of) => sum + of.failedReads + of.failedWrites, 0),
      firstError: sessions.find((of) => of.failedReads + of.failedWrites > 0)?.firstError,
    };
  });
  result.catch(() => undefined);
  return {
    client,
    pid: child.pid,
    device,
    ready: untilReady(child, ended, failure),
    go: () => child.stdin.write("\n"),
    signal: (signal) => child.kill(signal),
    kill: () => child.kill("SIGKILL"),
    result,
  };
}

function untilReady(
  child: ChildProcess,
  ended: Promise<unknown>,
  failure: () => Promise<Error>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error("the client has no output");
    createInterface({ input: child.stdout }).on("line", () => resolve());
    void ended.then(async () => reject(await failure()));
  });
}
