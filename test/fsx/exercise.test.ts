// The exercise finds what a bad disk does: it runs here over disks in memory.
import { describe, expect, it } from "vitest";
import type { Disk } from "./disk.js";
import { Exercise, Finding, type ImagePort } from "./exercise.js";
import { maxSizeBytes, minSizeBytes, OperationSource } from "./operations.js";

/** A disk in memory; `spoil` may change what an operation does. */
function memoryPort(spoil: (disk: Disk, bytes: Buffer) => Partial<Disk> = () => ({})): ImagePort {
  const bytes = Buffer.alloc(maxSizeBytes);
  let sizeBytes = minSizeBytes;
  let lose: (error: { code: string }) => void = () => undefined;
  let isStolen = false;
  const zero = async (offset: number, lengthBytes: number) => {
    bytes.fill(0, offset, offset + lengthBytes);
  };
  return {
    open: async () => {
      const disk: Disk = {
        sizeBytes,
        read: async (offset, lengthBytes) => {
          if (isStolen) throw new Error("fenced");
          return Uint8Array.from(bytes.subarray(offset, offset + lengthBytes));
        },
        write: async (offset, data) => {
          if (isStolen) throw new Error("fenced");
          bytes.set(data, offset);
        },
        writeZeroes: zero,
        discard: async (offset, lengthBytes) => {
          const begin = Math.ceil(offset / 4096) * 4096;
          const end = Math.floor((offset + lengthBytes) / 4096) * 4096;
          if (begin < end) await zero(begin, end - begin);
        },
        flush: async () => undefined,
        zeroRuns: async () => [],
        lockLost: new Promise((resolve) => {
          lose = resolve;
        }),
        close: async () => undefined,
      };
      return Object.assign(disk, spoil({ ...disk }, bytes));
    },
    stealLock: async () => {
      isStolen = true;
      lose({ code: "fenced" });
      return async () => {
        isStolen = false;
      };
    },
    resize: async (next) => {
      if (next < sizeBytes) await zero(next, sizeBytes - next);
      sizeBytes = next;
    },
  };
}

async function exercise(port: ImagePort, operations = 1500): Promise<void> {
  const source = new OperationSource(11n, minSizeBytes);
  const run = await Exercise.begin(port, "library", minSizeBytes);
  for (let i = 0; i < operations; ++i) await run.run(source.next());
  await run.finish();
}

describe("the exercise", () => {
  it("accepts a good disk", async () => {
    await expect(exercise(memoryPort())).resolves.toBeUndefined();
  });

  it("finds a lost write, a long discard, a false zero, a failure and a wrong size", async () => {
    let writes = 0;
    const spoilers: ((disk: Disk, bytes: Buffer) => Partial<Disk>)[] = [
      (disk) => ({
        write: async (offset, data) => {
          writes += 1;
          if (writes % 50 !== 0) await disk.write(offset, data);
        },
      }),
      (disk) => ({ discard: (offset, length) => disk.writeZeroes(offset, length, true) }),
      () => ({ zeroRuns: async (offset, lengthBytes) => [{ offset, lengthBytes }] }),
      () => ({ flush: () => Promise.reject(new Error("no")) }),
      () => ({ sizeBytes: 4096 }),
      // After a takeover: a write that is accepted, one that is refused and yet done, no "fenced".
      (_, bytes) => ({
        write: async (offset, data) => {
          bytes.set(data, offset);
        },
      }),
      (disk, bytes) => ({
        write: async (offset, data) => {
          bytes.set(data, offset);
          await disk.write(offset, data);
        },
      }),
      () => ({ lockLost: Promise.resolve({ code: "io_error" }) }),
    ];
    for (const spoil of spoilers) {
      await expect(exercise(memoryPort(spoil))).rejects.toBeInstanceOf(Finding);
    }
  });
});
