import { afterEach, beforeEach, expect, it } from "vitest";
import { removeModels } from "../../../src/cli/commands/models.ts";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";

let home: DaemonHome;

beforeEach(async () => {
  home = await makeDaemonHome();
});

afterEach(async () => home.close());

it("Ctrl-C at a question ends the command with 130 and changes nothing", async () => {
  const io = home.io();
  const asked: string[] = [];
  const code = await removeModels(
    ["smollm2:135m"],
    {},
    {
      ...io,
      isTerminal: true,
      ask(question) {
        asked.push(question);
        return Promise.reject(new Cancelled("interrupted"));
      },
    },
  );
  expect({ code, said: io.err.join(""), asked }).toEqual({
    code: 130,
    said: "ollm: interrupted\n",
    asked: [expect.stringMatching(/^Delete smollm2:135m .*\[y\/N\] $/) as unknown],
  });
  expect(home.ollama.models.has("smollm2:135m")).toBe(true);
});
