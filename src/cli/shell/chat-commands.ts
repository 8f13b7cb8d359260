import { writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, OrchestratorError, DaemonUnavailable } from "../../orchestrator/errors.ts";
import { nearestNames } from "../../orchestrator/text/nearest.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../commands/io.ts";
import type { ChatInput } from "./chat-input.ts";
import type { ChatContext } from "./chat.ts";
import { compareAndShow, pick } from "./compare.ts";
import { allModels, renderModels } from "./models.ts";
import type { Session } from "./session.ts";
import { renderTable, styled } from "./table.ts";
import { readTemplate } from "./template-input.ts";
import { renderTemplates } from "./template.ts";

interface ChatCommand {
  readonly name: string;
  /** First words that it knows, each with what comes behind it and what it does. */
  readonly actions: readonly (readonly [usage: string, meaning: string])[];
  run(rest: string, context: ChatContext): Promise<void>;
}

/** Splits off the first word. */
function firstWord(text: string): readonly [word: string, rest: string] {
  const [word = ""] = /^\S*/.exec(text) ?? [];
  return [word, text.slice(word.length).trim()];
}

const commands: readonly ChatCommand[] = [
  {
    name: "help",
    actions: [["", "this list"]],
    async run(_rest, { io }) {
      const rows = commands.flatMap(({ name, actions }) =>
        actions.map(([usage, meaning]) => [`/${name} ${usage}`.trimEnd(), meaning] as const),
      );
      const width = Math.max(...rows.map(([usage]) => usage.length));
      const widest = Math.max(...rows.map(([, meaning]) => meaning.length));
      const isNarrow = (io.columns ?? Number.POSITIVE_INFINITY) < width + 2 + widest;
      const lines = rows.map(([usage, meaning]) =>
        isNarrow
          ? `${usage}\n    ${styled(meaning, "dim", io)}`
          : `${usage.padEnd(width)}  ${styled(meaning, "dim", io)}`,
      );
      io.stdout(`${lines.join("\n")}\n"""  begins and ends a message of several lines\n`);
    },
  },
  {
    name: "memory",
    actions: [
      ["list [WORDS]", "what is remembered"],
      ["add KEY VALUE", "remember something; a key of several words in quotes"],
      ["forget KEY", "forget it"],
      ["clear", "forget everything, after asking"],
    ],
    run: memory,
  },
  {
    name: "template",
    actions: [
      ["list", "prompts with variables"],
      ["use NAME [KEY=VALUE ...] [files=A,B] [PROMPT]", "ask with one; files are its text"],
      ["create NAME", "write one"],
    ],
    run: template,
  },
  {
    name: "model",
    actions: [
      ["NAME", "it answers from now on; auto: the best that fits"],
      ["list", "the models on this machine"],
      ["pin [NAME]", "keep it loaded"],
      ["unpin [NAME]", "let it be unloaded again"],
      ["unload [NAME]", "free its memory"],
    ],
    run: model,
  },
  {
    name: "compare",
    actions: [["[MODEL ...] [PROMPT]", "ask several the same, or the last question"]],
    run: compare,
  },
  {
    name: "project",
    actions: [
      ["detect", "what kind of project this folder is"],
      ["use NAME", "its settings for this chat; none takes them back"],
      ["init", "write .ollm/project.yaml"],
    ],
    run: project,
  },
  {
    name: "system",
    actions: [["TEXT", "the system prompt from now on; alone: takes it back"]],
    async run(rest, { talk, io }) {
      talk.system = rest === "" ? undefined : rest;
      io.stdout(rest === "" ? "No system prompt from now on.\n" : "That is the system prompt from now on.\n");
    },
  },
  {
    name: "new",
    actions: [["", "begin a new conversation"]],
    async run(_rest, { talk, io }) {
      talk.continueId = "new";
      talk.turns.length = 0;
      io.stdout("A new conversation.\n");
    },
  },
  { name: "save", actions: [["FILE", "write the conversation to a new file, as Markdown"]], run: save },
  {
    name: "exit",
    actions: [["", "leave, as Ctrl-D does"]],
    async run(_rest, { talk }) {
      talk.hasEnded = true;
    },
  },
];

/** What TAB completes. */
export const chatWords: readonly string[] = commands.flatMap(({ name, actions }) => [
  `/${name}`,
  ...actions.flatMap(([usage]) => {
    const [word] = firstWord(usage);
    return /^[a-z]+$/.test(word) ? [`/${name} ${word}`] : [];
  }),
]);

/** Runs `/name ...`. Throws `InvalidRequest` with the nearest name for one that isn't there. */
export async function runChatCommand(text: string, context: ChatContext): Promise<void> {
  const [word, rest] = firstWord(text.trim().slice(1));
  const wanted = word === "?" ? "help" : word === "quit" || word === "bye" ? "exit" : word.toLowerCase();
  const command = commands.find(({ name }) => name === wanted);
  if (command === undefined) {
    const names = commands.map(({ name }) => name);
    const [close] = nearestNames(wanted, names, 1);
    throw new InvalidRequest(`there is no /${word}`, {
      hint: close === undefined ? "/help lists what there is" : `did you mean /${close}?`,
    });
  }
  await command.run(rest, context);
}

/** The error of an action that a command doesn't have. */
function unknownAction(command: string, action: string): InvalidRequest {
  const actions = (commands.find(({ name }) => name === command)?.actions ?? []).map(([usage]) => usage);
  const words = actions.map((usage) => firstWord(usage)[0]);
  const [close] = nearestNames(action, words, 1);
  const message = action === "" ? `/${command} needs more` : `/${command} has no ${action}`;
  return new InvalidRequest(message, {
    hint:
      close !== undefined && action !== ""
        ? `did you mean /${command} ${close}?`
        : actions.map((usage) => `/${command} ${usage}`).join("\n"),
  });
}

/** A key of several words stands in quotes; a value may. */
function firstKey(text: string): readonly [key: string, rest: string] {
  const [quoted] = /^(?:"[^"]+"|'[^']+')(?=\s|$)/.exec(text) ?? [];
  return quoted === undefined ? firstWord(text) : [unquoted(quoted), text.slice(quoted.length).trim()];
}

/** Without the quotes around the whole of it. */
function unquoted(text: string): string {
  const [, double, single] = /^(?:"([^"]*)"|'([^']*)')$/.exec(text) ?? [];
  return double ?? single ?? text;
}

async function memory(rest: string, { tool, data, io }: ChatContext): Promise<void> {
  const [action, more] = firstWord(rest);
  const [key, behind] = firstKey(more);
  const value = unquoted(behind);
  switch (action) {
    case "":
    case "list":
      return io.stdout(renderMemories(await data("recall", more === "" ? {} : { query: more }), io));
    case "add":
      if (value === "") {
        throw new InvalidRequest("/memory add needs a key and what to remember under it", {
          hint: "/memory add tone short and dry",
        });
      }
      return io.stdout(`${await tool("remember", { key, value })}\n`);
    case "forget":
      if (key === "") throw new InvalidRequest("/memory forget needs a key", { hint: "/memory list shows them" });
      // Nothing follows the key: quotes aren't needed.
      return io.stdout(`${await tool("forget", { key: value === "" ? key : more })}\n`);
    case "clear":
      return io.stdout(`${await tool("forget", { all: true })}\n`);
    default:
      throw unknownAction("memory", action);
  }
}

function renderMemories({ entries, total }: ToolAnswers["recall"], io: CommandIo): string {
  if (entries.length === 0) return "Nothing is remembered.\n";
  const table = renderTable(
    entries,
    [
      { title: "KEY", text: ({ key }) => key },
      { title: "VALUE", text: ({ value }) => value },
    ],
    io,
  );
  return `${table}${total > entries.length ? `${entries.length} of ${total}; /memory list WORDS finds others\n` : ""}`;
}

async function template(rest: string, { tool, data, session, io, input, answer }: ChatContext): Promise<void> {
  const [action, more] = firstWord(rest);
  const [name, behind] = firstWord(more);
  switch (action) {
    case "":
    case "list":
      return io.stdout(renderTemplates((await data("list_templates", {})).templates, io));
    case "use": {
      if (name === "") throw new InvalidRequest("/template use needs a name", { hint: "/template list shows them" });
      const { variables, prompt } = splitVariables(behind);
      return answer(prompt, { template: name, ...(await splitFiles(name, variables, session)) });
    }
    case "create": {
      if (name === "") throw new InvalidRequest("/template create needs a name", { hint: "/template create haiku" });
      const overwrite = await mayReplace(name, session, input);
      if (overwrite === false) return io.stdout("Nothing was created.\n");
      io.stdout('Its text, with {holes}; several lines between """:\n');
      const text = await input.nextOf("... ");
      if (text === undefined || text.trim() === "") return io.stdout("Nothing was created.\n");
      const description = await input.nextOf("What it is for: ");
      if (description === undefined) return io.stdout("Nothing was created.\n");
      const request = { name, template: text, overwrite, ...(description !== "" && { description }) };
      return io.stdout(`${await tool("create_template", request)}\n`);
    }
    default:
      throw unknownAction("template", action);
  }
}

/** Whether one of that name is replaced: before its text is typed. Undefined where there is none yet. */
async function mayReplace(name: string, { read }: Session, input: ChatInput): Promise<boolean | undefined> {
  try {
    const { file } = await read("ollm://templates/{name}", name);
    // A built-in one is hidden by the new one, not replaced.
    if (file === undefined) return undefined;
    return /^y(es)?$/i.test(await input.ask(`There is a template ${name} in ${file}. Replace it? [y/N] `));
  } catch (error) {
    // There is none; a name that can't be one is refused with the text.
    if (error instanceof OrchestratorError && !(error instanceof DaemonUnavailable)) return undefined;
    throw error;
  }
}

/** `tone=kind lang="plain English" and this` → variables, and the rest as the prompt. */
export function splitVariables(text: string): {
  readonly variables: Readonly<Record<string, string>>;
  readonly prompt: string;
} {
  const variables: Record<string, string> = Object.create(null) as Record<string, string>;
  let rest = text;
  for (;;) {
    const match = /^([A-Za-z_]\w*)=(?:"([^"]*)"|'([^']*)'|(\S*))\s*/.exec(rest);
    if (match === null) return { variables: { ...variables }, prompt: rest };
    const [whole, key = "", double, single, bare] = match;
    variables[key] = double ?? single ?? bare ?? "";
    rest = rest.slice(whole.length);
  }
}

/** `files=a.md,b.md` names files, unless the template has a variable of that name. */
async function splitFiles(
  name: string,
  variables: Readonly<Record<string, string>>,
  session: Session,
): Promise<{ readonly variables: Readonly<Record<string, string>>; readonly files?: readonly string[] }> {
  const { files, ...others } = variables;
  if (files === undefined) return { variables };
  const { variables: known } = await readTemplate(name, session);
  if (known.some((variable) => variable.name === "files")) return { variables };
  const names = files.split(",").filter((file) => file !== "");
  return { variables: others, files: names.map((file) => path.resolve(session.io.workingDirectory, file)) };
}

async function model(rest: string, { talk, tool, data, io }: ChatContext): Promise<void> {
  const [action, name] = firstWord(rest);
  switch (action) {
    case "":
    case "list":
      return io.stdout(renderModels(await data("list_models", { limit: allModels }), undefined, false, io));
    case "pin":
    case "unpin":
    // The old names of pin and unpin.
    case "keep":
    case "release":
    case "unload": {
      const meant = name === "" ? (talk.model ?? talk.answeredBy) : name;
      if (meant === undefined) throw new InvalidRequest(`/model ${action} needs a name: nobody has answered yet`);
      return io.stdout(`${await tool("manage_model", { action, model: meant })}\n`);
    }
    case "auto":
      talk.model = undefined;
      return io.stdout("The best model that fits answers from now on.\n");
    default:
      // Throws with the nearest name for one that isn't there.
      await tool("manage_model", { action: "show", model: action });
      talk.model = action;
      return io.stdout(`${action} answers from now on.\n`);
  }
}

async function compare(
  rest: string,
  { talk, data, session, input, isTerminal, cancellable }: ChatContext,
): Promise<void> {
  const words = rest.split(/\s+/).filter((word) => word !== "");
  // Names come first; the prompt begins with the first word that can't be one.
  const { models: held } = await data("list_models", { limit: allModels });
  const known = held.map(({ name }) => name);
  const isName = (word: string): boolean => known.includes(word) || known.includes(`${word}:latest`);
  const count = words.findIndex((word) => !isName(word));
  const models = words.slice(0, count < 0 ? words.length : count);
  const prompt = words.slice(models.length).join(" ") || talk.turns.at(-1)?.question;
  if (prompt === undefined || prompt === "") {
    throw new InvalidRequest("/compare needs a question, or one that was asked before");
  }
  const request = { prompt, system: talk.system, max_tokens: talk.maxTokens };
  const compared = await cancellable((signal) => compareAndShow(request, models, {}, session, signal));
  if (isTerminal) await pick(compared, session, input.ask);
}

async function project(rest: string, { tool, io }: ChatContext): Promise<void> {
  const [action, name] = firstWord(rest);
  switch (action) {
    case "":
    case "detect":
      return io.stdout(`${await tool("project_profile", { action: "detect" })}\n`);
    case "use":
      if (name === "")
        throw new InvalidRequest("/project use needs a name", { hint: "/project use none takes it back" });
      return io.stdout(`${await tool("project_profile", { action: "use", profile: name })}\n`);
    case "init":
      return io.stdout(`${await tool("project_profile", { action: "init" })}\n`);
    default:
      throw unknownAction("project", action);
  }
}

async function save(rest: string, { talk, io }: ChatContext): Promise<void> {
  if (rest === "") throw new InvalidRequest("/save needs the name of a new file");
  if (talk.turns.length === 0) throw new InvalidRequest("nothing has been said yet");
  const file = path.resolve(io.workingDirectory, rest);
  const text = talk.turns.map(({ question, answer, model: by }) => `**You:** ${question}\n\n**${by}:** ${answer}\n`);
  try {
    await writeFile(file, text.join("\n"), { flag: "wx" });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const reason = code === "EEXIST" ? "is there already, and is not overwritten" : `can't be written (${code})`;
    throw new InvalidRequest(`${file} ${reason}`, { cause: error });
  }
  io.stdout(`saved to ${file}\n`);
}
