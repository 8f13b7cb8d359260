import { describe, expect, it } from "vitest";
import { version } from "../../src/version.ts";
import { serverEnvironment, startRaw } from "../support/stdio-client.ts";

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
    expect(stdout).toMatch(/ {2}import <file> <name> +take a local GGUF/);
    expect(stdout).toContain("claude mcp add ollm -- ollm");
  });

  it("says what is wrong with a command line, on stderr, and ends with 2", async () => {
    expect(await run("--rot", "x")).toEqual({
      code: 2,
      stdout: "",
      stderr: "ollm: unknown option '--rot'; did you mean --root?\n  ollm --help lists commands and options\n",
    });
  });

  it.each([
    [["impor", "a.gguf", "b"], "ollm: unknown command 'impor'; did you mean import?"],
    [["import", "a.gguf"], "ollm: missing required argument 'name'"],
    [["import", "a.gguf", "b", "c"], "ollm: too many arguments for 'import'. Expected 2 arguments but got 3."],
    [["--root"], "ollm: option '--root <folder>' argument missing"],
    [["--model", "m", "import", "a.gguf", "b"], "ollm: --model is an option of the server, not of ollm import"],
  ])("refuses %j and ends with 2", async (words, message) => {
    const { code, stdout, stderr } = await run(...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.split("\n")[0]).toBe(message);
  });

  it("says its version", async () => {
    expect(await run("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("reads a tilde as the home folder: hosts start it without a shell", async () => {
    const { stderr } = await run("--standalone", "--root", "~/none-of-that-name", "--root", "~");
    expect(stderr).toContain("--root ~/none-of-that-name is not a folder");
    const fine = startRaw(serverEnvironment({}), ["--standalone", "--root", "~"]);
    fine.process.stdin?.end();
    expect(await fine.exited).toBe(0);
  });

  it("refuses a root that is no folder at once, not at the first file", async () => {
    expect(await run("--standalone", "--root", "none-of-that-name")).toEqual({
      code: 2,
      stdout: "",
      stderr: "ollm: --root none-of-that-name is not a folder\n  Name an existing folder.\n",
    });
  });
});
