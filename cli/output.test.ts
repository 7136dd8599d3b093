// How results are printed: tables for pipes and with lines, and colours only on a terminal.
import { afterEach, describe, expect, it } from "vitest";
import { coloured, rendered, table } from "./output.js";

const list = table(
  [{ title: "NAME" }, { title: "SIZE", align: "right" }],
  [
    ["a", 5],
    ["bb", 100],
  ],
);

describe("rendered", () => {
  it("plain tables have no lines and no spaces at the ends", () => {
    expect(rendered(list, "plain")).toBe("NAME  SIZE\na        5\nbb     100");
  });

  it("tables with lines on demand", () => {
    expect(rendered(list, "table").split("\n").at(1)).toBe("│ NAME │ SIZE │");
  });

  it("parts stand below each other; empty ones print nothing", () => {
    const none = table([{ title: "NAME" }], []);
    expect(rendered(["head", none, list], "plain").split("\n")).toHaveLength(4);
    expect(rendered(none, "table")).toBe("");
  });
});

describe("coloured", () => {
  const { isTTY } = process.stdout;
  const before = process.env.NO_COLOR;

  afterEach(() => {
    process.stdout.isTTY = isTTY;
    if (before === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = before;
  });

  it.each([
    [true, undefined, "\u001b[31mbad\u001b[39m"],
    [true, "", "\u001b[31mbad\u001b[39m"],
    [true, "1", "bad"],
    [false, undefined, "bad"],
  ])("terminal: %s, NO_COLOR: %s", (terminal, noColour, text) => {
    process.stdout.isTTY = terminal;
    if (noColour === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = noColour;
    expect(coloured("red", "bad")).toBe(text);
  });
});
