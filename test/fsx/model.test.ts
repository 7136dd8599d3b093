// The model and the drawing of operations.
import { describe, expect, it } from "vitest";
import { compare, ImageModel } from "./model.js";
import { conflicts, maxSizeBytes, minSizeBytes, OperationSource } from "./operations.js";

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

describe("the operations", () => {
  it("depend on the seed alone, stay inside the image and cover every kind", () => {
    const draw = (seed: bigint) => {
      const source = new OperationSource(seed, minSizeBytes);
      return Array.from({ length: 3000 }, () => source.next());
    };
    const list = draw(7n);
    expect(draw(7n)).toEqual(list);
    expect(draw(8n)).not.toEqual(list);
    let sizeBytes = minSizeBytes;
    for (const operation of list) {
      if (operation.kind === "resize") sizeBytes = operation.sizeBytes;
      if (!("offset" in operation)) continue;
      expect(operation.lengthBytes).toBeGreaterThan(0);
      expect(operation.offset % 512).toBe(0);
      expect(operation.lengthBytes % 512).toBe(0);
      expect(operation.offset + operation.lengthBytes).toBeLessThanOrEqual(sizeBytes);
    }
    expect(sizeBytes).toBeLessThanOrEqual(maxSizeBytes);
    expect(new Set(list.map(({ kind }) => kind)).size).toBe(10);
  });

  it("go together when they share no block, or only read", () => {
    const write = { kind: "write", offset: 0, lengthBytes: 512 } as const;
    expect(conflicts(write, { kind: "read", offset: 512, lengthBytes: 512 })).toBe(true);
    expect(conflicts(write, { kind: "read", offset: 4096, lengthBytes: 512 })).toBe(false);
    expect(conflicts(write, { kind: "flush" })).toBe(true);
    const read = { kind: "read", offset: 0, lengthBytes: 512 } as const;
    expect(conflicts(read, read)).toBe(false);
  });
});
