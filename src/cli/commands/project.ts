import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { Answers, Question } from "../../server/daemon/client.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { type CommandIo, inTerminal, type JsonOption } from "../terminal/io.ts";
import { showCall, type withSession } from "../terminal/session.ts";
import { type Fact, renderFacts } from "../terminal/terminal-text.ts";
import type { ShellCommand } from "./options.ts";

const shape = "folder, kind, evidence, file, profile, model, system_prompt, default_profile, is_trusted, notes";

/** `ollm project`: per-project settings. */
export function addProject(program: ShellCommand): void {
  const project = program.command("project");
  project.command("detect").argument("[folder]", "the project (default: this folder)").does(shows("detect", "."));
  project
    .command("show")
    .argument("[folder]", "the project (default: the one that contains this folder)")
    .json(shape)
    .does(shows("show"));
  project
    .command("use")
    .argument("<profile>", "a name from ollm profiles: typescript, python, rust, code, ...")
    .json(shape)
    .does((profile: string, options: JsonOption, io: CommandIo) => initProject(undefined, { ...options, profile }, io));
  project
    .command("init")
    .argument("[folder]", "the project (default: this folder)")
    .option("--profile <profile>", "a profile, in place of the detected kind")
    .json(shape)
    .does(initProject);
  project
    .command("trust")
    .argument("[folder]", "the project (default: the one that contains this folder)")
    .option("-y, --yes", "print and approve them without asking")
    .json(shape)
    .does(trustProject);
}

type ShownProject = ToolAnswers["project_profile"];

/** Calls `project_profile`. The daemon may read the folder that the user named. */
async function callProject(
  { folder, ...input }: ToolInputs["project_profile"],
  options: JsonOption,
  io: CommandIo,
  text: (project: ShownProject) => string = (project) => renderProject(project, io),
  session: Parameters<typeof withSession>[1] = {},
): Promise<number> {
  const named = folder === undefined ? {} : { folder: await projectFolderOf(folder, io) };
  const roots = Object.values(named);
  return showCall("project_profile", { ...input, ...named }, options, io, text, { ...session, roots });
}

/** `ollm project detect [folder]` and `show [folder]`. */
const shows =
  (action: "detect" | "show", otherwise?: string) =>
  (folder: string | undefined, options: JsonOption, io: CommandIo): Promise<number> =>
    callProject({ action, folder: folder ?? otherwise }, options, io);

/** `ollm project init [folder]`, and `use <profile>` for a project without a file. */
function initProject(
  folder: string | undefined,
  options: JsonOption & { readonly profile?: string },
  io: CommandIo,
): Promise<number> {
  return callProject({ action: "init", folder: folder ?? ".", profile: options.profile }, options, io, renderWritten);
}

/** The file that `init` has written. */
export function renderWritten({ file = "", profile }: ShownProject): string {
  return `Wrote ${oneLine(file)}${profile === undefined ? "" : ` (profile ${oneLine(profile)})`}\n`;
}

/**
 * `ollm project trust [folder]`: shows what the project's files contain and asks for approval. The approval holds for
 * all clients until one of these files changes.
 */
function trustProject(
  folder: string | undefined,
  options: JsonOption & { readonly yes?: boolean },
  io: CommandIo,
): Promise<number> {
  let hasAsked = false;
  const agree = (question: Question): Promise<Answers> => {
    hasAsked = true;
    io.stderr(`${question.message}\n`);
    return Promise.resolve(Object.fromEntries(question.fields.map(({ name }) => [name, true])));
  };
  const text = (project: ShownProject): string =>
    project.file === undefined && !hasAsked
      ? `${oneLine(project.folder)} has nothing to approve.\n`
      : `Approved the settings of ${oneLine(project.folder)}; a changed file needs approval again.\n`;
  return callProject({ action: "use", folder }, options, io, text, {
    ...(options.yes === true && { ask: agree }),
    noTerminal: () => [advice("read it, then add --yes"), inTerminal],
  });
}

/** Resolves `folder`. Throws `InvalidRequest` unless it is a folder other than the user's home, whose `.ollm` is not a project's. */
async function projectFolderOf(folder: string, io: CommandIo): Promise<string> {
  const projectFolder = resolve(io.workingDirectory, folder);
  if (projectFolder === resolve(io.userHome)) {
    throw new InvalidRequest(`${projectFolder} is your home folder, not a project`, {
      next: [advice("name a project's folder"), advice("change the settings for all projects with ollm config")],
    });
  }
  const found = await stat(projectFolder).catch(() => undefined);
  if (found?.isDirectory() === true) return projectFolder;
  throw new InvalidRequest(`${projectFolder} is not a folder`, { next: advice("name the folder of a project") });
}

export function renderProject(project: ShownProject, io: CommandIo): string {
  const facts: readonly Fact[] = [
    ["folder", project.folder],
    ["kind", project.kind === undefined ? "unknown" : kindText(project)],
    ["file", project.file],
    ["profile", project.profile],
    ["default profile", project.default_profile],
    ["families", project.families?.join(", ")],
    ["templates", project.templates?.join(", ")],
    ["model", project.model],
    ["system prompt", project.system_prompt],
    ["enabled tools", project.enabled?.join(", ")],
    ["disabled tools", project.disabled?.join(", ")],
    ["approved", project.is_trusted === false ? "no (ollm project trust)" : undefined],
  ];
  return `${renderFacts(facts, io)}${(project.notes ?? []).map((note) => `${oneLine(note)}\n`).join("")}`;
}

function kindText({ kind = "", evidence = [] }: ShownProject): string {
  return evidence.length === 0 ? kind : `${kind} (${evidence.join(", ")})`;
}
