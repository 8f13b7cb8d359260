import { writeFile } from "node:fs/promises";
import path from "node:path";
import { DaemonUnavailable, InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../tools/index.ts";
import { compareAndShow, pick } from "../commands/compare.ts";
import { renderMemories } from "../commands/memory.ts";
import { allModels, renderModels } from "../commands/models.ts";
import { renderProject, renderWritten } from "../commands/project.ts";
import { type ShellAnswer, rateInChat } from "../commands/rate.ts";
import { readTemplate } from "../commands/run.ts";
import { renderTemplates } from "../commands/template.ts";
import type { ChatInput } from "./chat-input.ts";
import type { CommandIo } from "./io.ts";
import type { Session } from "./session.ts";
import { hanging, styled } from "./terminal-text.ts";

/** The state of a chat, which its commands change. */
export interface Talk {
  model: string | undefined;
  system: string | undefined;
  readonly useMemory: boolean;
  /** Limits each answer; undefined: the settings' limit. */
  readonly maxTokens: number | undefined;
  /** `new` before the first answer. */
  continueId: string;
  /** The model of the last answer. */
  answeredBy: string | undefined;
  /** The last answer, for a rating; undefined if the last request has none. */
  answered: ShellAnswer | undefined;
  readonly turns: { readonly question: string; readonly answer: string; readonly model: string }[];
  /** The last comparison. */
  compared: { readonly prompt: string; readonly models: readonly string[] } | undefined;
  hasEnded: boolean;
}

/** Context of a chat's commands. */
export interface ChatContext {
  readonly talk: Talk;
  readonly session: Session;
  readonly input: ChatInput;
  readonly io: CommandIo;
  /** Decorations are shown. */
  readonly isTerminal: boolean;
  /** Asks a model, as a message does; `more` is added to the request. */
  answer(question: string, more?: ToolInputs["route_and_generate"]): Promise<void>;
  /** Calls a tool, until Ctrl-C; resolves to its text. */
  tool<Name extends ToolName>(name: Name, input: ToolInputs[Name]): Promise<string>;
  /** Calls a tool, until Ctrl-C; resolves to its structured answer. */
  data<Name extends ToolName>(name: Name, input: ToolInputs[Name]): Promise<ToolAnswers[Name]>;
  /** Runs work that Ctrl-C cancels without ending the chat. */
  cancellable<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value>;
}

interface ChatCommand {
  readonly name: string;
  /** Its first words with their arguments, and what each does. */
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
    actions: [["", "show this list"]],
    async run(_rest, { io }) {
      const rows = commands.flatMap(({ name, actions }) =>
        actions.map(([usage, meaning]) => [`/${name} ${usage}`.trimEnd(), meaning] as const),
      );
      const width = Math.max(...rows.map(([usage]) => usage.length));
      const widest = Math.max(...rows.map(([, meaning]) => meaning.length));
      const isNarrow = (io.columns ?? Number.POSITIVE_INFINITY) < width + 2 + widest;
      const lines = rows.map(([usage, meaning]) =>
        isNarrow
          ? `${usage}\n${styled(hanging("    ", meaning, io), "dim", io)}`
          : `${usage.padEnd(width)}  ${styled(meaning, "dim", io)}`,
      );
      io.stdout(`${lines.join("\n")}\n"""  before and after a message of several lines\n`);
    },
  },
  {
    name: "memory",
    actions: [
      ["list [WORDS]", "list memories, or those that match"],
      ["add KEY VALUE", "save a memory; quote a key of several words"],
      ["forget KEY", "delete a memory"],
      ["clear", "delete all memories, after asking"],
    ],
    run: memory,
  },
  {
    name: "template",
    actions: [
      ["list", "list prompt templates"],
      ["use NAME [KEY=VALUE ...] [files=A,B] [PROMPT]", "ask with a template; files fill its text"],
      ["create NAME", "create a template"],
    ],
    run: template,
  },
  {
    name: "model",
    actions: [
      ["NAME", "switch to a model; auto: the best one for each question"],
      ["list", "list installed models"],
      ["pin [NAME]", "pin a model in memory"],
      ["unpin [NAME]", "unpin a model"],
      ["unload [NAME]", "unload a model"],
    ],
    run: model,
  },
  {
    name: "compare",
    actions: [["[MODEL ...] [PROMPT]", "ask several models the same; alone: repeat the last comparison"]],
    run: compare,
  },
  {
    name: "project",
    actions: [
      ["detect", "show the kind of project in this folder"],
      ["use NAME", "use a profile for this chat; none: stop using it"],
      ["init", "create .ollm/project.yaml"],
    ],
    run: project,
  },
  {
    name: "good",
    actions: [["", "rate the last answer as good: routing learns from it"]],
    run: (_rest, context) => rateInChat("good", context),
  },
  { name: "bad", actions: [["", "rate it as bad"]], run: (_rest, context) => rateInChat("bad", context) },
  {
    name: "system",
    actions: [["TEXT", "set the system prompt; alone: remove it"]],
    async run(rest, { talk, io }) {
      talk.system = rest === "" ? undefined : rest;
      io.stdout(rest === "" ? "System prompt removed.\n" : "System prompt set.\n");
    },
  },
  {
    name: "new",
    actions: [["", "start a new conversation"]],
    async run(_rest, { talk, io }) {
      talk.continueId = "new";
      talk.turns.length = 0;
      io.stdout("Started a new conversation.\n");
    },
  },
  { name: "save", actions: [["FILE", "save the conversation as Markdown in a new file"]], run: save },
  {
    name: "exit",
    actions: [["", "exit, as Ctrl-D does"]],
    async run(_rest, { talk }) {
      talk.hasEnded = true;
    },
  },
];

/** Words that TAB completes. */
export const chatWords: readonly string[] = commands.flatMap(({ name, actions }) => [
  `/${name}`,
  ...actions.flatMap(([usage]) => {
    const [word] = firstWord(usage);
    return /^[a-z]+$/.test(word) ? [`/${name} ${word}`] : [];
  }),
]);

/** Runs `/name ...`. Throws `InvalidRequest` for an unknown name. */
export async function runChatCommand(text: string, context: ChatContext): Promise<void> {
  const [word, rest] = firstWord(text.trim().slice(1));
  const wanted = word === "?" ? "help" : word === "quit" || word === "bye" ? "exit" : word.toLowerCase();
  const command = commands.find(({ name }) => name === wanted);
  if (command === undefined) {
    const names = commands.map(({ name }) => name);
    const [close] = nearestNames(wanted, names, 1);
    throw new InvalidRequest(`unknown command /${word}`, {
      next: close === undefined ? advice("type /help") : { step: "didYouMean", names: [`/${close}`] },
    });
  }
  await command.run(rest, context);
}

/** The error of a missing or unknown action. */
function unknownAction(command: string, action: string): InvalidRequest {
  const actions = (commands.find(({ name }) => name === command)?.actions ?? []).map(([usage]) => usage);
  const words = actions.map((usage) => firstWord(usage)[0]);
  const [close] = nearestNames(action, words, 1);
  return new InvalidRequest(`unknown action "${action}" of /${command}`, {
    next:
      close === undefined
        ? { step: "chooseOneOf", names: actions.map((usage) => `/${command} ${usage}`) }
        : { step: "didYouMean", names: [`/${command} ${close}`] },
  });
}

/** Splits off a key; one of several words is quoted. */
function firstKey(text: string): readonly [key: string, rest: string] {
  const [quoted] = /^(?:"[^"]+"|'[^']+')(?=\s|$)/.exec(text) ?? [];
  return quoted === undefined ? firstWord(text) : [unquoted(quoted), text.slice(quoted.length).trim()];
}

/** Removes quotes around the whole text. */
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
        throw new InvalidRequest("/memory add needs a key and a value", {
          next: advice("try: /memory add tone short and dry"),
        });
      }
      return io.stdout(`${await tool("remember", { key, value })}\n`);
    case "forget":
      if (key === "") throw new InvalidRequest("/memory forget needs a key", { next: { step: "listMemories" } });
      // Nothing follows the key: quotes are optional.
      return io.stdout(`${await tool("forget", { key: value === "" ? key : more })}\n`);
    case "clear":
      return io.stdout(`${await tool("forget", { all: true })}\n`);
    default:
      throw unknownAction("memory", action);
  }
}

async function template(rest: string, { tool, data, session, io, input, answer }: ChatContext): Promise<void> {
  const [action, more] = firstWord(rest);
  const [name, behind] = firstWord(more);
  switch (action) {
    case "":
    case "list":
      return io.stdout(renderTemplates((await data("list_templates", {})).templates, io));
    case "use": {
      if (name === "") throw new InvalidRequest("/template use needs a name", { next: { step: "listTemplates" } });
      const { variables, prompt } = splitVariables(behind);
      return answer(prompt, { template: name, ...(await splitFiles(name, variables, session)) });
    }
    case "create": {
      if (name === "")
        throw new InvalidRequest("/template create needs a name", { next: advice("try: /template create haiku") });
      const overwrite = await mayReplace(name, session, input);
      if (overwrite === false) return io.stdout("Nothing was created.\n");
      io.stdout('The text, with {variables}; several lines between """:\n');
      const text = await input.nextOf("... ");
      if (text === undefined || text.trim() === "") return io.stdout("Nothing was created.\n");
      const description = await input.nextOf("Description: ");
      if (description === undefined) return io.stdout("Nothing was created.\n");
      const request = { name, template: text, overwrite, ...(description !== "" && { description }) };
      return io.stdout(`${await tool("create_template", request)}\n`);
    }
    default:
      throw unknownAction("template", action);
  }
}

/** Asks before the text is typed whether an existing template may be replaced. Undefined if there is none. */
async function mayReplace(name: string, { read }: Session, input: ChatInput): Promise<boolean | undefined> {
  try {
    const { file } = await read("ollm://templates/{name}", name);
    // The new template hides a built-in one.
    if (file === undefined) return undefined;
    return /^y(es)?$/i.test(await input.ask(`Template ${name} exists (${file}). Replace it? [y/N] `));
  } catch (error) {
    // There is none. An invalid name is rejected when the template is saved.
    if (error instanceof OrchestratorError && !(error instanceof DaemonUnavailable)) return undefined;
    throw error;
  }
}

/** Splits `tone=kind lang="plain English" and this` into variables and prompt. */
function splitVariables(text: string): {
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

/** Takes `files=a.md,b.md` as files, unless the template has a variable `files`. */
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
      if (meant === undefined) throw new InvalidRequest(`/model ${action} needs a name: no model has answered yet`);
      return io.stdout(`${await tool("manage_model", { action, model: meant })}\n`);
    }
    case "auto":
      talk.model = undefined;
      return io.stdout("The best model for each question answers.\n");
    default:
      // Throws if the model is not installed.
      await tool("manage_model", { action: "show", model: action });
      talk.model = action;
      return io.stdout(`Switched to ${action}.\n`);
  }
}

async function compare(
  rest: string,
  { talk, data, session, input, isTerminal, cancellable }: ChatContext,
): Promise<void> {
  const words = rest.split(/\s+/).filter((word) => word !== "");
  // Models come first; the prompt begins with the first word that is not a model's name.
  const { models: held } = await data("list_models", { limit: allModels });
  const known = held.map(({ name }) => name);
  const isName = (word: string): boolean => known.includes(word) || known.includes(`${word}:latest`);
  const count = words.findIndex((word) => !isName(word));
  const models = words.slice(0, count < 0 ? words.length : count);
  const last = talk.turns.at(-1)?.question;
  const asked = words.length === 0 ? (talk.compared?.prompt ?? last) : (last ?? talk.compared?.prompt);
  const prompt = words.slice(models.length).join(" ") || asked;
  if (prompt === undefined || prompt === "") {
    throw new InvalidRequest("there is no earlier question or comparison to repeat", {
      next: advice("type /compare [MODEL ...] QUESTION"),
    });
  }
  const chosen = words.length === 0 ? (talk.compared?.models ?? []) : models;
  const request = { prompt, system: talk.system, max_tokens: talk.maxTokens };
  const comparison = await cancellable((signal) => compareAndShow(request, chosen, {}, session, signal));
  talk.compared = { prompt, models: comparison.results.map((result) => result.model) };
  if (isTerminal) await pick(comparison, session, (question) => input.ask(question));
}

async function project(rest: string, { data, io }: ChatContext): Promise<void> {
  const [action, name] = firstWord(rest);
  switch (action) {
    case "":
    case "detect":
      return io.stdout(renderProject(await data("project_profile", { action: "detect" }), io));
    case "use":
      if (name === "")
        throw new InvalidRequest("/project use needs the name of a profile", {
          next: advice("type /project use none to stop using one"),
        });
      return io.stdout(renderProject(await data("project_profile", { action: "use", profile: name }), io));
    case "init":
      return io.stdout(renderWritten(await data("project_profile", { action: "init" })));
    default:
      throw unknownAction("project", action);
  }
}

async function save(rest: string, { talk, io }: ChatContext): Promise<void> {
  if (rest === "") throw new InvalidRequest("/save needs the name of a new file");
  if (talk.turns.length === 0) throw new InvalidRequest("the conversation is empty");
  const file = path.resolve(io.workingDirectory, rest);
  const text = talk.turns.map(({ question, answer, model: by }) => `**You:** ${question}\n\n**${by}:** ${answer}\n`);
  try {
    await writeFile(file, text.join("\n"), { flag: "wx" });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const reason = code === "EEXIST" ? "already exists" : `can't be written (${code})`;
    throw new InvalidRequest(`${file} ${reason}`, { cause: error });
  }
  io.stdout(`Saved to ${file}\n`);
}
