import { defineConfig } from "vitest/config";

const isCi = process.env["CI"] !== undefined;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/global-setup.ts",
    setupFiles: "test/support/leak-warnings.ts",
    pool: "forks",
    // A process runs one file after the other: to start one, and to import the program anew, took most of a file's time.
    isolate: false,
    // More than cores: most tests wait for processes that they start.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // As patient as test/support/eventually.ts: of a second a busy machine may keep all.
    expect: { poll: { timeout: 10_000, interval: 20 } },
    // .ci/run counts from the JSON report.
    reporters: isCi ? ["default", "json"] : ["default"],
    outputFile: { json: "coverage/test-report.json" },
  },
});
