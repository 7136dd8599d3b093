// The page about peering shows the machine as it is.
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { peeringPage, regenerated } from "./peering-graph.js";

it("the generated part of the page is up to date: else run tsx tools/peering-graph.ts", () => {
  const page = readFileSync(peeringPage, "utf8");
  expect(regenerated(page)).toBe(page);
});
