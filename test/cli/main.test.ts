import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { version } from "../../src/ipc/version.ts";
import { initialize, serverEnvironment, startRaw } from "../support/stdio-client.ts";

async function run(...args: string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const command = startRaw(serverEnvironment({}), args);
  let stdout = "";
  command.process.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  return { code: await command.exited, stdout, stderr: command.stderr() };
}

describe("ollm", () => {
  it("helps with examples", async () => {
    const { code, stdout } = await run("--help");
    expect(code).toBe(0);
    expect(stdout).toMatch(/ {2}import +add a local GGUF file to the model store\n/);
    expect(stdout).toContain("claude mcp add ollm -- ollm");
  });

  it("says what is wrong with a command line, on stderr, and ends with 2", async () => {
    expect(await run("--rot", "x")).toEqual({
      code: 2,
      stdout: "",
      stderr: "ollm: unknown option '--rot'; did you mean --root?\n  ollm help lists commands and options\n",
    });
  });

  it.each([
    [["impor", "a.gguf", "b"], "ollm: unknown command 'impor'; did you mean import?"],
    [["import", "a.gguf"], "ollm: <name> is missing"],
    [["import", "a.gguf", "b", "c"], "ollm: import takes 2 arguments, not 3"],
    [["--root"], "ollm: --root needs a value: --root <folder>"],
    [["serve", "--port", "abc"], 'ollm: --port is "abc"; allowed: whole number from 0 to 65535'],
    [["serve", "--host", "0.0.0.0"], "ollm: unknown option '--host'; did you mean --bind?"],
    [["run", "--temperature", "9", "Hi"], "ollm: --temperature is 9; allowed: number from 0 to 2"],
    [["daemon", "logs", "-n", "x"], 'ollm: --lines is "x"; allowed: whole number from 0 to 1000000'],
    [
      ["run", "--check", "maybe", "Hi"],
      'ollm: --check is "maybe"; allowed: none, quotes, judged, agree, agree:MODEL, command:NAME',
    ],
    [["completion", "csh"], 'ollm: <shell> is "csh"; allowed: bash, zsh, fish, powershell'],
    [["daemon", "status", "now"], "ollm: status takes no arguments, not 1"],
    [["create", "x"], "ollm: ollm create needs a model, or a file that names one"],
    [["run", ""], "ollm: <model> is empty"],
    [["run", "--model", " ", "Hi"], "ollm: --model is empty"],
    [["chat", ""], "ollm: <model> is empty"],
    [["pull", ""], "ollm: <name> is empty"],
    [["update"], "ollm: ollm has no command update"],
    [["--model", "m", "import", "a.gguf", "b"], "ollm: --model is an option of the server, not of ollm import"],
  ])("refuses %j and ends with 2", async (words, message) => {
    const { code, stdout, stderr } = await run(...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(message);
  });

  it("says its version", async () => {
    expect(await run("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("expands a tilde to the home folder; a missing root is a warning, not an error", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "ollm-main-"));
    try {
      const own = { HOME: folder, USERPROFILE: folder, OLLM_HOME: path.join(folder, "home") };
      const server = startRaw(serverEnvironment(own), ["--standalone", "--root", "~/not-yet", "--root", "~"]);
      server.send(initialize);
      await server.next();
      server.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "system_status", arguments: {} } });
      const { result } = (await server.next()) as { result?: { structuredContent?: { warnings?: string[] } } };
      const sentence = `the root ${path.join(folder, "not-yet")} is not a folder; its files can be used once it is`;
      expect(result?.structuredContent?.warnings).toContain(sentence);
      expect(server.stderr()).toContain(sentence);
      server.process.stdin?.end();
      expect(await server.exited).toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
