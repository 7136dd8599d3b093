// The control socket of a disk that misbehaves: requests, refusals, what a later life starts with.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import type { DiskFaults } from "../native/index.js";
import { type FaultAnswer, FaultControl } from "./fault-control.js";

const counters = { heldBlocks: 1, flushedBlocks: 2, failed: 3, delayed: 4, flipped: 5 };
let folder = "";
let control: FaultControl;
let applied: DiskFaults[] = [];
let refuses = false;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "cairn-fault-"));
  applied = [];
  refuses = false;
  // What a killed process has left is taken over.
  writeFileSync(path.join(folder, "socket"), "");
  control = await FaultControl.listen(path.join(folder, "socket"), async (faults) => {
    if (refuses) throw new StorageError("not_active", "the store is not open");
    applied.push(faults);
    return counters;
  });
});

afterEach(() => {
  control.close();
  rmSync(folder, { recursive: true });
});

function ask(line: string): Promise<FaultAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(path.join(folder, "socket"));
    socket.on("error", reject);
    createInterface({ input: socket }).on("line", (answer) => {
      socket.destroy();
      resolve(JSON.parse(answer));
    });
    socket.write(`${line}\n`);
  });
}

it("applies what is named, and nothing else but holding writes", async () => {
  expect(await ask('{"delayMs": 20}')).toEqual({ counters });
  expect(applied).toEqual([
    {
      holdWrites: true,
      writeBackPercent: 0,
      delayMs: 20,
      operationsPerSecond: 0,
      failReads: false,
      failWrites: false,
      failFlushes: false,
      full: false,
      flipReads: 0,
    },
  ]);
  expect(control.faults.delayMs).toBe(20);
  await ask('{"holdWrites": false}');
  expect(control.faults).toMatchObject({ delayMs: 0, holdWrites: false });
});

it("changes nothing when it refuses", async () => {
  await ask('{"full": true}');
  for (const line of ["{", '{"fulll": true}', '{"delayMs": -1}', "[]"]) {
    expect(await ask(line)).toHaveProperty("error");
  }
  refuses = true;
  expect(await ask('{"full": false}')).toEqual({ error: "the store is not open" });
  expect(control.faults.full).toBe(true);
  expect(applied).toHaveLength(1);
});
