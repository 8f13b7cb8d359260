import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { runBuilt, runCommand } from "./built-shell.ts";

let home: DaemonHome;

beforeEach(async () => {
  home = await makeDaemonHome();
});

afterEach(async () => home.close());

it("Ctrl-C at a question ends the command with 130 and changes nothing", async () => {
  const io = home.io();
  const asked: string[] = [];
  const code = await runCommand(
    {
      ...io,
      isTerminal: true,
      ask(question: string) {
        asked.push(question);
        return Promise.reject(new Cancelled("interrupted"));
      },
    },
    "rm",
    "smollm2:135m",
  );
  expect({ code, said: io.err.join(""), asked }).toEqual({
    code: 130,
    said: "ollm: interrupted\n",
    asked: [expect.stringMatching(/^Delete smollm2:135m .*\[y\/N\] $/) as unknown],
  });
  expect(home.ollama.models.has("smollm2:135m")).toBe(true);
});

it("a command is one process where a daemon runs, and starts nothing but the daemon where none does", async () => {
  const starts = path.join(home.folder, "starts.txt");
  const preload = path.join(home.folder, "preload.mjs");
  await writeFile(starts, "");
  await writeFile(
    preload,
    `import { appendFileSync } from "node:fs"; import { isMainThread } from "node:worker_threads";
if (isMainThread) appendFileSync(${JSON.stringify(starts)}, "started\\n");\n`,
  );
  // Each Node that a command starts inherits it; a daemon gets no such variable.
  const environment = { NODE_OPTIONS: `--import ${pathToFileURL(preload).href}` };
  for (const words of [["ps"], ["ps"], ["models", "--json"], ["run", "Why?"], ["status"]]) {
    await writeFile(starts, "");
    const { code, stderr } = await runBuilt(home, words, "", environment);
    expect({ words, code, stderr, starts: await readFile(starts, "utf8") }).toMatchObject({
      words,
      code: 0,
      starts: "started\n",
    });
  }
  const chat = await runBuilt(home, ["chat"], "/model list\n/exit\n", environment);
  expect(chat.stdout).toContain("smollm2:135m");
  expect(await readFile(starts, "utf8")).toBe("started\nstarted\n");
});
