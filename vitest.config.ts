// Unit tests sit beside the code (*.test.ts); what crosses a folder is in test/. The integration
// tests start real processes, so they run one after the other.
import { defineConfig } from "vitest/config";

const never = ["node_modules/**", "dist/**", "build/**", ".cache/**"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["**/*.test.ts"],
          exclude: [...never, "test/**"],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/**/*.test.ts"],
          exclude: never,
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
    ],
  },
});
