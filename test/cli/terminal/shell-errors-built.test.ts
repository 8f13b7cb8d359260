import { chmod, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { useShellHome } from "./built-shell.ts";

const { home, useOwn, ollm, built } = useShellHome();

describe("pinned memories", () => {
  it("that don't fit are named in a note", async () => {
    await useOwn();
    await ollm(["memory", "add", "--pin", "style guide", "word ".repeat(700)]);
    await ollm(["memory", "add", "--pin", "pet", "Rex"]);
    const { code, stderr } = await ollm(["run", "Why?"]);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: `pinned memories were left out: "style guide"; memories are limited to 512 tokens (recall.injectTokens)\n`,
    });
    expect(JSON.parse((await ollm(["run", "--json", "Why?"])).stdout)).toHaveProperty("notes");
    expect((await ollm(["run", "--no-memory", "Why?"])).stderr).toBe("");
  });
});

describe("an engine that is down", () => {
  it("makes a dry run fail instead of printing a plan", async () => {
    await useOwn();
    expect((await ollm(["load", "smollm2:135m", "--dry-run"])).code).toBe(0);
    await home().ollama.close();
    const { code, stdout, stderr } = await ollm(["load", "smollm2:135m", "--dry-run"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^ollm: .*(ollama|Ollama)/);
  });
});

describe("a registry on this machine", () => {
  it("is reached over plain HTTP by Ollama, too", async () => {
    await useOwn();
    const name = "127.0.0.1:5000/team/tiny:latest";
    await ollm(["pull", name], "", { OLLM_NETWORK_ALLOWED_HOSTS: "127.0.0.1:5000" });
    const pull = home().ollama.requests.find((request) => request.path === "/api/pull");
    expect(pull?.body).toMatchObject({ name, insecure: true });
  });
});

describe("a wrong variable", () => {
  const count = (text: string, part: string) => text.split(part).length - 1;

  it("is reported once, with its next step, if it prevents the command", async () => {
    for (const words of [["models"], ["run", "Why?"], ["status"], ["chat"]]) {
      const { code, stdout, stderr } = await built(words, "Why?\n", { OLLM_TEMPERATURE: "hot" });
      expect(code).toBe(1);
      expect(count(stdout + stderr, 'options.temperature is "hot"')).toBe(1);
      expect(stderr).toContain("  Correct the value where it is set.\n");
    }
  });

  it("is reported once if it is ignored", async () => {
    for (const words of [["models"], ["status"], ["ps"]]) {
      const { code, stdout, stderr } = await ollm(words, "", { OLLM_TYPO: "1" });
      expect({ code, said: count(stdout + stderr, "OLLM_TYPO is not a setting") }).toEqual({ code: 0, said: 1 });
    }
  });
});

describe("a home that others can change", () => {
  it.skipIf(process.platform === "win32")("is reported once, with what to do about it", async () => {
    await useOwn();
    await chmod(home().folder, 0o777);
    const { code, stdout, stderr } = await ollm(["models"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^ollm: [^\n]*home[^\n]*\n {2}[A-Z][^\n]*\n$/);
  });
});

describe("a failure", () => {
  it("of a stopped Ollama is one sentence with one next step", async () => {
    await useOwn();
    const down = { OLLM_HOST: "http://127.0.0.1:9", OLLM_HOME: path.join(home().folder, "home") };
    const { code, stderr } = await ollm(["run", "smollm2:135m", "Hi"], "", down);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ollm: \S/);
    expect(stderr).not.toContain("internal error");
    expect(stderr.trim().split("\n").length).toBeLessThanOrEqual(3);
  });

  it("to use the home is reported, and the command works without it", async () => {
    await useOwn();
    await writeFile(path.join(home().folder, "taken"), "");
    const { code, stdout, stderr } = await built(["models"], "", { OLLM_HOME: path.join(home().folder, "taken") });
    expect(code).toBe(0);
    expect(stdout).toContain("smollm2:135m");
    expect(stderr).toMatch(/^ollm: .*taken/);
    expect(stderr).not.toMatch(/at .*\.mjs:\d/);
  });
});
