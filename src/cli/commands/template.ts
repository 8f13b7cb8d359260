import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { argumentName } from "../../orchestrator/util/format-bytes.ts";
import { openVariable } from "../../orchestrator/util/placeholders.ts";
import type { ResourceData } from "../../resources/index.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import { type CommandIo, inTerminal, type JsonOption, type Options } from "../terminal/io.ts";
import { type Session, showCall, showRead, withSession } from "../terminal/session.ts";
import { type Column, renderTable, show, styled, styledError } from "../terminal/terminal-text.ts";
import { shellAnswers } from "./rate.ts";
import { foldersOf, located, textOf } from "./prompt-words.ts";
import { notesOn } from "../terminal/answer.ts";
import { type ShellCommand, repeated } from "./options.ts";

/** `ollm template`. */
export function addTemplates(program: ShellCommand): void {
  program.commandsGroup("Context:");
  const template = program.command("template");

  template.command("list").argument("[query]", "words of the name or description").does(listTemplates);

  template.command("show").argument("<name>", "a name from ollm template list").does(showTemplate);

  template
    .command("render")
    .argument("<name>", "a name from ollm template list")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .option("-f, --file <path>", "file, or git:staged and the like, to use like piped input; repeatable", repeated)
    .option("--generate", "send it to a model and print the answer")
    .does(renderTemplate);

  template
    .command("create")
    .argument("<name>", "letters, digits, - and _")
    .argument("[text]", "the text, with {variables} and {variables:default}")
    .option("-f, --file <path>", "read the text from this file")
    .option("-d, --description <text>", "description")
    .option("-s, --system <text>", "system prompt")
    .option("--model <model>", "model to use")
    .option("--profile <profile>", "a name from ollm profiles, in place of a model")
    .option("--project", "save it in the project of this folder")
    .option("--overwrite", "replace a template of that name")
    .does(createTemplate);

  template.command("edit-path").argument("<name>", "a name from ollm template list").does(templatePath);
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

/** `ollm template list`; invalid template files are reported on stderr. */
export function listTemplates(query: string | undefined, options: JsonOption, io: CommandIo): Promise<number> {
  return showCall("list_templates", { query }, options, io, ({ templates, problems = [] }) => {
    for (const problem of problems) io.stderr(`${oneLine(problem)}\n`);
    return templates.length === 0 ? "No template matches.\n" : renderTable(templates, rows, io);
  });
}

/** `ollm template show`. */
function showTemplate(name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://templates/{name}", name], options, io, (template) => described(template, io));
}

/**
 * `ollm template render`: the filled text, or with `generate` a model's answer to it. Piped input and `--file` fill the
 * variable `text`, or the only required variable without a value.
 */
async function renderTemplate(
  name: string,
  flags: Options<{ switch: "json" | "generate"; list: "var" | "file" }>,
  io: CommandIo,
): Promise<number> {
  const files = await Promise.all((flags.file ?? []).map((file) => located(file, io)));
  const roots = await foldersOf(files, io);
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
    const answers = flags.generate === true ? await shellAnswers(io) : undefined;
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
        io.stderr(`${styledError(oneLine(note), io)}\n`);
      }
    }
  });
}

/** `ollm template create`: the text is an argument, a file, or piped in. */
function createTemplate(
  name: string,
  text: string | undefined,
  flags: Options<{
    switch: "json" | "project" | "overwrite";
    text: "file" | "description" | "system" | "model" | "profile";
  }>,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call, signal }) => {
    const template = text ?? (flags.file && (await textOf(flags.file, io))) ?? (await io.readInput?.(signal));
    if (template === undefined || template === "") {
      throw new InvalidRequest("the template has no text", {
        next: [
          advice(`give it as an argument: ollm template create ${name} "Summarise: {text}"`),
          { step: "setArgument", argument: "files" },
          advice("pipe it in"),
        ],
      });
    }
    const { json: _json, file: _file, project, ...given } = flags;
    const scope = project === true ? "project" : undefined;
    const created = await call("create_template", { ...given, name, template, scope });
    show(created.structured, flags, io, () => `${created.text}\n`);
  });
}

/** `ollm template edit-path`: the template's file, for an editor. A built-in template is copied to the user's folder first. */
function templatePath(name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    const found = await session.read("ollm://templates/{name}", name);
    let { file } = found;
    if (file === undefined) {
      const { source: _source, hides: _hides, options: how = {}, ...rest } = found;
      const given = Object.entries(how).map(([key, value]) => [argumentName(key), value] as const);
      const copy = await session.call("create_template", { ...rest, ...Object.fromEntries(given) });
      file = copy.structured.file;
      io.stderr("Copied the built-in template; the copy replaces it until you delete the file.\n");
    }
    show({ name, file }, options, io, () => `${file}\n`);
  });
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
  { title: "DEFAULT", text: ({ default: fallback }) => fallback, isExtra: 2 },
  { title: "VALUES", text: ({ enum: of, type }) => of?.join(" | ") ?? (type === "string" ? "" : type), isExtra: 1 },
  { title: "DESCRIPTION", text: ({ description }) => description, isExtra: 3 },
];

/** Next steps for a template's missing variable without a terminal. */
export function missingVariable(): NextSteps {
  return [advice("give it with --var NAME=VALUE, a text also with --file"), inTerminal];
}

type TemplateData = ResourceData["ollm://templates/{name}"];

/** Parses `name=value` pairs. Throws `InvalidRequest`. */
export function variablesOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new InvalidRequest(`--var ${pair} is not NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/**
 * The piped input under the name of the variable that it fills: `text`, else the only required variable without a
 * value; undefined if there is none. Throws `InvalidRequest` if there are several.
 */
export async function pipedInto(
  name: string,
  given: Readonly<Record<string, string>>,
  piped: string,
  session: Session,
): Promise<Readonly<Record<string, string>> | undefined> {
  const { variables } = await session.read("ollm://templates/{name}", name);
  const fillable = openVariable(
    variables.map(({ required: isRequired, ...variable }) => ({ ...variable, isRequired })),
    given,
  );
  if (fillable !== undefined) return { [fillable]: piped };
  const open = variables.filter((variable) => variable.required && !Object.hasOwn(given, variable.name));
  const [first] = open;
  if (first === undefined) return undefined;
  if (open.length === 1) return { [first.name]: piped };
  throw new InvalidRequest(`stdin could fill any of ${open.map((variable) => variable.name).join(", ")}`, {
    next: advice("give all but one of them with --var NAME=VALUE"),
  });
}
