import type { Command } from "commander";
import { withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";

const shape = "folder, kind, evidence, file, profile, model, system_prompt, default_profile, is_trusted, notes";

/** `ollm project`: per-project settings. */
export function addProject(program: Command, run: Run): void {
  const project = program
    .command("project")
    .description("show or set per-project settings (.ollm/project.yaml)")
    .helpCommand(false);
  withExamples(project, [
    ["ollm project show", "the settings for this folder"],
    ["ollm project init", "create .ollm/project.yaml for the detected kind"],
    ["ollm project trust", "approve the settings of a cloned project"],
  ]);
  withExamples(
    withJson(
      project
        .command("detect")
        .argument("[folder]", "the project (default: this folder)")
        .description("detect the kind of a project, and explain why"),
      "folder, kind, evidence",
    ),
    [
      ["ollm project detect", "for this folder"],
      ["ollm project detect ../site --json", "for another folder, as JSON"],
    ],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).detectProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("show")
        .argument("[folder]", "the project (default: the one that contains this folder)")
        .description("show a project's settings, and which of them are not used"),
      shape,
    ),
    [["ollm project show", "for the project that contains this folder"]],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).showProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("use")
        .argument("<profile>", "typescript, typescript-monorepo, python, rust, go, documentation, or fast, code, ...")
        .description("create .ollm/project.yaml with this profile; never overwrites"),
      shape,
    ),
    [["ollm project use python", "use the Python profile in this folder"]],
  ).action((profile: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).initProject(undefined, { ...options, profile }, io)),
  );
  withExamples(
    withJson(
      project
        .command("init")
        .argument("[folder]", "the project (default: this folder)")
        .description("create .ollm/project.yaml for the detected kind; never overwrites")
        .option("--profile <profile>", "a profile, in place of the detected kind"),
      shape,
    ),
    [
      ["ollm project init", "for the detected kind"],
      ["ollm project init --profile code", "with this profile"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly profile?: string }) =>
    run(async (io) => (await import("./commands/project.ts")).initProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("trust")
        .argument("[folder]", "the project (default: the one that contains this folder)")
        .description("approve the project's model, system prompt and templates until they change")
        .option("-y, --yes", "print and approve them without asking"),
      shape,
    ),
    [
      ["ollm project trust", "show them and ask"],
      ["ollm project trust --yes", "approve without asking"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly yes?: boolean }) =>
    run(async (io) => (await import("./commands/project.ts")).trustProject(folder, options, io)),
  );
}
