// Reads the imports of TypeScript and the includes of C++, and resolves those inside the
// repository to the paths of files.
import { dirname, join, normalize } from "node:path/posix";
import { isCpp, isScript, type SourceFile } from "./source-file.js";

/** target: what the text says; path: the file in the repository, undefined for others' modules. */
export interface Import {
  readonly line: number;
  readonly target: string;
  readonly path: string | undefined;
}

const scriptImport =
  /^(?:import|export)\b[^"';]*"([^"]+)";$|^\} from "([^"]+)";$|\bimport\("([^"]+)"\)/;
const cppInclude = /^#include ["<]([^">]+)[">]$/;

export function importsOf(file: SourceFile, known: ReadonlySet<string>): Import[] {
  if (isScript(file)) return scan(file, scriptImport, (target) => resolve(file, target, known));
  if (isCpp(file)) return scan(file, cppInclude, (target) => resolveInclude(file, target, known));
  return [];
}

function scan(
  file: SourceFile,
  pattern: RegExp,
  toPath: (target: string) => string | undefined,
): Import[] {
  return file.lines.flatMap((line, index) => {
    const match = pattern.exec(line);
    const target = match?.[1] ?? match?.[2] ?? match?.[3];
    return target === undefined ? [] : [{ line: index + 1, target, path: toPath(target) }];
  });
}

function resolve(file: SourceFile, target: string, known: ReadonlySet<string>): string | undefined {
  if (!target.startsWith(".")) return undefined;
  const path = normalize(join(dirname(file.path), target));
  const stem = path.replace(/\.js$/, "");
  return [path, `${stem}.ts`, `${stem}.d.ts`].find((candidate) => known.has(candidate));
}

function resolveInclude(
  file: SourceFile,
  target: string,
  known: ReadonlySet<string>,
): string | undefined {
  const candidates = [
    `native/core/${target}`,
    `native/${target}`,
    normalize(join(dirname(file.path), target)),
  ];
  return candidates.find((candidate) => known.has(candidate));
}
