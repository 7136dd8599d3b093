// The model and the drawing of operations.
import { describe, expect, it } from "vitest";
import { FamilyModel, type Place } from "./family-model.js";
import { compare, ImageModel } from "./model.js";
import {
  conflicts,
  maxSizeBytes,
  minSizeBytes,
  type Operation,
  OperationSource,
} from "./operations.js";

describe("the model of a family", () => {
  it("keeps what a snapshot, a clone and what was rolled back show", () => {
    const family = new FamilyModel(minSizeBytes);
    family.current.write(1, 0, 512);
    family.createSnapshot(5);
    family.current.write(2, 0, 512);
    family.current.resize(minSizeBytes + 4096);
    const shown = (place: Place) => family.at(place).expected(0, 512);
    const first = new ImageModel(minSizeBytes).write(1, 0, 512);
    expect(compare(shown({ image: 0, snapshot: 5 }), first, 0)).toBeUndefined();
    expect(compare(shown({ image: 0 }), first, 0)).toBeDefined();
    family.clone({ image: 0, snapshot: 5 }, 1);
    expect(family.image).toBe(1);
    expect(family.current.sizeBytes).toBe(minSizeBytes);
    family.createSnapshot(6);
    family.current.zero(0, 512);
    expect(compare(shown({ image: 0, snapshot: 5 }), first, 0)).toBeUndefined();
    family.rollback(6);
    expect(compare(shown({ image: 1 }), first, 0)).toBeUndefined();
    family.current.zero(0, 512);
    expect(compare(shown({ image: 1, snapshot: 6 }), first, 0)).toBeUndefined();
    expect(family.placesAside()).toHaveLength(3);
    family.removeImage(0);
    expect(family.placesAside()).toEqual([{ image: 1, snapshot: 6 }]);
  });
});

describe("the model", () => {
  it("holds what was written, and tells whose bytes are in the wrong place", () => {
    const model = new ImageModel(minSizeBytes);
    model.write(3, 8192, 4096);
    const later = model.write(4, 8192, 512);
    expect(compare(model.expected(8192, 512), later, 8192)).toBeUndefined();
    const old = new ImageModel(minSizeBytes).write(3, 8192, 512);
    expect(compare(model.expected(8192, 512), old, 8192)).toEqual({
      offset: 8196,
      text:
        "found bytes that operation 3 wrote to 8192, " +
        "expected bytes that operation 4 wrote to 8192",
    });
    expect(compare(model.expected(0, 8), old.subarray(0, 4), 0)?.text).toContain("4 bytes instead");
  });

  it("discards whole blocks only", () => {
    const model = new ImageModel(minSizeBytes);
    model.write(0, 0, 16_384);
    model.discard(512, 8192);
    expect(model.isZero(4096, 4096)).toBe(true);
    expect(model.isZero(0, 4096)).toBe(false);
    expect(model.isZero(8192, 512)).toBe(false);
    model.discard(12_800, 512);
    expect(model.isZero(12_800, 512)).toBe(false);
  });

  it("shows zeros behind a shrink and a growth", () => {
    const model = new ImageModel(minSizeBytes);
    model.write(0, minSizeBytes - 4096, 4096);
    model.resize(minSizeBytes - 512);
    model.resize(minSizeBytes);
    expect(model.isZero(minSizeBytes - 512, 512)).toBe(true);
    expect(model.isZero(minSizeBytes - 4096, 512)).toBe(false);
  });
});

/** Follows the sizes that a list of operations leads to. */
class Sizes {
  private readonly places = new Map([["0@", minSizeBytes]]);
  current = 0;

  of(image: number, snapshot: number | "" = ""): number {
    const sizeBytes = this.places.get(`${image}@${snapshot}`);
    if (sizeBytes === undefined) throw new Error(`there is no ${image}@${snapshot}`);
    return sizeBytes;
  }

  after(operation: Operation): void {
    const { current, places } = this;
    const head = `${current}@`;
    if (operation.kind === "resize") places.set(head, operation.sizeBytes);
    if (operation.kind === "snapCreate") {
      places.set(`${current}@${operation.snapshot}`, this.of(current));
    } else if (operation.kind === "snapRemove") {
      this.of(operation.image, operation.snapshot);
      places.delete(`${operation.image}@${operation.snapshot}`);
    } else if (operation.kind === "rollback") {
      places.set(head, this.of(current, operation.snapshot));
    } else if (operation.kind === "clone") {
      places.set(`${operation.clone}@`, this.of(operation.image, operation.snapshot));
      this.current = operation.clone;
    } else if (operation.kind === "retire") {
      for (const snapshot of operation.snapshots) places.delete(`${current}@${snapshot}`);
      for (const place of places.keys()) {
        if (operation.images.some((image) => place.startsWith(`${image}@`))) places.delete(place);
      }
      expect([...places.keys()].every((place) => place.startsWith(head))).toBe(true);
    }
  }
}

describe("the operations", () => {
  it("depend on the seed alone, stay inside what they touch and cover every kind", () => {
    const draw = (seed: bigint) => {
      const source = new OperationSource(seed, minSizeBytes);
      return Array.from({ length: 3000 }, () => source.next());
    };
    const list = draw(7n);
    expect(draw(7n)).toEqual(list);
    expect(draw(8n)).not.toEqual(list);
    const sizes = new Sizes();
    for (const operation of list) {
      sizes.after(operation);
      expect(sizes.of(sizes.current)).toBeLessThanOrEqual(maxSizeBytes);
      if (!("offset" in operation)) continue;
      const sizeBytes =
        operation.kind === "snapRead"
          ? sizes.of(operation.image, operation.snapshot)
          : sizes.of(sizes.current);
      expect(operation.lengthBytes).toBeGreaterThan(0);
      expect(operation.offset % 512).toBe(0);
      expect(operation.lengthBytes % 512).toBe(0);
      expect(operation.offset + operation.lengthBytes).toBeLessThanOrEqual(sizeBytes);
    }
    expect(new Set(list.map(({ kind }) => kind)).size).toBe(17);
  });

  it("clone clones, up to four images", () => {
    const source = new OperationSource(7n, minSizeBytes);
    const images: number[] = [0];
    let longest = 0;
    for (let i = 0; i < 10_000; ++i) {
      const operation = source.next();
      if (operation.kind === "clone") images.push(operation.clone);
      if (operation.kind === "retire") images.splice(0, images.length - 1);
      longest = Math.max(longest, images.length);
    }
    expect(longest).toBe(4);
  });

  it("go together when they share no block, or only read", () => {
    const write = { kind: "write", offset: 0, lengthBytes: 512 } as const;
    expect(conflicts(write, { kind: "read", offset: 512, lengthBytes: 512 })).toBe(true);
    expect(conflicts(write, { kind: "read", offset: 4096, lengthBytes: 512 })).toBe(false);
    expect(conflicts(write, { kind: "flush" })).toBe(true);
    const read = { kind: "read", offset: 0, lengthBytes: 512 } as const;
    expect(conflicts(read, read)).toBe(false);
  });

  it("go beside a flattening and a look at a snapshot when they change neither", () => {
    const write = { kind: "write", offset: 0, lengthBytes: 512 } as const;
    const look = { ...write, kind: "snapRead", image: 0, snapshot: 0, path: "nbd" } as const;
    const take = { kind: "snapCreate", snapshot: 1 } as const;
    for (const beside of [look, { kind: "flatten" } as const]) {
      expect(conflicts(beside, write)).toBe(false);
      expect(conflicts(write, beside)).toBe(false);
      expect(conflicts(take, beside)).toBe(false);
      expect(conflicts({ kind: "snapRemove", image: 0, snapshot: 0 }, beside)).toBe(true);
      expect(conflicts({ kind: "reopen", path: "nbd" }, beside)).toBe(true);
    }
    expect(conflicts(take, write)).toBe(true);
  });
});
