import { describe, expect, it } from "vitest";
import { createCommands } from "../../src/cli/commands/index.ts";
import { taskNames } from "../../src/orchestrator/api/types.ts";
import { completionOf } from "../../src/cli/commands/complete.ts";

const program = createCommands(() => Promise.resolve());

/** Embedding is no task of a prompt. */
const taskWords = taskNames.filter((task) => task !== "embedding");

/** What the last word may be, the words before it being complete; words without their meanings. */
function at(line: string): unknown {
  const words = line.split(" ");
  const { prefix, wanted } = completionOf(program, words.slice(0, -1), words.at(-1) ?? "");
  const found = typeof wanted === "string" ? wanted : wanted.map(({ word }) => word);
  return prefix === "" ? found : [prefix, found];
}

describe("completionOf", () => {
  it("knows commands and those below them, but not what the help leaves out", () => {
    expect(at("")).toEqual(expect.arrayContaining(["run", "models", "stop", "completion"]));
    expect(at("")).not.toEqual(expect.arrayContaining(["ls"]));
    for (const hidden of ["keep", "cp", "logs", "help"]) expect(at("")).not.toContain(hidden);
    expect(at("config ")).toContain("validate");
    expect(at("config set options.temperature ")).not.toContain("validate");
    expect(at("help ")).toContain("daemon");
    expect(at("help daemon ")).toContain("restart");
    expect(at("completion ")).toEqual(["bash", "zsh", "fish", "powershell"]);
  });

  it.each([
    ["run ", "models"],
    ["run smollm2:135m ", []],
    ["ls ", []],
    ["rm a b ", "models"],
    ["stop ", "models"],
    ["pin ", "models"],
    ["compare Why? ", "models"],
    ["compare ", []],
    ["run -m ", "models"],
    ["run --temperature 1 --model ", "models"],
    ["run --think ", "models"],
    ["run --model=", ["--model=", "models"]],
    ["--model ", "models"],
    ["run --file ", "files"],
    ["run -f a -f ", "files"],
    ["import ", "files"],
    ["import a.gguf ", []],
    ["run --task ", taskWords],
    ["run --profile ", "profiles"],
    ["profiles show ", "profiles"],
    ["run --task=c", ["--task=", taskWords]],
    ["run --unknown=", ["--unknown=", []]],
    ["config get ", "settings"],
    ["nonsense ", []],
    ["run -- -", "models"],
    ["rm -- ", "models"],
  ])("after ollm %s", (line, wanted) => {
    expect(at(line)).toEqual(wanted);
  });

  it("offers options after a dash, and where nothing else can stand", () => {
    expect(at("ps -")).toEqual(["--json", "--help"]);
    expect(at("ps ")).toEqual(["--json", "--help"]);
    expect(at("-")).toEqual(expect.arrayContaining(["--root", "--standalone", "--version"]));
    expect(at("load --")).not.toContain("--keep");
  });
});
