// The order of a migration's steps: every verb in every situation, to its end.
import { describe, expect, it } from "vitest";
import {
  type MigrationStep,
  type MigrationVerb,
  type MigrationView,
  nextStep,
  requireSource,
  type SourceView,
} from "./migration-machine.js";
import { type MigrationState, migrationStates } from "./migration-record.js";

const sources: readonly SourceView[] = ["none", "free", "ours", "going", "another's", "gone"];
const noClones = { source: false, target: false };
const everyClones = [true, false].flatMap((source) =>
  [true, false].map((target) => ({ source, target })),
);
const verbs: readonly MigrationVerb[] = ["prepare", "execute", "commit", "abort"];

/** What the headers say when a step has been carried out; undefined: the target is gone. */
function after(view: MigrationView, step: MigrationStep): MigrationView | undefined {
  const table: Record<MigrationStep, Partial<MigrationView> | undefined> = {
    markSource: { source: "ours" },
    beginCopy: { target: "executing" },
    copy: { target: "executed" },
    moveClones: { clones: { source: false, target: true } },
    removeSource: { source: "gone" },
    endMigration: { target: undefined },
    takeBackAbort: { target: "executed" },
    beginAbort: { target: "aborting" },
    returnClones: { clones: { source: true, target: false } },
    freeSource: { source: "free" },
    removeTarget: undefined,
    done: {},
  };
  const change = table[step];
  return change && { ...view, ...change };
}

function walk(verb: MigrationVerb, from: MigrationView): (MigrationStep | string)[] {
  const steps: (MigrationStep | string)[] = [];
  let view: MigrationView | undefined = from;
  while (view?.target !== undefined && steps.length < 10) {
    let step: MigrationStep;
    try {
      step = nextStep(verb, view, "rbd/a");
    } catch (thrown) {
      steps.push((thrown as { code: string }).code);
      break;
    }
    steps.push(step);
    if (step === "done") break;
    view = after(view, step);
  }
  return steps;
}

const rows: [MigrationVerb, MigrationState, SourceView, (MigrationStep | string)[]][] = [
  ["prepare", "prepared", "free", ["markSource", "done"]],
  ["prepare", "prepared", "ours", ["done"]],
  ["prepare", "prepared", "another's", ["busy"]],
  ["execute", "prepared", "none", ["beginCopy", "copy", "done"]],
  ["execute", "prepared", "ours", ["beginCopy", "copy", "done"]],
  ["execute", "executing", "ours", ["copy", "done"]],
  ["execute", "executed", "ours", ["done"]],
  ["execute", "prepared", "free", ["busy"]],
  ["execute", "executing", "gone", ["not_found"]],
  ["commit", "prepared", "ours", ["busy"]],
  ["commit", "executing", "none", ["busy"]],
  ["commit", "executed", "none", ["endMigration"]],
  ["commit", "executed", "ours", ["removeSource", "endMigration"]],
  ["commit", "executed", "gone", ["endMigration"]],
  // The source has been given to somebody else: it is not ours to remove.
  ["commit", "executed", "another's", ["endMigration"]],
  ["commit", "executed", "free", ["endMigration"]],
  ["abort", "prepared", "none", ["removeTarget"]],
  ["abort", "executing", "ours", ["freeSource", "removeTarget"]],
  ["abort", "executed", "ours", ["beginAbort", "freeSource", "removeTarget"]],
  ["abort", "aborting", "ours", ["freeSource", "removeTarget"]],
  ["abort", "aborting", "free", ["removeTarget"]],
  ["abort", "prepared", "free", ["removeTarget"]],
  ["abort", "prepared", "another's", ["removeTarget"]],
  // Its removal has begun: there is nothing to go back to.
  ["abort", "executed", "going", ["busy"]],
  ["abort", "executed", "gone", ["busy"]],
  ["commit", "executed", "going", ["removeSource", "endMigration"]],
  ["commit", "aborting", "ours", ["busy"]],
  ["execute", "aborting", "ours", ["takeBackAbort", "done"]],
  ["execute", "aborting", "free", ["busy"]],
];

const cloneRows: [MigrationVerb, MigrationState, (MigrationStep | string)[]][] = [
  ["commit", "executed", ["moveClones", "removeSource", "endMigration"]],
  ["abort", "executing", ["freeSource", "removeTarget"]],
  ["abort", "executed", ["beginAbort", "freeSource", "removeTarget"]],
];

describe("a migration", () => {
  it.each(rows)("%s when %s, the source %s", (verb, target, source, steps) => {
    expect(walk(verb, { target, source, clones: noClones })).toEqual(steps);
  });

  it.each(cloneRows)("%s when %s, and the source has clones", (verb, target, steps) => {
    const clones = { source: true, target: false };
    expect(walk(verb, { target, source: "ours", clones })).toEqual(steps);
  });

  it("takes clones back that the target has when it is aborted", () => {
    const clones = { source: true, target: true };
    expect(walk("abort", { target: "executed", source: "ours", clones })).toEqual([
      ...["beginAbort", "returnClones", "freeSource", "removeTarget"],
    ]);
  });

  it("never ends with a source that is lost, or removed before its target has everything", () => {
    for (const verb of verbs) {
      for (const target of migrationStates) {
        for (const [source, clones] of sources.flatMap((of) =>
          everyClones.map((having) => [of, having] as const),
        )) {
          const steps = walk(verb, { target, source, clones });
          const where = `${verb} ${target} ${source}: ${steps.join(" ")}`;
          expect(steps.length, where).toBeLessThan(10);
          if (steps.includes("removeSource")) expect(target, where).toBe("executed");
          const free = steps.indexOf("freeSource");
          if (steps.includes("removeTarget") && source === "ours") {
            expect(free, where).toBe(steps.indexOf("removeTarget") - 1);
            if (clones.target) expect(steps.indexOf("returnClones"), where).toBe(free - 1);
          }
          if (steps.includes("removeSource") && clones.source && source === "ours") {
            const moved = steps.indexOf("moveClones");
            expect(moved, where).toBe(steps.indexOf("removeSource") - 1);
          }
        }
      }
    }
  });

  it("is refused for an image that takes part in none", () => {
    for (const verb of verbs) {
      const view = { target: undefined, source: "none" as const, clones: noClones };
      expect(() => nextStep(verb, view, "rbd/a")).toThrow(/not the target of a migration/);
    }
  });

  it("lets its target be used only when nothing of the source can be missed or change", () => {
    const usable = (target: MigrationState, source: SourceView) => {
      try {
        requireSource({ target, source, clones: noClones }, "rbd/a");
        return true;
      } catch {
        return false;
      }
    };
    for (const source of sources) {
      expect(usable("executed", source)).toBe(true);
      expect(usable("aborting", source)).toBe(source === "none" || source === "ours");
      expect(usable("prepared", source)).toBe(source === "none" || source === "ours");
    }
  });
});
