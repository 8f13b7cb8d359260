import { execFileSync, spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { workerTasks } from "../../bench/worker-tasks.ts";
import { temporaryFolder, writeFiles } from "../support/work-copy.ts";

const hasPython = spawnSync("python3", ["-c", "import sqlite3"]).status === 0;

it("are sixty, in six families", () => {
  expect(new Set(workerTasks.map(({ name }) => name)).size).toBe(60);
  expect(new Set(workerTasks.map(({ family }) => family)).size).toBe(6);
});

// The checks of one family need Python.
describe.each(workerTasks.filter(({ check }) => hasPython || check !== "check.py"))(
  "task $name",
  ({ files, check, solution = {} }) => {
    it("has a check that the solution passes, and nothing less", async () => {
      const folder = await temporaryFolder();
      const passes = () =>
        spawnSync(check.endsWith(".py") ? "python3" : process.execPath, [check], { cwd: folder }).status;
      await writeFiles(folder, files);
      expect(passes()).not.toBe(0);
      await writeFiles(folder, solution);
      execFileSync(check.endsWith(".py") ? "python3" : process.execPath, [check], { cwd: folder, stdio: "pipe" });
    });
  },
);
