// Files that nothing uses, and folders that nobody explains.
import { basename, dirname } from "node:path/posix";
import { importsOf } from "./imports.js";
import {
  type Check,
  type Finding,
  isCode,
  isMarkdown,
  isTest,
  type SourceFile,
} from "./source-file.js";

/** Built by CMake's globs or found by their tools, so that nothing has to name them. */
const foundByPattern = /\.cc$|\.sh$|\.test\.ts$|(^|\/)CMakeLists\.txt$|^\.ci\/run$|^vitest\.config/;

/**
 * A module that no other file imports is used only if somebody names its file: package.json, a
 * starter, a README. A header is not used by the .cc that implements it.
 */
export const orphanModules: Check = (files) => {
  const known = new Set(files.map((file) => file.path));
  const used = new Set<string>();
  for (const file of files) {
    for (const { path } of importsOf(file, known)) {
      if (path !== undefined && path !== file.path.replace(/\.cc$/, ".hh")) used.add(path);
    }
  }
  return files
    .filter((file) => isCode(file) && !foundByPattern.test(file.path) && !used.has(file.path))
    .filter((file) => file.path.endsWith(".hh") || !isNamed(file, files))
    .map((file) => ({ path: file.path, line: 1, message: "nothing imports or names this file" }));
};

function isNamed(file: SourceFile, files: readonly SourceFile[]): boolean {
  const compiled = file.path.replace(/\.ts$/, ".js");
  const names = [file.path, compiled, `${basename(dirname(file.path))}/${basename(compiled)}`];
  return files.some(
    (other) =>
      other.path !== file.path &&
      other.lines.some((line) => names.some((name) => line.includes(name))),
  );
}

/** Every page but a README is mentioned by another file. */
export const orphanPages: Check = (files) =>
  files
    .filter((file) => isMarkdown(file) && basename(file.path) !== "README.md")
    .filter((page) => !isMentioned(page, files))
    .map((page) => ({ path: page.path, line: 1, message: "no other file mentions this page" }));

function isMentioned(page: SourceFile, files: readonly SourceFile[]): boolean {
  const inDocs = page.path.replace(/^docs\//, "");
  return files.some(
    (other) => other.path !== page.path && other.lines.some((line) => line.includes(inDocs)),
  );
}

/** A folder with sources has a README, or the README of a folder above names it. */
export const folderReadme: Check = (files) => {
  const readmes = new Map(
    files
      .filter((file) => basename(file.path) === "README.md")
      .map((file) => [dirname(file.path), file.lines.join("\n")]),
  );
  const folders = new Set(files.filter((f) => isCode(f) && f.path.includes("/")).map(folderOf));
  const findings: Finding[] = [];
  for (const folder of folders) {
    if (readmes.has(folder) || /^\.|^bin$/.test(folder)) continue;
    const named = ancestors(folder).some((above) =>
      readmes.get(above)?.includes(`${folder.slice(above.length + 1)}/`),
    );
    if (!named) findings.push({ path: folder, line: 1, message: "the folder has no README.md" });
  }
  return findings;
};

const folderOf = (file: SourceFile): string => dirname(file.path);

function ancestors(folder: string): string[] {
  const parts = folder.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** The core's tests are built by folder: a test in a folder that CMake does not list never runs. */
export const unbuiltTests: Check = (files) => {
  const cmake = files.find((file) => file.path === "native/CMakeLists.txt");
  const listed = /foreach\(folder ([^)]*)\)/.exec(cmake?.lines.join("\n") ?? "")?.[1]?.split(/\s+/);
  return files
    .filter((file) => isTest(file) && file.path.startsWith("native/core/"))
    .filter((file) => !listed?.includes(file.path.split("/")[2] ?? ""))
    .map((file) => ({ path: file.path, line: 1, message: "native/CMakeLists.txt builds no test" }));
};
