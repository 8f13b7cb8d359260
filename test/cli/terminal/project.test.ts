import { mkdir, readFile, realpath } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { writeFiles } from "../../support/project-client.ts";
import { runCommand } from "./built-shell.ts";

let daemon: DaemonHome;
let folder: string;

beforeEach(async () => {
  daemon = await makeDaemonHome();
  folder = path.join(await realpath(daemon.folder), "work");
  await mkdir(folder);
});

afterEach(() => daemon.close());

/** A terminal in `folder` whose user answers `answer`. */
function terminal(answer?: string) {
  const questions: string[] = [];
  const io = {
    ...daemon.io(),
    workingDirectory: folder,
    isTerminal: answer !== undefined,
    ask(question: string) {
      questions.push(question);
      return Promise.resolve(answer ?? "");
    },
  };
  return { io, questions, printed: () => io.out.join(""), said: () => io.err.join("") };
}

describe("ollm project", () => {
  it("detects a project, writes its file, shows it, and does not overwrite it", async () => {
    await writeFiles(folder, { "tsconfig.json": "{}", "package.json": "{}" });
    const detecting = terminal();
    expect(await runCommand(detecting.io, "project", "detect", "--json")).toBe(0);
    expect(JSON.parse(detecting.printed())).toEqual({
      folder,
      kind: "typescript",
      evidence: ["tsconfig.json"],
    });
    const writing = terminal();
    expect(await runCommand(writing.io, "project", "init", "--profile", "documentation")).toBe(0);
    expect(await readFile(path.join(folder, ".ollm", "project.yaml"), "utf8")).toContain("profile: documentation");
    const again = terminal();
    expect(await runCommand(again.io, "project", "init")).toBe(1);
    expect(again.said()).toContain("already exists");
    const showing = terminal();
    expect(await runCommand(showing.io, "project", "show")).toBe(0);
    expect(showing.printed()).toContain("profile    documentation");
  });

  it("rejects a folder that does not exist", async () => {
    const missing = path.join(folder, "missing");
    await expect(runCommand(terminal().io, "project", "detect", "missing")).rejects.toThrow(
      `${missing} is not a folder`,
    );
  });

  it("approves a project only if the user agrees", async () => {
    await writeFiles(folder, { ".ollm/project.yaml": "systemPrompt: Be brief.\n" });
    const refusing = terminal("n");
    expect(await runCommand(refusing.io, "project", "trust")).toBe(1);
    const untyped = terminal();
    expect(await runCommand(untyped.io, "project", "trust")).toBe(2);
    expect(untyped.said()).toContain("add --yes");
    const agreeing = terminal("y");
    expect(await runCommand(agreeing.io, "project", "trust")).toBe(0);
    expect(agreeing.questions[0]).toContain("> Be brief.");
    const showing = terminal();
    expect(await runCommand(showing.io, "project", "show", "--json")).toBe(0);
    expect(JSON.parse(showing.printed())).toMatchObject({ system_prompt: "Be brief." });
  });

  it("shows what --yes approves, or that there is nothing to approve", async () => {
    const nothing = terminal();
    await writeFiles(folder, { "go.mod": "module x\n" });
    expect(await runCommand(nothing.io, "project", "trust", "--yes")).toBe(0);
    expect(nothing.printed()).toContain("has nothing to approve");
    await writeFiles(folder, { ".ollm/project.yaml": "model: smollm2:135m\n" });
    const agreeing = terminal();
    expect(await runCommand(agreeing.io, "project", "trust", "--yes")).toBe(0);
    expect(agreeing.said()).toContain("Model: smollm2:135m");
  });

  it("rejects the home folder", async () => {
    const { io } = terminal();
    await expect(runCommand(io, "project", "init", daemon.folder)).rejects.toThrow("is your home folder");
  });
});
