import { report } from "../../../src/cli/terminal/session.ts";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { builtCommand } from "../../support/stdio-client.ts";
import { createGate } from "../../support/fake-engine.ts";
import { useShellHome, runCommand } from "./built-shell.ts";

const { home, shareAnother, useOwn, ollm, built, chats, lastPrompt } = useShellHome();

describe("models", () => {
  it("are listed in columns, or as one JSON value and nothing else", async () => {
    const { code, stdout, stderr } = await built(["models", "smol"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^NAME +SIZE +ENGINE\nsmollm2:135m +[\d.]+ MB +ollama\n$/);
    const asJson = await ollm(["models", "--json"]);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ total: 2, models: [{ engine: "ollama" }, {}] });
    const none = await ollm(["models", "nothing-like-it"]);
    expect(none.stdout).toBe(
      'No model matches "nothing-like-it". All models: ollm models; another one: ollm pull NAME\n',
    );
  });

  it("that don't exist end with 1 and a next step in the shell's words", async () => {
    const { code, stdout, stderr } = await ollm(["run", "nope:7b", "Hi"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^ollm: .*nope:7b/);
    expect(stderr).toContain("ollm pull nope:7b");
  });

  it("are recognised by a family's name before a quoted prompt, but not by a word of a sentence", async () => {
    expect(await ollm(["run", "smollm2", "Hi there"])).toMatchObject({ code: 0 });
    expect(lastPrompt()).toBe("Hi there");
    expect((await ollm(["run", "llama3.2", "Hi"])).stderr).toContain("ollm pull llama3.2");
    expect((await ollm(["run", "mistral", "Why is it windy?"])).stderr).toContain("ollm pull mistral");
    expect(await ollm(["run", "solar", "panels"])).toMatchObject({ code: 0 });
    expect(lastPrompt()).toBe("solar panels");
    const { stderr } = await ollm(["run", "python3.14", "news"]);
    expect(stderr).toBe("ollm: no model is called python3.14; it is part of the prompt\n");
  });
});

describe("models that come and go", () => {
  shareAnother();

  it("are loaded, pinned, shown and unloaded", async () => {
    expect((await ollm(["load", "smollm2:135m", "--dry-run"])).stdout).toMatch(/^smollm2:135m fits\n {2}available /);
    expect((await ollm(["ps"])).stdout).toMatch(/^No models are loaded\.\n/);
    expect((await ollm(["load", "smollm2:135m", "--pin"])).stdout).toMatch(
      /^Loaded smollm2:135m in [\d.]+ m?s, and pinned\n/,
    );
    const { loaded } = JSON.parse((await ollm(["ps", "--json"])).stdout) as { loaded: unknown };
    expect(loaded).toMatchObject([{ name: "smollm2:135m", engine: "ollama", is_pinned: true }]);
    expect((await ollm(["ps"])).stdout).toMatch(/smollm2:135m +\S+ \S+ +CPU +pinned/);
    expect((await ollm(["unload", "--all"])).stdout).toMatch(/^Unloaded smollm2:135m/);
    expect(await ollm(["unload"])).toMatchObject({ code: 2, stdout: "" });
    expect((await ollm(["show", "smollm2:135m"])).stdout).toMatch(/^name +smollm2:135m\n/);
  });

  it("are created from others; an existing name asks before it is replaced", async () => {
    const words = ["create", "poet", "--from", "smollm2:135m", "--system", "You rhyme."];
    const parameters = ["--parameter", "temperature=1.2", "--parameter", "stop=END", "--parameter", "stop=a=b"];
    const made = await ollm([...words, ...parameters, "--json"]);
    expect({ code: made.code, ...(JSON.parse(made.stdout) as object) }).toMatchObject({
      code: 0,
      model: "poet:latest",
      created: { engine: "ollama" },
    });
    expect(home().ollama.models.get("poet:latest")).toMatchObject({
      system: "You rhyme.",
      parameters: 'temperature 1.2\nstop "END"\nstop "a=b"',
    });
    const again = await ollm(words);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain("Replace poet:latest");
    expect((await ollm([...words, "--yes"])).code).toBe(0);
    const typo = await ollm(["create", "other", "--from", "smollm2:135m", "--parameter", "temprature=1"]);
    expect(typo.stderr).toContain("Did you mean temperature?");
    const shapeless = await ollm(["create", "other", "--from", "smollm2:135m", "--parameter", "temperature"]);
    expect(shapeless.stderr).toContain("--parameter temperature is not NAME=VALUE");
    expect(home().ollama.models.has("other:latest")).toBe(false);
  });

  it("are deleted after asking; without a terminal the error suggests --yes, and nothing is deleted", async () => {
    const asked = await ollm(["rm", "big:7b"]);
    expect(asked.code).toBe(2);
    expect(asked.stderr).toContain("Delete big:7b");
    expect(asked.stderr).toContain("Add --yes");
    expect(home().ollama.models.has("big:7b")).toBe(true);
    const deleted = await ollm(["rm", "big:7b", "--yes", "--json"]);
    expect(deleted).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(deleted.stdout)).toMatchObject({ deleted: [{ model: "big:7b" }] });
    expect(home().ollama.models.has("big:7b")).toBe(false);
  });
});

describe("without models", () => {
  shareAnother();
  beforeEach(() => home().ollama.models.clear());

  it("the list suggests one to pull", async () => {
    const { code, stdout } = await ollm(["models"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^No models are installed\. To get one:\n {2}ollm pull \S+\n/);
  });

  it("a prompt fails with a model to pull", async () => {
    const { code, stdout, stderr } = await ollm(["run", "Hi"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^ollm: no model is installed\n {2}Run `ollm pull \S+` \(.*\)\.\n$/);
  });
});

describe("run", () => {
  it("prints only the answer; piped input precedes the question", async () => {
    expect(await built(["run", "Why?"])).toEqual({ code: 0, stdout: "The sky is blue.\n", stderr: "" });
    const summarise = ["run", "--explain", "smollm2:135m", "Summarise", "this"];
    const { stderr } = await built(summarise, "Foxes are red.\n");
    expect(lastPrompt()).toBe('Input:\n"""\nFoxes are red.\n"""\n\nSummarise this');
    // Piped text is not classified as source code.
    expect(stderr).toMatch(/task summarization: looks like summarization \(\d+% sure\); profile general/);
    await ollm(summarise, 'def f():\n  """Docs."""\n');
    expect(lastPrompt()).toBe('Input:\n""""\ndef f():\n  """Docs."""\n""""\n\nSummarise this');
    await ollm(["run", "--model", "smollm2:135m"], "only this\n");
    expect(lastPrompt()).toBe("only this");
  });

  it("with --dry-run ranks the models and asks none", async () => {
    await useOwn();
    const { code, stdout, stderr } = await ollm(["run", "--dry-run", "Why?"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^smollm2:135m on ollama would answer: .*\ntask \w+: looks like .*; profile general\n/);
    expect(stdout).toMatch(
      /\n {2}1\. smollm2:135m: [\d.]+ s, .*; load [\d.]+ \+ prompt [\d.]+ \+ answer [\d.]+ s, from its size\n/,
    );
    expect(chats()).toEqual([]);
    const { stdout: json } = await ollm(["run", "--dry-run", "--json", "Why?"]);
    expect(JSON.parse(json)).toMatchObject({
      model: "smollm2:135m",
      route: {
        considered: expect.arrayContaining([expect.objectContaining({ expected_seconds: expect.any(Number) })]),
      },
    });
  });

  it("takes a first word that names a model as the model, also where stdin is empty and there is no terminal", async () => {
    for (const words of [["smollm2:135m"], ["smollm2:135m", "--json"], ["--model", "smollm2:135m"], ["smollm2"]]) {
      const { code, stdout, stderr } = await built(["run", ...words]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      const model = words.find((word) => word.startsWith("smollm2")) ?? "";
      expect(stderr).toMatch(new RegExp(`^ollm: run needs a prompt for ${model}\n {2}Try \`ollm run ${model} `));
    }
    expect(chats()).toEqual([]);
    expect((await ollm(["run"])).stderr).toMatch(/^ollm: run needs a prompt\n {2}Try `ollm run "/);
    // A word that names none is a prompt.
    expect((await ollm(["run", "Hello"])).stdout).toBe("The sky is blue.\n");
    expect(lastPrompt()).toBe("Hello");
  });

  it("starts no daemon for a call without words at a terminal", async () => {
    await useOwn();
    const io = home().io();
    const error: unknown = await runCommand({ ...io, isTerminal: true }, "run").catch((thrown: unknown) => thrown);
    expect(report(error, io)).toBe(2);
    expect(io.err.join("")).toContain("or run `ollm chat` in a terminal to chat");
    expect(() => home().claim()).toThrow("no daemon claimed");
  });

  it("says what it waits for when stdin is open and silent", async () => {
    const words = [builtCommand, "run", "Hello"];
    const child = spawn(process.execPath, words, { env: home().environment, stdio: ["pipe", "ignore", "pipe"] });
    const [said] = (await once(child.stderr, "data")) as [Buffer];
    expect(said.toString()).toBe("ollm: waiting for stdin (add </dev/null if nothing is piped in)\n");
    child.stdin.end();
    expect((await once(child, "exit"))[0]).toBe(0);
  });

  it("reads files in any folder, and writes the answer to a file", async () => {
    await writeFile(path.join(home().folder, "notes.txt"), "Foxes jump.");
    const { code, stdout } = await ollm(["run", "--file", "notes.txt", "-o", "out.txt", "Who jumps?"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(lastPrompt()).toContain("Foxes jump.");
    expect(await readFile(path.join(home().folder, "out.txt"), "utf8")).toBe("The sky is blue.\n");
    expect(await ollm(["run", "--file", "nope.txt", "Hi"])).toMatchObject({
      code: 2,
      stderr: "ollm: nope.txt was not found\n  Did you mean notes.txt?\n",
    });
  });

  it("reads what is staged in the whole repository, from any of its folders", async () => {
    const folder = path.join(home().folder, "repo", "sub");
    await mkdir(folder, { recursive: true });
    execFileSync("git", ["init", "--quiet"], { cwd: path.dirname(folder) });
    const inFolder = (words: readonly string[]) => ollm(words, undefined, {}, folder);
    expect(await inFolder(["run", "--file", "git:staged", "Hi"])).toMatchObject({
      code: 1,
      stderr:
        "ollm: git:staged: nothing is staged\n" +
        "  Run git add first, or use git:diff for changes that are not staged.\n",
    });
    await writeFile(path.join(folder, "..", "notes.txt"), "Foxes jump.\n");
    execFileSync("git", ["add", "notes.txt"], { cwd: path.dirname(folder) });
    expect(await inFolder(["run", "--file", "git:staged", "Who jumps?"])).toMatchObject({ code: 0 });
    expect(lastPrompt()).toMatch(
      /^File git:staged:\n```\ndiff --git a\/notes\.txt[^]*\+Foxes jump\.\n```\n\nWho jumps\?$/,
    );
    const rendered = await ollm(["template", "render", "summary", "--file", "repo/sub/git:staged"]);
    expect(rendered.stdout).toContain("<text>\ndiff --git a/notes.txt b/notes.txt\n");
    const elsewhere = await ollm(["compare", "Who?", "smollm2:135m", "big:7b", "--file", "git:staged"]);
    expect(elsewhere).toMatchObject({ code: 1, stderr: expect.stringContaining("is not in a git repository") });
  });

  it("rejects binary and oversized input, and a folder as output, before it asks a model", async () => {
    expect(await built(["run", "Why?"], "a\0b")).toMatchObject({
      code: 2,
      stderr: "ollm: stdin is binary; text expected\n  Convert it to text first.\n",
    });
    expect((await built(["run", "Why?"], "word ".repeat(800_000))).stderr).toBe(
      'ollm: stdin has 4.0 MB; at most 3.1 MB are allowed\n  Save it to a file: ollm run --file FILE "Summarise this".\n',
    );
    expect((await ollm(["run", "-o", ".", "Why?"])).stderr).toMatch(/^ollm: .* is a folder\n {2}Name a file/);
    expect(chats()).toEqual([]);
  });

  it("prints one JSON value with --json", async () => {
    const { code, stdout } = await ollm(["run", "--json", "--max-tokens", "20", "Why?"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ text: "The sky is blue.", finish_reason: "stop" });
  });

  it("prints the whole answer of the model that takes over from one that fails", async () => {
    await useOwn();
    home().ollama.misbehave({ kind: "error_line", afterLines: 2, error: "the runner has crashed" });
    const { code, stdout } = await ollm(["run", "Why?"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/The sky is blue\.\n$/);
  });

  it.each(["closes at the first words", "never reads"])("ends without a message when its reader %s", async (how) => {
    // More than any pipe holds, though the window cuts it to 8,000 words: without a reader it can't be written.
    const reply = Array.from({ length: 9_000 }, (_, index) => String(index).padStart(28, "word")).join(" ");
    const model = home().ollama.models.get("smollm2:135m") ?? { name: "smollm2:135m" };
    home().ollama.models.set(model.name, { ...model, reply });
    onTestFinished(() => void home().ollama.models.set(model.name, model));
    // The answer is not at its end before its reader has gone: its notes would be said.
    const gone = createGate();
    if (how === "never reads") home().ollama.misbehave({ kind: "hang", afterLines: 7_000, until: gone.pass() });
    const command = spawn(
      process.execPath,
      [builtCommand, "run", "smollm2:135m", "Count", "--max-tokens", "1000000", "--context-size", "4096"],
      { env: home().environment, stdio: ["ignore", "pipe", "pipe"] },
    );
    let stderr = "";
    command.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const exited = once(command, "close");
    // What lies unread in the pipe when it closes makes another error of the system than an empty one.
    if (how === "never reads") {
      await home().until("words wait in the pipe", () => command.stdout.readableLength > 0);
      command.stdout.destroy();
    } else command.stdout.once("data", () => command.stdout.destroy());
    gone.open();
    expect({ code: (await exited)[0] as unknown, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it.skipIf(process.platform === "win32")("an interrupt cancels it at the daemon and ends with 130", async () => {
    home().ollama.misbehave({ kind: "hang", afterLines: 2 });
    const command = spawn(process.execPath, [builtCommand, "run", "Why?"], {
      env: home().environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const exited = once(command, "close");
    await once(command.stdout, "data");
    process.kill(-(command.pid ?? 0), "SIGINT");
    expect((await exited)[0]).toBe(130);
    await home().until("the call is logged", async () => /route_and_generate .*cancelled/.test(await home().callLog()));
  });
});

describe.skipIf(process.platform === "win32")("an interrupted pull", () => {
  it("ends with 130, is cancelled at the daemon, and the message shows how to continue", async () => {
    home().ollama.misbehave({ kind: "hang", on: "/api/pull", afterLines: 3 });
    const command = spawn(process.execPath, [builtCommand, "pull", "qwen2.5:0.5b"], {
      env: home().environment,
      stdio: ["ignore", "pipe", "pipe"],
      // Ctrl-C reaches every process of the terminal's group at once, the front that carries the call among them.
      detached: true,
    });
    let stderr = "";
    command.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const exited = once(command, "close");
    await home().until("it is under way", () => stderr.includes(" of "));
    process.kill(-(command.pid ?? 0), "SIGINT");
    expect((await exited)[0]).toBe(130);
    expect(stderr).toContain("ollm: interrupted; run ollm pull qwen2.5:0.5b again to continue\n");
    await home().until("the call is logged", async () => /pull_model .*cancelled/.test(await home().callLog()));
    expect((await home().status()).jobs).toBe(0);
  });
});

describe("an error", () => {
  it("names commands and flags, not tools", async () => {
    expect((await ollm(["memory", "forget", "nope"])).stderr).toBe(
      'ollm: nothing is remembered under "nope"\n  Run `ollm memory list` to see the keys.\n',
    );
    expect((await ollm(["show", ""])).stderr).toBe(
      "ollm: <model> is empty\n  Check the variable, if it comes from one.\n",
    );
    expect((await ollm(["winners", "--undo"])).stderr).toBe(
      "ollm: nothing was picked\n  Run `ollm winners` to see your picks.\n",
    );
    expect((await ollm(["project", "show"])).stderr).toBe(
      "ollm: no project here: no .ollm/project.yaml and no file such as package.json was found\n" +
        "  Change to the project's folder.\n",
    );
  });

  it("a note reports a truncated answer, with the flag that sets the limit", async () => {
    const { code, stdout, stderr } = await ollm(["run", "--max-tokens", "2", "Why?"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^The sky/) as unknown });
    expect(stderr).toBe("cut off after 2 tokens; --max-tokens sets the limit\n");
  });
});
