import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { InvalidRequest } from "../../orchestrator/errors.ts";
import type { Answers, Question } from "../../server/client.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../commands/io.ts";
import { withSession } from "./session.ts";
import { inShellWords } from "./shell-words.ts";
import { show } from "./show.ts";
import { renderFacts } from "./table.ts";
import { oneLine } from "../../orchestrator/text/control-characters.ts";

type ShownProject = ToolAnswers["project_profile"];

interface ProjectOptions {
  readonly json?: boolean;
}

/** `ollm project detect [folder]`. */
export async function detectProject(
  folder: string | undefined,
  options: ProjectOptions,
  io: CommandIo,
): Promise<number> {
  const projectFolder = await projectFolderOf(folder ?? ".", io);
  return withSession(io, { roots: [projectFolder] }, async ({ call }) => {
    const { structured } = await call("project_profile", { action: "detect", folder: projectFolder });
    show(structured, options, io, (project) => renderProject(project, io));
    return 0;
  });
}

/** `ollm project show [folder]`: what holds there, for the shell as for assistants. */
export async function showProject(folder: string | undefined, options: ProjectOptions, io: CommandIo): Promise<number> {
  const projectFolder = folder === undefined ? undefined : await projectFolderOf(folder, io);
  return withSession(io, projectFolder === undefined ? {} : { roots: [projectFolder] }, async ({ call }) => {
    const { structured } = await call("project_profile", { action: "show", folder: projectFolder });
    show(structured, options, io, (project) => renderProject(project, io));
    return 0;
  });
}

/** `ollm project init [folder]`, and `use <profile>` where there is no file yet. */
export async function initProject(
  folder: string | undefined,
  options: ProjectOptions & { readonly profile?: string },
  io: CommandIo,
): Promise<number> {
  const projectFolder = await projectFolderOf(folder ?? ".", io);
  return withSession(io, { roots: [projectFolder] }, async ({ call }) => {
    const { structured } = await call("project_profile", {
      action: "init",
      folder: projectFolder,
      profile: options.profile,
    });
    show(
      structured,
      options,
      io,
      ({ file, profile }) => `Wrote ${oneLine(file ?? "")} (profile ${oneLine(profile ?? "")})\n`,
    );
    return 0;
  });
}

/**
 * `ollm project trust [folder]`: shows what the project brings along and asks. Kept for these very files: it holds for
 * all assistants, and a file that changes is asked about again.
 */
export async function trustProject(
  folder: string | undefined,
  options: ProjectOptions & { readonly yes?: boolean },
  io: CommandIo,
): Promise<number> {
  const projectFolder = folder === undefined ? undefined : await projectFolderOf(folder, io);
  let hasAsked = false;
  const agree = (question: Question): Promise<Answers> => {
    hasAsked = true;
    io.stderr(`${question.message}\n`);
    return Promise.resolve(Object.fromEntries(question.fields.map(({ name }) => [name, true])));
  };
  const session = {
    ...(projectFolder !== undefined && { roots: [projectFolder] }),
    ...(options.yes === true && { ask: agree }),
    noTerminalHint: "Look at it, then add --yes; or run it in a terminal.",
  };
  return withSession(io, session, async ({ call }) => {
    const { structured } = await call("project_profile", { action: "use", folder: projectFolder });
    show(structured, options, io, (project) => {
      if (project.file === undefined && !hasAsked) return `${oneLine(project.folder)} has nothing to approve.\n`;
      return `${oneLine(project.folder)} is approved as it is now.\n`;
    });
    return 0;
  });
}

/** A home folder is no project: its `.ollm` is where all settings lie. */
async function projectFolderOf(folder: string, io: CommandIo): Promise<string> {
  const projectFolder = resolve(io.workingDirectory, folder);
  if (projectFolder === resolve(io.userHome)) {
    throw new InvalidRequest(`${projectFolder} is your home folder, not a project`, {
      hint: "Name a project's folder; settings for everything: ollm config",
    });
  }
  const isFolder = await stat(projectFolder).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) return projectFolder;
  throw new InvalidRequest(`${projectFolder} is not a folder`, { hint: "Name the folder of a project." });
}

function renderProject(project: ShownProject, io: CommandIo): string {
  const rows: readonly (readonly [name: string, value: string | undefined])[] = [
    ["folder", project.folder],
    ["kind", project.kind === undefined ? "none that is known" : kindText(project)],
    ["file", project.file],
    ["profile", project.profile],
    ["default profile", project.default_profile],
    ["model", project.model],
    ["system prompt", project.system_prompt],
    ["only tools", project.enabled?.join(", ")],
    ["without tools", project.disabled?.join(", ")],
    ["trusted", project.is_trusted === false ? "no: ollm project trust" : undefined],
  ];
  const facts = rows.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
  return `${renderFacts(facts, io)}${(project.notes ?? []).map((note) => `${inShellWords(oneLine(note))}\n`).join("")}`;
}

function kindText({ kind = "", evidence = [] }: ShownProject): string {
  return evidence.length === 0 ? kind : `${kind} (${evidence.join(", ")})`;
}
