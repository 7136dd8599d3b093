// What verbs print on stdout: one JSON document, or text and tables for people: without borders, so
// that a pipe can take them apart, or with lines. Colours only on a terminal, not with NO_COLOR.
import { styleText } from "node:util";
import Table from "cli-table3";
import type { OutputOptions } from "./options.js";

export interface Column {
  title: string;
  align?: "left" | "right";
}

export interface TableOutput {
  columns: readonly Column[];
  rows: readonly (string | number)[][];
}

/** What people read: lines, tables, or several of them below each other; "" prints nothing. */
export type Output = string | TableOutput | readonly Output[];

/**
 * @param value the result: printed as JSON
 * @param text the result for people
 */
export function printResult(flags: OutputOptions, value: unknown, text: () => Output): void {
  const lines = flags.format === "json" ? jsonText(flags, value) : rendered(text(), flags.format);
  if (lines !== "") process.stdout.write(`${lines}\n`);
}

function jsonText({ prettyFormat }: OutputOptions, value: unknown): string {
  const isPretty = prettyFormat === true || process.stdout.isTTY;
  return JSON.stringify(value, undefined, isPretty ? 2 : undefined);
}

/** An output as lines. */
export function rendered(output: Output, format: OutputOptions["format"]): string {
  if (typeof output === "string") return output;
  if ("columns" in output) return tableText(output, format === "table");
  return output
    .map((part) => rendered(part, format))
    .filter((part) => part !== "")
    .join("\n");
}

/** A table; an empty one prints nothing. */
export function table(columns: readonly Column[], rows: TableOutput["rows"]): Output {
  return rows.length === 0 ? "" : { columns, rows };
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

/** Whether what is printed may have colours. */
function hasColours(): boolean {
  const { NO_COLOR } = process.env;
  return process.stdout.isTTY === true && (NO_COLOR === undefined || NO_COLOR === "");
}

type Colour = Parameters<typeof styleText>[0];

/** Text in a colour, where colours are shown. */
export function coloured(colour: Colour, text: string): string {
  return hasColours() ? styleText(colour, text, { validateStream: false }) : text;
}

function tableText({ columns, rows }: TableOutput, withLines: boolean): string {
  const made = new Table({
    head: columns.map(({ title }) => title),
    colAligns: columns.map(({ align = "left" }) => align),
    ...(withLines ? {} : { chars: noBorders }),
    style: {
      ...(withLines ? {} : { "padding-left": 0, "padding-right": 0 }),
      head: hasColours() ? ["bold"] : [],
      border: [],
    },
  });
  made.push(...rows.map((row) => row.map(String)));
  const lines = made.toString().split("\n");
  return lines.map((line) => line.trimEnd()).join("\n");
}

/** "name: value" lines with the values in one column. */
export function fieldsText(fields: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length)) + 2;
  return fields.map(([name, value]) => `${`${name}:`.padEnd(width)}${value}`).join("\n");
}

/** A wall time to the second, in UTC: "2026-01-31 12:00:00". */
export function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 19).replace("T", " ");
}
