// Words of crushtool's text map: comments and white space go, braces and brackets stand alone, each
// word keeps its line number for error messages.
import { StorageError } from "../common/errors.js";

/** Text maps longer than this are refused: about a million items. */
export const maxTextLength = 64 * 1024 * 1024;

export interface Word {
  text: string;
  /** From 1. */
  line: number;
}

/** @throws StorageError with the code, its message beginning with "line N: " */
export function failAt(
  line: number,
  message: string,
  code: "corrupt" | "unsupported_feature" | "too_large" = "corrupt",
): never {
  throw new StorageError(code, `line ${line}: ${message}`);
}

/** A cursor over the words; it never runs past the end. */
export class Words {
  private readonly words: Word[] = [];
  private position = 0;
  private readonly lastLine: number;

  /** @throws StorageError too_large */
  constructor(text: string) {
    if (text.length > maxTextLength) failAt(1, "the map is longer than 64 MiB", "too_large");
    const lines = text.split("\n");
    this.lastLine = lines.length;
    for (const [index, raw] of lines.entries()) {
      const comment = raw.indexOf("#");
      const code = comment < 0 ? raw : raw.slice(0, comment);
      for (const match of code.matchAll(/[{}[\]]|[^\s{}[\]]+/g))
        this.words.push({ text: match[0], line: index + 1 });
    }
  }

  /** The bucket ids that the text gives anywhere, in `id -N` and `id -N class C` lines. */
  bucketIds(): Set<number> {
    const ids = this.words.flatMap((word, index) => {
      const before = this.words[index - 1]?.text;
      return before === "id" && /^-[0-9]+$/.test(word.text) ? [Number(word.text)] : [];
    });
    return new Set(ids);
  }

  /** The next word, which stays; undefined at the end. */
  peek(): Word | undefined {
    return this.words[this.position];
  }

  /** The next word; what: what it should be, for the error at the end of the text. */
  next(what: string): Word {
    const word = this.words[this.position];
    if (word === undefined) failAt(this.lastLine, `the map ends where ${what} should follow`);
    this.position += 1;
    return word;
  }

  /** Takes the next word when it is that one. */
  accept(text: string): boolean {
    if (this.peek()?.text !== text) return false;
    this.position += 1;
    return true;
  }

  /** The next word, which must be that one. */
  expect(text: string): Word {
    const word = this.next(`"${text}"`);
    if (word.text !== text) failAt(word.line, `"${word.text}" where "${text}" should stand`);
    return word;
  }

  /** A name: letters, digits, '-', '_' and '.'. */
  name(what: string): Word {
    const word = this.next(what);
    if (!/^[A-Za-z0-9_.-]+$/.test(word.text))
      failAt(word.line, `"${word.text}" where ${what} should stand`);
    return word;
  }

  /** A decimal integer from low to high. */
  integer(what: string, low: number, high: number): number {
    const word = this.next(what);
    const value = Number(word.text);
    if (!/^-?[0-9]+$/.test(word.text))
      failAt(word.line, `"${word.text}" where ${what} (an integer) should stand`);
    if (value < low || value > high)
      failAt(word.line, `${what} is ${word.text}; it goes from ${low} to ${high}`, "too_large");
    return value;
  }

  /** A decimal number, as "1", "0.5" or "1e-3". */
  real(what: string): number {
    const word = this.next(what);
    if (!/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(word.text))
      failAt(word.line, `"${word.text}" where ${what} (a number) should stand`);
    return Number(word.text);
  }
}
