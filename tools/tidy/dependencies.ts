// package.json, scripts/debian-packages.json and docs/dependencies.md say the same.
import type { Check, Finding, SourceFile } from "./source-file.js";

const page = "docs/dependencies.md";

interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}

const find = (files: readonly SourceFile[], path: string): SourceFile | undefined =>
  files.find((file) => file.path === path);

function parse<T>(files: readonly SourceFile[], path: string, otherwise: T): T {
  const file = find(files, path);
  return file === undefined ? otherwise : (JSON.parse(file.lines.join("\n")) as T);
}

function npmVersions(files: readonly SourceFile[]): [string, string][] {
  const manifest = parse<Manifest>(files, "package.json", {});
  return Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
}

export const exactVersions: Check = (files) =>
  npmVersions(files)
    .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
    .map(([name, version]) => ({
      path: "package.json",
      line: lineOf(find(files, "package.json"), `"${name}"`),
      message: `${name} is pinned to no exact version: ${version}`,
    }));

/** First cells of the page's table: names, separated by commas; Debian's rows end in (Debian). */
function documented(files: readonly SourceFile[], debian: boolean): string[] {
  return (find(files, page)?.lines ?? [])
    .map((line) => /^\| (.+?) \|/.exec(line)?.[1] ?? "package")
    .filter((cell) => cell !== "package" && cell.endsWith(" (Debian)") === debian)
    .flatMap((cell) => cell.replace(" (Debian)", "").split(", "));
}

export const documentedDependencies: Check = (files) => {
  // The types of a package go with it.
  const npm = npmVersions(files).map(([name]) => name);
  const lists = parse<Record<string, string[]>>(files, "scripts/debian-packages.json", {});
  const compare = (used: string[], told: string[], from: string): Finding[] => [
    ...used
      .filter((name) => !told.includes(name) && !name.startsWith("@types/"))
      .map((name) => ({ path: page, line: 1, message: `lacks ${name} of ${from}` })),
    ...told
      .filter((name) => !used.includes(name))
      .map((name) => ({
        path: page,
        line: lineOf(find(files, page), name),
        message: `${name} is not in ${from}`,
      })),
  ];
  return [
    ...compare(npm, documented(files, false), "package.json"),
    ...compare(
      Object.values(lists).flat(),
      documented(files, true),
      "scripts/debian-packages.json",
    ),
  ];
};

function lineOf(file: SourceFile | undefined, text: string): number {
  return Math.max(0, file?.lines.findIndex((line) => line.includes(text)) ?? 0) + 1;
}
