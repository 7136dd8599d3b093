// Decoding of records, and the stalls that are read off them.
import { expect, it } from "vitest";
import type { BlockOperation } from "../checkers/linearizability.js";
import { decodeRecords, pendingShare, percentiles, stallsMs } from "./histories.js";

function record(block: number, write: number, value: bigint, start: bigint, end: bigint): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.writeUInt32LE(block, 0);
  bytes.writeUInt32LE(write, 4);
  bytes.writeBigUInt64LE(value, 8);
  bytes.writeBigUInt64LE(start, 16);
  bytes.writeBigUInt64LE(end, 24);
  return bytes;
}

const never = 0xffff_ffff_ffff_ffffn;

function answered(client: number, ...endsMs: number[]): BlockOperation[] {
  return endsMs.map((endMs) => ({
    client,
    block: "b",
    kind: "read",
    value: "0",
    startNs: 0,
    endNs: endMs * 1e6,
  }));
}

it("decodes records", () => {
  const bytes = Buffer.concat([
    record(3, 1, (5n << 40n) | 1n, 10n, 20n),
    record(4, 0, 0n, 11n, 21n),
    record(4, 0, never, 12n, 22n),
    record(5, 1, 9n, 13n, never),
    record(6, 2, 8n, 14n, 24n),
  ]);
  const operations = decodeRecords(bytes, "disk", 5);
  expect(operations).toEqual([
    {
      client: 5,
      block: "disk/3",
      kind: "write",
      value: "5497558138881",
      startNs: 10,
      endNs: 20,
      fenced: false,
    },
    { client: 5, block: "disk/4", kind: "read", value: "0", startNs: 11, endNs: 21, fenced: false },
    {
      client: 5,
      block: "disk/4",
      kind: "read",
      value: "garbage",
      startNs: 12,
      endNs: 22,
      fenced: false,
    },
    {
      client: 5,
      block: "disk/5",
      kind: "write",
      value: "9",
      startNs: 13,
      endNs: Number.POSITIVE_INFINITY,
      fenced: false,
    },
    { client: 5, block: "disk/6", kind: "write", value: "8", startNs: 14, endNs: 24, fenced: true },
  ]);
  expect(pendingShare(operations)).toBe(0.2);
});

it("finds the longest wait of each client in a window", () => {
  const operations = [...answered(1, 90, 110, 700, 720, 5000), ...answered(2, 100, 150, 160)];
  // Client 1 waits from 110 to 700, client 2 to the end of the window.
  expect(stallsMs(operations, 100e6, 1000e6).sort((a, b) => a - b)).toEqual([840, 4280]);
  expect(stallsMs(answered(1, 90, 110, 700, 720, 800), 100e6, 800e6)).toEqual([590]);
});

it("percentiles are values that were there", () => {
  expect(percentiles([])).toBeUndefined();
  expect(percentiles([5, 1, 3])).toEqual({ p50: 3, p99: 5, max: 5, count: 3 });
});
