// Checks of one file's shape: lengths of lines, files and functions, and the comment at its top.
import {
  type Check,
  type Finding,
  isCode,
  isCpp,
  isMarkdown,
  isScript,
  isTest,
  type SourceFile,
} from "./source-file.js";

export const maxCodeColumns = 100;
export const maxProseColumns = 120;
export const maxFileLines = 500;
export const maxFunctionLines = 70;

/** Files that may be longer, each with its reason. */
export const longFiles: Readonly<Record<string, string>> = {};

export const lineLength: Check = (files) =>
  files.filter((file) => isCode(file) || isMarkdown(file)).flatMap(longLines);

function longLines(file: SourceFile): Finding[] {
  const limit = isCode(file) ? maxCodeColumns : maxProseColumns;
  // A table row or a link can't be broken.
  const unbreakable = isMarkdown(file) ? /^\s*\||https?:\/\// : /https?:\/\/\S{60}/;
  return file.lines.flatMap((line, index) =>
    [...line].length > limit && !unbreakable.test(line)
      ? [{ path: file.path, line: index + 1, message: `longer than ${limit} columns` }]
      : [],
  );
}

export const fileLength: Check = (files) =>
  files
    .filter((file) => isCode(file) && file.lines.length > maxFileLines && !longFiles[file.path])
    .map((file) => ({
      path: file.path,
      line: file.lines.length,
      message: `${file.lines.length} lines; at most ${maxFileLines} are allowed`,
    }));

/** The first line, after a shebang, is a comment of at least three words; Markdown has a title. */
export const fileHeader: Check = (files) =>
  files.flatMap((file) => {
    if (!isCode(file) && !isMarkdown(file)) return [];
    const index = file.lines[0]?.startsWith("#!") ? 1 : 0;
    const first = file.lines[index] ?? "";
    const comment = isMarkdown(file) ? /^# \S/ : /^(\/\/|\/\*\*?|#) \S+ \S+ \S+/;
    if (comment.test(first)) return [];
    const message = "does not open with a comment (a title) that says what it is";
    return [{ path: file.path, line: index + 1, message }];
  });

/**
 * Functions by the layout that the formatters give them: one that starts in some column ends at
 * the next `}` of the same column. Seen are those of columns 0 and 2 (members), which hold all
 * nested ones. Not measured are the suites of TypeScript tests.
 */
export const functionLength: Check = (files) =>
  files
    .filter((file) => isCpp(file) || (isScript(file) && !isTest(file)))
    .flatMap((file) => [...longBlocks(file, 0), ...longBlocks(file, 2)]);

const notAFunction = /^\s*(export )?(namespace|class|struct|enum|union|interface|type|extern)\b/;

function longBlocks(file: SourceFile, column: number): Finding[] {
  const findings: Finding[] = [];
  const indent = " ".repeat(column);
  const opensHere = new RegExp(`^${indent}[^\\s#/})\\]]`);
  const closesHere = new RegExp(`^${indent}\\}`);
  let start = 0;
  file.lines.forEach((line, index) => {
    if (opensHere.test(line) && !/^\s*(public|private|protected):/.test(line)) start = index;
    if (!closesHere.test(line)) return;
    const signature = file.lines[start] ?? "";
    const length = index - start + 1;
    const isFunction = signature.includes("(") && !notAFunction.test(signature);
    if (isFunction && length > maxFunctionLines) {
      const message = `a function of ${length} lines; at most ${maxFunctionLines} are allowed`;
      findings.push({ path: file.path, line: start + 1, message });
    }
    start = index;
  });
  return findings;
}
