// What the checks work on: files as text, and what a check says about them.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A text file; path is relative to the repository, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly lines: readonly string[];
}

/** Something that is not as it should be; line counts from 1. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** A check looks at all files at once and never at the disk. */
export type Check = (files: readonly SourceFile[]) => Finding[];

const codePattern = /\.(ts|mjs|cc|hh|def|sh)$|(^|\/)CMakeLists\.txt$|^bin\/[^/.]+$|^\.ci\/run$/;
const textPattern = /\.(md|json)$/;
const foreignPattern = /^package-lock\.json$|^test\/golden\/.*\.json$|^native\/fuzz\/corpus\//;

export const isCode = (file: SourceFile): boolean => codePattern.test(file.path);
export const isMarkdown = (file: SourceFile): boolean => file.path.endsWith(".md");
export const isCpp = (file: SourceFile): boolean => /\.(cc|hh)$/.test(file.path);
export const isScript = (file: SourceFile): boolean => /\.(ts|mjs)$/.test(file.path);
export const isTest = (file: SourceFile): boolean =>
  /\.test\.ts$|_test\.cc$|(^|\/)test\//.test(file.path);

export function sourceFile(path: string, text: string): SourceFile {
  return { path, lines: text.replace(/\n$/, "").split("\n") };
}

/** The files that git tracks or would track. */
export function readRepository(root: string): SourceFile[] {
  const listed = execFileSync("git", ["ls-files", "-coz", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return listed
    .split("\0")
    .filter((path) => codePattern.test(path) || textPattern.test(path))
    .filter((path) => !foreignPattern.test(path) && existsSync(join(root, path)))
    .map((path) => sourceFile(path, readFileSync(join(root, path), "utf8")));
}
