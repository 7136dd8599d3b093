// When reads that fail end an OSD.
import { describe, expect, it } from "vitest";
import { ReadErrors } from "./read-errors.js";

const unreadable = "io_error: read at offset 4096: Input/output error";

describe("reads that the disk fails", () => {
  it("end the OSD when there are 16 in a minute", () => {
    const errors = new ReadErrors();
    for (let i = 0; i < 15; i += 1) expect(errors.met(unreadable, i * 1000)).toBe(undefined);
    expect(errors.met(unreadable, 59_999)).toMatchObject({
      code: "io_error",
      message: `16 reads of the disk failed in 60 s, the last one by ${unreadable}`,
    });
  });

  it("are forgotten one by one", () => {
    const errors = new ReadErrors();
    for (let i = 0; i < 100; i += 1) expect(errors.met(unreadable, i * 4001)).toBe(undefined);
  });

  it("are not those that give wrong bytes", () => {
    const errors = new ReadErrors();
    const damage = "checksum_mismatch: block 3 does not match its checksum";
    for (let i = 0; i < 100; i += 1) expect(errors.met(damage, i)).toBe(undefined);
  });
});
