// The page about the command line shows the verbs as they are.
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { cliPage, regenerated } from "./cli-reference.js";

it("the generated part of the page is up to date: else run tsx tools/cli-reference.ts", () => {
  const page = readFileSync(cliPage, "utf8");
  expect(regenerated(page)).toBe(page);
});
