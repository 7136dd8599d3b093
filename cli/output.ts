// What verbs print on stdout: one JSON document, or text and tables for people (without borders, so
// that a pipe can take them apart).
import Table from "cli-table3";
import type { OutputFormat } from "./options.js";

/**
 * @param value the result: printed as JSON
 * @param text the result for people; nothing is printed for an empty text
 */
export function printResult(format: OutputFormat, value: unknown, text: () => string): void {
  const lines = format === "json" ? JSON.stringify(value, undefined, 2) : text();
  if (lines !== "") process.stdout.write(`${lines}\n`);
}

export interface Column {
  title: string;
  align?: "left" | "right";
}

const noBorders = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

/** A table; on a terminal with a bold head. */
export function tableText(
  columns: readonly Column[],
  rows: readonly (string | number)[][],
): string {
  const table = new Table({
    head: columns.map(({ title }) => title),
    colAligns: columns.map(({ align = "left" }) => align),
    chars: noBorders,
    style: {
      "padding-left": 0,
      "padding-right": 0,
      head: process.stdout.isTTY ? ["bold"] : [],
      border: [],
    },
  });
  table.push(...rows.map((row) => row.map(String)));
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** "name: value" lines with the values in one column. */
export function fieldsText(fields: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length)) + 2;
  return fields.map(([name, value]) => `${`${name}:`.padEnd(width)}${value}`).join("\n");
}
