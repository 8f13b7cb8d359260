import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { DaemonHome } from "../support/daemon-home.ts";
import { makeShellHome, runHere } from "./terminal/built-shell.ts";

let home: DaemonHome;
beforeAll(async () => {
  home = await makeShellHome();
});
afterAll(() => home.close());

const ollm = (...words: readonly string[]) => runHere(home, words);

it("records nothing until it is turned on, shows what is refused and the first lines, asks, writes, and forgets", async () => {
  expect(await ollm("export")).toMatchObject({ code: 2, stderr: expect.stringContaining("`ollm memory export`") });
  await ollm("run", "--task", "code", "--model", "smollm2:135m", "Not recorded");
  await ollm("good");
  expect((await ollm("export", "--training")).stdout).toBe("0 lines would be written; 0 refused\n");
  expect(await ollm("export", "--training", "-o", "t.jsonl", "--yes")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("ollm config set training.tasks code"),
  });

  expect(await ollm("config", "set", "training.tasks", "code")).toMatchObject({ code: 0 });
  for (const prompt of [`Sort this list ${"again ".repeat(80)}`, "The password: hunter2-4711"]) {
    await ollm("run", "--task", "code", "--model", "smollm2:135m", prompt);
    expect(await ollm("good")).toMatchObject({ code: 0 });
  }
  const plan = await ollm("export", "--training");
  expect(plan.stdout).toMatch(
    /^1 line would be written \(rated 1; code 1; smollm2:135m 1\); 1 refused\nsmollm2:135m, code, .*, line 1 of the question: it looks like it has a password.*\nThe first lines:\n\{"messages":.*Sort this list.* …\n$/,
  );
  expect(plan.stdout).not.toContain("hunter2");

  const unasked = await ollm("export", "--training", "-o", "t.jsonl");
  expect(unasked).toMatchObject({ code: 2, stderr: expect.stringContaining("Write 1 line with your prompts to ") });
  await expect(stat(path.join(home.folder, "t.jsonl"))).rejects.toThrow("ENOENT");
  const written = await ollm("export", "--training", "--task", "code", "-o", "t.jsonl", "--yes");
  expect(written).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^Wrote 1 line to .*t\.jsonl, and .*t\.card\.md\n$/),
  });
  expect(written.stderr).toContain("1 refused");
  expect(await readFile(path.join(home.folder, "t.jsonl"), "utf8")).toContain("Sort this list");
  if (process.platform !== "win32") {
    expect((await stat(path.join(home.home, "training.journal"))).mode & 0o777).toBe(0o600);
  }

  expect(await ollm("export", "--training", "--forget")).toMatchObject({ code: 2 });
  expect((await ollm("export", "--training", "--forget", "--yes")).stdout).toBe("Deleted 2 recorded answers.\n");
  await expect(stat(path.join(home.home, "training.journal"))).rejects.toThrow("ENOENT");
  expect((await ollm("export", "--training", "--json")).stdout).toMatch(/"lines": 0/);
});
