// Unit tests sit beside the code (*.test.ts); what crosses a folder is in test/.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["node_modules/**", "dist/**", "build/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
