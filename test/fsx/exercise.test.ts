// The exercise finds what a bad disk does: it runs here over disks in memory.
import { describe, expect, it } from "vitest";
import type { Disk, View } from "./disk.js";
import { Exercise, Finding, type ImagePort } from "./exercise.js";
import type { Place } from "./family-model.js";
import { maxSizeBytes, minSizeBytes, OperationSource } from "./operations.js";

type Spoil = (disk: Disk, bytes: Buffer) => Partial<Disk>;

/** What an image or a snapshot holds. */
interface Contents {
  bytes: Buffer;
  sizeBytes: number;
}

const keyOf = ({ image, snapshot }: Place) => `${image}@${snapshot ?? ""}`;
const copyOf = ({ bytes, sizeBytes }: Contents) => ({ bytes: Buffer.from(bytes), sizeBytes });

class MemoryImages implements ImagePort {
  readonly places = new Map<string, Contents>();
  private lose: (error: { code: string }) => void = () => undefined;
  private isStolen = false;

  /** @param spoil may change what an operation does */
  constructor(private readonly spoil: Spoil) {
    const bytes = Buffer.alloc(maxSizeBytes);
    this.places.set(keyOf({ image: 0 }), { bytes, sizeBytes: minSizeBytes });
  }

  at(place: Place): Contents {
    const found = this.places.get(keyOf(place));
    if (found === undefined) throw new Error(`there is no ${keyOf(place)}`);
    return found;
  }

  async open(image: number): Promise<Disk> {
    const { bytes, sizeBytes } = this.at({ image });
    const zero = async (offset: number, lengthBytes: number) => {
      bytes.fill(0, offset, offset + lengthBytes);
    };
    const disk: Disk = {
      sizeBytes,
      read: async (offset, lengthBytes) => {
        if (this.isStolen) throw new Error("fenced");
        return Uint8Array.from(bytes.subarray(offset, offset + lengthBytes));
      },
      write: async (offset, data) => {
        if (this.isStolen) throw new Error("fenced");
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
        this.lose = resolve;
      }),
      close: async () => undefined,
    };
    return Object.assign(disk, this.spoil({ ...disk }, bytes));
  }

  async view(place: Place): Promise<View> {
    const { bytes, sizeBytes } = this.at(place);
    return {
      sizeBytes,
      read: async (offset, length) => Uint8Array.from(bytes.subarray(offset, offset + length)),
      close: async () => undefined,
    };
  }

  async stealLock() {
    this.isStolen = true;
    this.lose({ code: "fenced" });
    return async () => {
      this.isStolen = false;
    };
  }

  async resize(image: number, next: number): Promise<void> {
    const contents = this.at({ image });
    contents.bytes.fill(0, next);
    contents.sizeBytes = next;
  }

  async createSnapshot(place: Required<Place>): Promise<void> {
    this.places.set(keyOf(place), copyOf(this.at({ image: place.image })));
  }

  async removeSnapshot(place: Required<Place>): Promise<void> {
    this.at(place);
    this.places.delete(keyOf(place));
  }

  async rollback(place: Required<Place>): Promise<void> {
    const head = this.at({ image: place.image });
    const { bytes, sizeBytes } = this.at(place);
    bytes.copy(head.bytes);
    head.sizeBytes = sizeBytes;
  }

  async clone(place: Required<Place>, image: number): Promise<void> {
    this.places.set(keyOf({ image }), copyOf(this.at(place)));
  }

  async flatten(image: number): Promise<void> {
    this.at({ image });
  }

  async removeImage(image: number): Promise<void> {
    for (const key of this.places.keys()) {
      if (key.startsWith(keyOf({ image }))) this.places.delete(key);
    }
  }
}

const memoryPort = (spoil: Spoil = () => ({})): MemoryImages => new MemoryImages(spoil);

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

  it("finds a changing snapshot, a bad rollback, clone, flatten, removal and size", async () => {
    const spoilers: ((images: MemoryImages) => Partial<ImagePort>)[] = [
      // The snapshot is the head itself.
      (images) => ({
        createSnapshot: async (place) => {
          images.places.set(keyOf(place), images.at({ image: place.image }));
        },
      }),
      () => ({ rollback: async () => undefined }),
      // The clone shows its parent's head; it is its parent's snapshot.
      (images) => ({
        clone: async ({ image: parent }, image) => {
          images.places.set(keyOf({ image }), copyOf(images.at({ image: parent })));
        },
      }),
      (images) => ({
        clone: async (place, image) => {
          images.places.set(keyOf({ image }), images.at(place));
        },
      }),
      (images) => ({
        flatten: async (image) => {
          images.at({ image }).bytes.fill(0, 0, minSizeBytes);
        },
      }),
      () => ({ flatten: () => Promise.reject(new Error("no")) }),
      // Goes with all snapshots of its image.
      (images) => ({
        removeSnapshot: async ({ image }) => {
          for (const key of images.places.keys()) {
            if (key.startsWith(`${image}@`) && key !== `${image}@`) images.places.delete(key);
          }
        },
      }),
      // Goes with the image that is worked on.
      (images) => ({ removeImage: async () => images.places.clear() }),
      (images) => ({
        view: async (place) => ({
          ...(await MemoryImages.prototype.view.call(images, place)),
          sizeBytes: 4096,
        }),
      }),
    ];
    for (const spoil of spoilers) {
      const images = memoryPort();
      await expect(exercise(Object.assign(images, spoil(images)))).rejects.toBeInstanceOf(Finding);
    }
  });
});
