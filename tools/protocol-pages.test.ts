// The pages about the protocols name what the code has: frame types and steps with their numbers,
// messages, commands, settings and members of the cluster map.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { commandSchemas } from "../proto/commands.js";
import { MapChangesSchema, OsdMapSchema } from "../proto/osd-map.js";
import { numberSettings } from "../proto/settings.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");

/** Rows "| 5 | name |" of all tables of a page, as number -> name. */
function numberedRows(page: string): Map<number, string> {
  const rows = [...page.matchAll(/^\| *([0-9]+) *\| *([a-z_]+) *\|/gm)];
  return new Map(rows.map(([, number, name]) => [Number(number), name ?? ""]));
}

/** The members of a C++ enum, as number -> name. */
function enumMembers(header: string, name: string): Map<number, string> {
  const body = new RegExp(`enum class ${name} [^{]*\\{(.*?)\\n\\};`, "s").exec(header)?.[1] ?? "";
  const members = [...body.matchAll(/^ +([a-z_]+) =\s+([0-9]+),/gm)];
  return new Map(members.map(([, member, number]) => [Number(number), member ?? ""]));
}

/** The part of a page from a heading to the next one. */
function section(page: string, heading: string): string {
  return page.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
}

describe("data-path.md and fencing.md", () => {
  it("have each step with its code", () => {
    const steps = section(read("docs/protocol/data-path.md"), "Steps");
    const watching = section(read("docs/protocol/fencing.md"), "Watch and notify");
    const described = new Map([...numberedRows(steps), ...numberedRows(watching)]);
    const codes = enumMembers(read("native/core/net/messages.hh"), "StepCode");
    expect(codes.size).toBeGreaterThanOrEqual(36);
    expect([...described].sort(([a], [b]) => a - b)).toEqual([...codes]);
  });
});

describe("frame.md", () => {
  it("has each type of frame with its number", () => {
    const types = enumMembers(read("native/core/net/frame.hh"), "FrameType");
    expect(types.size).toBeGreaterThanOrEqual(19);
    expect([...numberedRows(section(read("docs/protocol/frame.md"), "Frame"))]).toEqual([...types]);
  });
});

describe("monitor.md", () => {
  const page = read("docs/protocol/monitor.md");

  it("has each command", () => {
    const rows = section(page, "Commands").match(/^\| `[^|]+\|/gm) ?? [];
    const verbs = rows.flatMap((row) => [...row.matchAll(/`([a-z ]+)`/g)].map(([, verb]) => verb));
    expect(verbs.sort()).toEqual(Object.keys(commandSchemas).sort());
  });

  it("names each setting", () => {
    for (const name of Object.keys(numberSettings)) expect(page).toContain(`\`${name}\``);
  });

  it("names each member of a map, and what an incremental may change", () => {
    const maps = section(page, "Maps");
    for (const member of Object.keys(OsdMapSchema.properties)) expect(maps).toContain(member);
    for (const member of Object.keys(MapChangesSchema.properties)) expect(maps).toContain(member);
  });
});
