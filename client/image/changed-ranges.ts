// What an image has itself that differs from one of its snapshots, as a list.
import type { DeviceHandle } from "../../native/binding.js";
import { blockBytes } from "./header.js";
import type { Scope } from "./scope.js";

export interface ChangedRange {
  offset: number;
  lengthBytes: number;
  /** as diffImage() tells */
  state: number;
}

export const stateZero = 1;

export const wholeBlocks = (bytes: number): number => Math.ceil(bytes / blockBytes) * blockBytes;

/** @param fromSnap 0: from nothing */
export async function changedRanges(
  { io }: Scope,
  device: DeviceHandle,
  fromSnap: number,
): Promise<ChangedRange[]> {
  const ranges: ChangedRange[] = [];
  await io.diffImage(device, fromSnap, (triples) => {
    for (let at = 0; at + 1 < triples.length; at += 3) {
      const [offset = 0, lengthBytes = 0, state = 0] = triples.subarray(at, at + 3);
      ranges.push({ offset, lengthBytes, state });
    }
  });
  return ranges;
}
