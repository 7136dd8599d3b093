// What differs between two moments of an image, as a stream of extents.
import type { DeviceHandle, NativeClient } from "../../native/binding.js";

export type ExtentState = "absent" | "zero" | "data";

export interface DiffExtent {
  /** of the image, in bytes */
  offset: number;
  length: number;
  /** what is there at the later moment */
  state: ExtentState;
}

export interface DiffOptions {
  /** whole objects that may differ, found without asking for their blocks */
  wholeObject?: boolean;
}

const states: readonly ExtentState[] = ["absent", "zero", "data"];

/**
 * The extents in order of their offsets.
 * @param fromSnap id; 0: from nothing
 */
export async function* diffExtents(
  io: Pick<NativeClient, "diffImage" | "cancelJobs">,
  device: DeviceHandle,
  fromSnap: number,
  options: DiffOptions = {},
): AsyncGenerator<DiffExtent> {
  let batch: Float64Array | undefined;
  let taken = () => {};
  let wake = () => {};
  let [over, failure]: [boolean, unknown] = [false, undefined];
  const finish = (thrown?: unknown) => {
    [over, failure] = [true, thrown];
    wake();
  };
  // The next batch comes when this one has been taken.
  const onExtents = (triples: Float64Array) =>
    new Promise<void>((resolve) => {
      [batch, taken] = [triples, resolve];
      wake();
    });
  io.diffImage(device, fromSnap, onExtents, options).then(() => finish(), finish);
  try {
    for (;;) {
      if (batch !== undefined) {
        yield* extentsOf(batch);
        batch = undefined;
        taken();
      } else if (over) break;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    // Whoever reads no further needs no more of it.
    if (!over) io.cancelJobs(device);
    taken();
  }
  if (failure !== undefined) throw failure;
}

function* extentsOf(triples: Float64Array): Generator<DiffExtent> {
  for (let at = 0; at + 2 < triples.length; at += 3) {
    const [offset = 0, length = 0, state = 0] = triples.subarray(at, at + 3);
    yield { offset, length, state: states[state] ?? "absent" };
  }
}
