import type { Command } from "commander";
import { withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";

const shape = "folder, kind, evidence, file, profile, model, system_prompt, default_profile, is_trusted, notes";

/** `ollm project`: the settings that come with a folder. */
export function addProject(program: Command, run: Run): void {
  const project = program
    .command("project")
    .description("settings of one project (.ollm/project.yaml), for requests that come from it")
    .helpCommand(false);
  withExamples(project, [
    ["ollm project show", "what holds in this folder"],
    ["ollm project init", "write .ollm/project.yaml with what was found"],
    ["ollm project trust", "use what a cloned project brings along, after looking at it"],
  ]);
  withExamples(
    withJson(
      project
        .command("detect")
        .argument("[folder]", "the project (default: this folder)")
        .description("say what kind of project it is, and why"),
      "folder, kind, evidence",
    ),
    [
      ["ollm project detect", "of this folder"],
      ["ollm project detect ../site --json", "of another one, for a program"],
    ],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./shell/project.ts")).detectProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("show")
        .argument("[folder]", "the project (default: the one this folder lies in)")
        .description("show what holds there, and what of its file is not used"),
      shape,
    ),
    [["ollm project show", "of the project that this folder lies in"]],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./shell/project.ts")).showProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("use")
        .argument("<profile>", "typescript, typescript-monorepo, python, rust, go, documentation, or fast, code, ...")
        .description("write .ollm/project.yaml with that profile, where there is none yet"),
      shape,
    ),
    [["ollm project use python", "requests from here get the profile of Python code"]],
  ).action((profile: string, options: JsonOption) =>
    run(async (io) => (await import("./shell/project.ts")).initProject(undefined, { ...options, profile }, io)),
  );
  withExamples(
    withJson(
      project
        .command("init")
        .argument("[folder]", "the project (default: this folder)")
        .description("write .ollm/project.yaml with what was found; never over one that is there")
        .option("--profile <profile>", "in place of the kind that was found"),
      shape,
    ),
    [
      ["ollm project init", "with the kind that was found"],
      ["ollm project init --profile code", "with a profile of your choice"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly profile?: string }) =>
    run(async (io) => (await import("./shell/project.ts")).initProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("trust")
        .argument("[folder]", "the project (default: the one this folder lies in)")
        .description("approve its model, system prompt and templates as they are now; asked again when they change")
        .option("-y, --yes", "approve without asking, after printing them"),
      shape,
    ),
    [
      ["ollm project trust", "shows what it brings along, and asks"],
      ["ollm project trust --yes", "after you have looked at it"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly yes?: boolean }) =>
    run(async (io) => (await import("./shell/project.ts")).trustProject(folder, options, io)),
  );
}
