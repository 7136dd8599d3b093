// The clients: which devices there are, who uses which, and their processes.
//
// Clients 1 to 4 share raw objects, 5 and 6 have an image each, 7 and 8 share an image without its
// exclusive lock. Who fights for a lock belongs into `devices` as another kind.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { HistoryOptions, HistoryResult } from "../../native/index.js";
import type { BlockOperation } from "../checkers/linearizability.js";
import type { ClientTask } from "./client.js";
import { decodeRecords } from "./histories.js";

export type Device =
  | { kind: "objects"; name: string; sizeBytes: number }
  | { kind: "image"; name: string; sizeBytes: number };

const deviceBytes = 32 << 20;
/** 8 blocks in each 4 MiB object */
export const strideBytes = 512 << 10;
export const blocksPerDevice = deviceBytes / strideBytes;

const shared: Device = { kind: "objects", name: "chaos_shared", sizeBytes: deviceBytes };
const image = (name: string): Device => ({ kind: "image", name, sizeBytes: deviceBytes });
const contended = image("contended");

/** The device of each client. */
export const devices: readonly Device[] = [
  shared,
  shared,
  shared,
  shared,
  image("own-5"),
  image("own-6"),
  contended,
  contended,
];

/** Client numbers of the final reads: beyond all others. */
export const finalClient = 100;

export interface ClientResult extends Omit<HistoryResult, "records"> {
  client: number;
  device: Device;
  operations: BlockOperation[];
}

export interface RunningClient {
  device: Device;
  /** settles when its device is open */
  ready: Promise<void>;
  go(): void;
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
    const rest = JSON.parse(readFileSync(`${output}.json`, "utf8")) as Omit<
      HistoryResult,
      "records"
    >;
    const operations = decodeRecords(readFileSync(output), device.name, client);
    return { client, device, operations, ...rest };
  });
  result.catch(() => undefined);
  return {
    device,
    ready: untilReady(child, ended, failure),
    go: () => child.stdin.write("\n"),
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
