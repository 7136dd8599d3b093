// Unit tests sit beside the code (*.test.ts); what crosses a folder is in test/. Unit tests run two
// files at a time, integration tests three: these start real processes, each file a cluster of its
// own in a folder of its own, and wait for timers and flushes as well.
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const never = ["node_modules/**", "dist/**", "build/**", ".cache/**"];
const filesAtOnce = { unit: 2, integration: 3 };
/** What a test waits for comes late on a busy machine; by itself vitest waits for one second. */
const awaited = { poll: { timeout: 20_000 } };

/** The longest of the integration tests, the longest first: else one ends long after the others. */
const longest = [
  "test/chaos/chaos.test.ts",
  "test/integration/migration.test.ts",
  "test/integration/http-import.test.ts",
  "test/e2e/guest.test.ts",
  "test/integration/cli.test.ts",
  "test/integration/flags.test.ts",
  "test/integration/operator.test.ts",
  "test/integration/scrub.test.ts",
  "test/integration/image-kills.test.ts",
  "test/integration/cluster.test.ts",
  "test/integration/import-snapshots.test.ts",
  "test/integration/diffs.test.ts",
  "test/integration/verbs.test.ts",
  "test/integration/split.test.ts",
  "test/integration/stalls.test.ts",
  "test/integration/bad-input.test.ts",
  "test/sim/sim.test.ts",
  "test/integration/copy-follows.test.ts",
  "test/integration/monitor-refused.test.ts",
  "test/integration/thick.test.ts",
  "test/integration/fencing.test.ts",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = longest.findIndex((file) => moduleId.endsWith(`/${file}`));
      return place < 0 ? longest.length : place;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["**/*.test.ts"],
          exclude: [...never, "test/**"],
          maxWorkers: filesAtOnce.unit,
          expect: awaited,
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/**/*.test.ts"],
          exclude: never,
          maxWorkers: filesAtOnce.integration,
          expect: awaited,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
    ],
  },
});
