import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { DaemonHome } from "../../support/daemon-home.ts";
import { builtCommand } from "../../support/stdio-client.ts";
import { makeShellHome, runBuilt, runHere } from "./built-shell.ts";

let home: DaemonHome;

beforeAll(async () => {
  home = await makeShellHome();
});
afterAll(() => home.close());

const ollm = (words: readonly string[]) => runHere(home, words);
const chatted = (input: string, ...words: readonly string[]) => runBuilt(home, ["chat", ...words], input);

interface Learned {
  readonly learned?: readonly {
    readonly task: string;
    readonly model: string;
    readonly answers: number;
    score: number;
  }[];
}

async function learned(profile = "code"): Promise<Learned["learned"]> {
  return (JSON.parse((await ollm(["profiles", "show", profile, "--json"])).stdout) as Learned).learned;
}

it("ollm good and bad rate the last answer of this shell, once, and profiles show and reset it", async () => {
  const early = await ollm(["good"]);
  expect(early).toMatchObject({ code: 2, stdout: "" });
  expect(early.stderr).toBe(
    "ollm: no answer of this shell is known\n" +
      "  Ask with `ollm run` first, or name both: `ollm good --task TASK --model MODEL`.\n",
  );

  expect(await ollm(["run", "--task", "code", "--model", "smollm2:135m", "Sort a list"])).toMatchObject({ code: 0 });
  const good = await ollm(["good"]);
  expect(good).toMatchObject({ code: 0, stderr: "" });
  expect(good.stdout).toMatch(/^Rated smollm2:135m good for code tasks \(answer of \d\d:\d\d\)\n$/);
  expect(await learned()).toEqual([{ task: "code", model: "smollm2:135m", answers: 1, score: 1 }]);
  expect(await ollm(["bad"])).toMatchObject({ code: 0 });
  expect(await learned()).toEqual([{ task: "code", model: "smollm2:135m", answers: 1, score: 0 }]);

  // A request that fails leaves no answer, and not the one before it either.
  expect(await ollm(["run", "--model", "nothing:1b", "Hi"])).toMatchObject({ code: 1 });
  expect(await ollm(["bad"])).toMatchObject({ code: 2 });

  expect((await ollm(["profiles", "show", "code"])).stdout).toMatch(
    /learned for code +smollm2:135m scores 0 of 1 in 1/,
  );
  const asked = await ollm(["profiles", "reset"]);
  expect(asked).toMatchObject({ code: 2, stdout: "" });
  expect(asked.stderr).toContain("Add --yes");
  expect(await learned()).toHaveLength(1);
  expect(await ollm(["profiles", "reset", "--yes"])).toMatchObject({
    code: 0,
    stdout: "Forgot what was learned; picks stay.\n",
  });
  expect(await learned()).toBeUndefined();
});

it("two clients that teach at once lose nothing, not even when the daemon is killed then", async () => {
  const named = ["--task", "debugging", "--model", "big:7b"];
  const refused = await ollm(["bad", ...named]);
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toBe(
    "ollm: big:7b gave no answer in the last hour that could be rated\n" +
      "  Rate an answer soon after it was given, or add --force.\n",
  );
  for (let count = 0; count < 4; count += 1) await ollm(["run", "--model", "big:7b", "Hi"]);
  const rated = await Promise.all(["good", "good", "bad", "bad"].map((rating) => ollm([rating, ...named])));
  expect(rated.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  process.kill(home.claim().pid, "SIGKILL");
  expect(await learned()).toEqual([{ task: "debugging", model: "big:7b", answers: 4, score: 0.5 }]);
});

it("/good and /bad rate the last answer of a chat, and ollm bad can correct it afterwards", async () => {
  const early = await chatted("/good\n");
  expect(early.code).toBe(2);
  expect(early.stderr).toContain("there is no answer to rate");
  const chat = await chatted("Write a haiku about rain\n/good\n", "smollm2:135m");
  expect(chat).toMatchObject({ code: 0, stderr: "" });
  expect(chat.stdout).toMatch(/\nRated smollm2:135m good for creative tasks/);
  expect(await learned("creative")).toMatchObject([{ model: "smollm2:135m", score: 1 }]);
  expect(await runBuilt(home, ["bad"])).toMatchObject({ code: 0 });
  expect(await learned("creative")).toMatchObject([{ model: "smollm2:135m", answers: 1, score: 0 }]);
});

it.skipIf(process.platform === "win32")(
  "a script has an answer of its own, which the shell outside does not see",
  async () => {
    const inScript = (words: string) => {
      // The semicolon keeps the shell from replacing itself with the command.
      const shell = spawn("sh", ["-c", `${words}; true`], {
        env: home.environment,
        cwd: home.folder,
        stdio: ["ignore", "pipe", "pipe"],
      });
      let text = "";
      for (const stream of [shell.stdout, shell.stderr])
        stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
      return once(shell, "close").then(() => text);
    };
    const run = `"${process.execPath}" "${builtCommand}"`;
    expect(await ollm(["run", "--task", "fast", "--model", "smollm2:135m", "Hi"])).toMatchObject({ code: 0 });
    expect(await inScript(`${run} good`)).toContain("no answer of this shell is known");
    const asked = await inScript(`${run} run --task code --model big:7b Hi | cat; ${run} good`);
    expect(asked).toContain("Rated big:7b good for code tasks");
    expect((await ollm(["good"])).stdout).toContain("Rated smollm2:135m good for fast tasks");
  },
);
