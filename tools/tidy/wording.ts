// Checks of what files may not contain: leftover notes, tests that are switched off, paths that
// exist on one machine only.
import { type Check, isCode, isMarkdown, isTest, type SourceFile } from "./source-file.js";

interface Ban {
  readonly pattern: RegExp;
  readonly what: string;
  readonly applies: (file: SourceFile) => boolean;
}

const everywhere = (file: SourceFile): boolean => isCode(file) || isMarkdown(file);

const bans: readonly Ban[] = [
  { pattern: /\b(FIXME|TODO|XXX|HACK)\b/, what: "a leftover note", applies: everywhere },
  { pattern: /\b(for now|not implemented)\b/i, what: "unfinished work", applies: isCode },
  {
    pattern: /\b(describe|it|test)\.(skip|only|todo)\b|\bdoctest::(skip|may_fail)\b/,
    what: "a test that does not run, or keeps others from it",
    applies: isTest,
  },
  {
    pattern: /(^|[\s"'`(=:])\/(home|root|work|Users)\//,
    what: "a path of one machine",
    applies: everywhere,
  },
];

/** This folder names what it bans. */
const isExempt = (file: SourceFile): boolean => file.path.startsWith("tools/tidy/");

export const bannedWords: Check = (files) =>
  files
    .filter((file) => !isExempt(file))
    .flatMap((file) =>
      file.lines.flatMap((line, index) =>
        bans
          .filter((ban) => ban.applies(file) && ban.pattern.test(line))
          .map((ban) => ({
            path: file.path,
            line: index + 1,
            message: `${ban.what}: ${ban.pattern.exec(line)?.[0].trim()}`,
          })),
      ),
    );
