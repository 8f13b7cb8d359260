import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { report, withSession } from "../terminal/session.ts";
import { type Column, renderTable } from "../terminal/table.ts";
import { styled, styledError } from "../terminal/terminal-text.ts";
import { show } from "./models.ts";
import { ShellAnswers } from "./rate.ts";
import { type TemplateData, foldersOf, located, missingVariable, pipedInto, readTemplate, variablesOf } from "./run.ts";
import { notesOn } from "./run-notes.ts";

interface Shown {
  readonly json?: boolean;
}

export interface CreateFlags extends Shown {
  /** The file with the template's text. */
  readonly file?: string;
  readonly description?: string;
  readonly system?: string;
  readonly model?: string;
  readonly profile?: string;
  readonly project?: boolean;
  readonly overwrite?: boolean;
}

type TemplateRow = ToolAnswers["list_templates"]["templates"][number];

const rows: readonly Column<TemplateRow>[] = [
  { title: "NAME", text: ({ name }) => name },
  { title: "VARIABLES", text: ({ variables = [] }) => variables.join(" "), isExtra: 1 },
  { title: "FROM", text: originOf, style: ({ hides }) => (hides === undefined ? undefined : "yellow") },
  { title: "DESCRIPTION", text: ({ description }) => description, isExtra: 2 },
];

function originOf({ source = "built-in", hides }: Pick<TemplateRow, "source" | "hides">): string {
  return hides === undefined ? source : `${source}, hides ${hides}`;
}

/** Templates as a table. */
export function renderTemplates(templates: readonly TemplateRow[], io: CommandIo): string {
  return templates.length === 0 ? "No template matches.\n" : renderTable(templates, rows, io);
}

/** `ollm template list`; invalid template files are reported on stderr. */
export function listTemplates(query: string | undefined, options: Shown, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { structured } = await call("list_templates", { query });
    show(structured, options, io, ({ templates }) => renderTemplates(templates, io));
    if (options.json !== true) for (const problem of structured.problems ?? []) io.stderr(`${oneLine(problem)}\n`);
    return 0;
  });
}

/** `ollm template show`. */
export function showTemplate(name: string, options: Shown, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    show(await readTemplate(name, session), options, io, (template) => described(template, io));
    return 0;
  });
}

/**
 * `ollm template render`: the filled text, or with `generate` a model's answer to it. Piped input and `--file` fill the
 * variable `text`, or the only required variable without a value.
 */
export async function renderTemplate(
  name: string,
  flags: Shown & { readonly var?: readonly string[]; readonly file?: readonly string[]; readonly generate?: boolean },
  io: CommandIo,
): Promise<number> {
  let files: readonly string[];
  let roots: readonly string[];
  try {
    files = await Promise.all((flags.file ?? []).map((file) => located(file, io)));
    roots = await foldersOf(files, io);
  } catch (error) {
    return report(error, io);
  }
  return withSession(io, { noTerminal: missingVariable, roots }, async (session) => {
    const given = variablesOf(flags.var ?? []);
    const piped = await io.readInput?.(session.signal);
    const filled = piped === undefined || piped === "" ? {} : await pipedInto(name, given, piped, session);
    if (filled === undefined) {
      throw new InvalidRequest(`stdin fills no variable: all required variables of ${name} are given`, {
        next: advice("leave out the --var that stdin is for"),
      });
    }
    const variables = { ...given, ...filled };
    const answers = flags.generate === true ? await ShellAnswers.of(io) : undefined;
    await answers?.forget();
    const { structured } = await session.call("render_template", {
      name,
      variables,
      files: files.length === 0 ? undefined : files,
      generate: flags.generate,
    });
    await answers?.note(structured);
    show(structured, flags, { stdout: io.content }, ({ text }) => (text.endsWith("\n") ? text : `${text}\n`));
    if (flags.generate === true && flags.json !== true) {
      for (const note of notesOn(structured, "the template's maxTokens sets the limit")) {
        io.stderr(`${styledError(oneLine(note), "dim", io)}\n`);
      }
    }
    return 0;
  });
}

/** `ollm template create`: the text is an argument, a file, or piped in. */
export function createTemplate(
  name: string,
  text: string | undefined,
  flags: CreateFlags,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call, signal }) => {
    const template = text ?? (await fileText(flags.file, io)) ?? (await io.readInput?.(signal));
    if (template === undefined || template === "") {
      throw new InvalidRequest("the template has no text", {
        next: [
          advice(`give it as an argument: ollm template create ${name} "Summarise: {text}"`),
          { step: "setArgument", argument: "files" },
          advice("pipe it in"),
        ],
      });
    }
    const { description, system, model, profile, overwrite } = flags;
    const scope = flags.project === true ? "project" : undefined;
    const created = await call("create_template", {
      name,
      template,
      description,
      system,
      model,
      profile,
      scope,
      overwrite,
    });
    show(created.structured, flags, io, () => `${created.text}\n`);
    return 0;
  });
}

/** `ollm template edit-path`: the template's file, for an editor. A built-in template is copied to the user's folder first. */
export function templatePath(name: string, options: Shown, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    const found = await readTemplate(name, session);
    let { file } = found;
    if (file === undefined) {
      const { source: _source, hides: _hides, options: how = {}, ...rest } = found;
      const { temperature, topP: top_p, maxTokens: max_tokens } = how;
      const copy = await session.call("create_template", { ...rest, temperature, top_p, max_tokens });
      file = copy.structured.file;
      io.stderr("Copied the built-in template; the copy replaces it until you delete the file.\n");
    }
    show({ name, file }, options, io, () => `${file}\n`);
    return 0;
  });
}

async function fileText(file: string | undefined, io: CommandIo): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(resolve(io.workingDirectory, file), "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new InvalidRequest(`${file} can't be read (${code})`, { cause: error });
  }
}

function described(template: TemplateData, io: CommandIo): string {
  const { variables, system, model, profile, options, format, file } = template;
  const settings = [
    `from: ${originOf(template)}${file === undefined ? "" : ` (${file})`}`,
    model && `model: ${model}`,
    profile && `profile: ${profile}`,
    options &&
      `options: ${Object.entries(options)
        .map(([key, value]) => `${key} ${value}`)
        .join(", ")}`,
    format === undefined ? undefined : `format: ${typeof format === "string" ? format : JSON.stringify(format)}`,
  ].flatMap((line) => (line ? [oneLine(line)] : []));
  const sections = [
    `${styled(oneLine(template.name), "bold", io)}: ${oneLine(template.description)}\n${settings.join("\n")}`,
    variables.length === 0 ? undefined : renderTable(variables, variableColumns, io).trimEnd(),
    system === undefined ? undefined : `${styled("system", "dim", io)}\n${system.trimEnd()}`,
    `${styled("template", "dim", io)}\n${template.template.trimEnd()}`,
  ];
  return `${sections.filter(Boolean).join("\n\n")}\n`;
}

const variableColumns: readonly Column<TemplateData["variables"][number]>[] = [
  { title: "VARIABLE", text: ({ name }) => name },
  { title: "REQUIRED", text: ({ required }) => (required ? "yes" : "") },
  { title: "DEFAULT", text: ({ default: fallback = "" }) => fallback, isExtra: 2 },
  {
    title: "VALUES",
    text: ({ enum: values, type }) => values?.join(" | ") ?? (type === "string" ? "" : type),
    isExtra: 1,
  },
  { title: "DESCRIPTION", text: ({ description = "" }) => description, isExtra: 3 },
];
