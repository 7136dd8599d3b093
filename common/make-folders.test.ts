// Folders that are made, were there, and cannot be.
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeFolders, removeMadeFolders } from "./make-folders.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "cairn-make-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("makeFolders", () => {
  it("makes what is missing, and says what it made first", () => {
    const inner = path.join(folder, "a", "b", "c");
    expect(makeFolders(inner, 0o700)).toBe(path.join(folder, "a"));
    expect(statSync(inner).mode & 0o777).toBe(0o700);
    expect(makeFolders(inner, 0o700)).toBeUndefined();
    expect(makeFolders("/", 0o700)).toBeUndefined();
  });

  it("goes through a link, and refuses what is no folder", () => {
    const link = path.join(folder, "link");
    symlinkSync(folder, link);
    expect(makeFolders(link, 0o700)).toBeUndefined();
    expect(makeFolders(path.join(link, "inner"), 0o700)).toBe(path.join(link, "inner"));
    expect(existsSync(path.join(folder, "inner"))).toBe(true);
    const file = path.join(folder, "file");
    writeFileSync(file, "");
    expect(() => makeFolders(file, 0o700)).toThrow(/EEXIST/);
    expect(() => makeFolders(path.join(file, "inner"), 0o700)).toThrow(/ENOTDIR/);
    symlinkSync(path.join(folder, "nowhere"), path.join(folder, "dangling"));
    expect(() => makeFolders(path.join(folder, "dangling"), 0o700)).toThrow(/EEXIST/);
  });
});

describe("removeMadeFolders", () => {
  it("takes away what was made, and leaves what somebody else has put there", () => {
    const first = path.join(folder, "x");
    const own = path.join(first, "y", "one");
    expect(makeFolders(own, 0o700)).toBe(first);
    writeFileSync(path.join(own, "file"), "");
    const other = path.join(first, "two");
    makeFolders(other, 0o700);
    removeMadeFolders(own, first);
    expect(existsSync(path.join(first, "y"))).toBe(false);
    expect(existsSync(other)).toBe(true);
    removeMadeFolders(other, first);
    expect(existsSync(first)).toBe(false);
    expect(existsSync(folder)).toBe(true);
  });
});
