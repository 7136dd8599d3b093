// Faults of an OSD's disk, told while it runs: for tests with real processes only
// (`cairn osd --fault-disk SOCKET`). Whoever may open the socket may destroy the store.
//
// One JSON object a line. Request: the faults that are wanted, those that are not named are off,
// but holdWrites, which is on. Answer: {"counters": ...}, or {"error": "..."} and nothing has
// changed. The faults stay over the lives of an OSD in one process.
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { type Static, Type } from "@sinclair/typebox";
import { StorageError, toStorageError } from "../common/errors.js";
import { Checker } from "../common/schema.js";
import type { DiskFaultCounters, DiskFaults } from "../native/index.js";

const RequestSchema = Type.Object(
  {
    holdWrites: Type.Optional(Type.Boolean()),
    writeBackPercent: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
    delayMs: Type.Optional(Type.Number({ minimum: 0, maximum: 3_600_000 })),
    operationsPerSecond: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
    failReads: Type.Optional(Type.Boolean()),
    failWrites: Type.Optional(Type.Boolean()),
    failFlushes: Type.Optional(Type.Boolean()),
    full: Type.Optional(Type.Boolean()),
    flipReads: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
  },
  { additionalProperties: false },
);
export type FaultRequest = Static<typeof RequestSchema>;
export type FaultAnswer = { counters: DiskFaultCounters } | { error: string };
const checker = new Checker(RequestSchema, "disk faults", "invalid_argument");

const noFaults: DiskFaults = {
  holdWrites: true,
  writeBackPercent: 0,
  delayMs: 0,
  operationsPerSecond: 0,
  failReads: false,
  failWrites: false,
  failFlushes: false,
  full: false,
  flipReads: 0,
};

/** Puts the faults in force. */
export type ApplyFaults = (faults: DiskFaults) => Promise<DiskFaultCounters>;

export class FaultControl {
  /** in force; a life that begins starts with them */
  faults: DiskFaults = noFaults;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly apply: ApplyFaults,
  ) {
    server.on("connection", (socket) => this.serve(socket));
  }

  /** @throws address_in_use, permission_denied, not_found (its folder) */
  static async listen(path: string, apply: ApplyFaults): Promise<FaultControl> {
    // That of a process that was killed.
    rmSync(path, { force: true });
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(toStorageError(error, `listen at ${path}`)));
      server.listen(path, resolve);
    });
    return new FaultControl(server, apply);
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private serve(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    const lines = createInterface({ input: socket });
    // It passes the errors of its input on.
    lines.on("error", () => undefined);
    lines.on("line", (line) => {
      void this.answer(line).then((answer) => socket.write(`${JSON.stringify(answer)}\n`));
    });
  }

  private async answer(line: string): Promise<FaultAnswer> {
    try {
      const faults = { ...noFaults, ...checker.check(parsed(line)) };
      const counters = await this.apply(faults);
      this.faults = faults;
      return { counters };
    } catch (thrown) {
      return { error: toStorageError(thrown).message };
    }
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new StorageError("invalid_argument", "the request is not JSON");
  }
}
