import path from "node:path";
import allUsages from "./chat-commands.json" with { type: "json" };
import { listTemplates } from "./template.ts";
import { DaemonUnavailable, InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { compareAndShow, pick, promptAndModels } from "./compare.ts";
import { addMemory, forgetMemory, listMemory, searchMemory } from "./memory.ts";
import { listModels } from "./models.ts";
import { renderProject, renderWritten } from "./project.ts";
import { rateInChat } from "./rate.ts";
import { pinModel, unloadModels } from "./status.ts";
import { type ChatContext, allow, attach, load, save, set, splitVariables } from "./chat-state.ts";
import { meaningsIn } from "./prompt-words.ts";
import type { ChatInput } from "./chat-input.ts";
import type { Session } from "../terminal/session.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";

/** Splits off the first word. */
function firstWord(text: string): readonly [word: string, rest: string] {
  const [word = ""] = /^\S*/.exec(text) ?? [];
  return [word, text.slice(word.length).trim()];
}

/** By command, its first words with their arguments, and what each does; "" for one that another line of the help mentions. */
const usages = Object.entries(allUsages as unknown as Readonly<Record<Name, readonly (readonly [string, string])[]>>);
type Name = keyof typeof allUsages;

const commands: Readonly<Record<Name, (rest: string, context: ChatContext) => Promise<void>>> = {
  async help(_rest, { io }) {
    const rows = [
      ...usages.flatMap(([name, actions]) =>
        actions
          .filter(([, meaning]) => meaning !== "")
          .map(([usage, meaning]) => [`/${name} ${usage}`.trimEnd(), meaning] as const),
      ),
      ['"""', "around a long message"] as const,
    ];
    const width = Math.max(...rows.map(([usage]) => usage.length));
    const lines = rows.map(([usage, meaning]) => {
      const term = `${usage.padEnd(width)}  `;
      return term + styled(hanging(term, meaning, io).slice(term.length), "dim", io);
    });
    io.stdout(`${lines.join("\n")}\n`);
  },
  model,
  set,
  async system(rest, { talk, io }) {
    talk.system = rest === "" ? undefined : rest;
    io.stdout(rest === "" ? "System prompt removed.\n" : "System prompt set.\n");
  },
  file: (rest, context) => attach("files", rest, context),
  image: (rest, context) => attach("images", rest, context),
  async new(_rest, { talk, io }) {
    Object.assign(talk, { continueId: "new", files: [], images: [] });
    talk.turns.length = 0;
    io.stdout("Started a new conversation.\n");
  },
  save,
  load,
  compare,
  good: (_rest, context) => rateInChat("good", context),
  bad: (_rest, context) => rateInChat("bad", context),
  memory,
  template,
  project,
  async exit(_rest, { talk }) {
    talk.hasEnded = true;
  },
};

/** Words that TAB completes. */
export const chatWords: readonly string[] = usages.flatMap(([name, actions]) => [
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
  const names = Object.keys(commands) as Name[];
  const name = names.find((each) => each === wanted);
  if (name === undefined) {
    const [close] = nearestNames(wanted, names, 1);
    throw new InvalidRequest(`unknown command /${word}`, {
      next: close === undefined ? advice("type /help") : { step: "didYouMean", names: [`/${close}`] },
    });
  }
  await commands[name](rest, context);
}

/** The error of a missing or unknown action. */
function unknownAction(command: string, action: string): InvalidRequest {
  const actions = (usages.find(([name]) => name === command)?.[1] ?? []).map(([usage]) => usage);
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

async function memory(rest: string, { perform }: ChatContext): Promise<void> {
  const [action, more] = firstWord(rest);
  const [key, behind] = firstKey(more);
  const value = unquoted(behind);
  switch (action) {
    case "":
    case "list":
      return perform((chat) => (more === "" ? listMemory({}, chat) : searchMemory([more], {}, chat)));
    case "add":
      if (value === "") {
        throw new InvalidRequest("/memory add needs a key and a value", {
          next: advice("try: /memory add tone short and dry"),
        });
      }
      return perform((chat) => addMemory(key, [value], {}, chat));
    case "forget":
      if (key === "") throw new InvalidRequest("/memory forget needs a key", { next: { step: "listMemories" } });
      // Nothing follows the key: quotes are optional.
      return perform((chat) => forgetMemory([value === "" ? key : more], {}, chat));
    case "clear":
      return perform((chat) => forgetMemory([], { all: true }, chat));
    default:
      throw unknownAction("memory", action);
  }
}

async function template(rest: string, { talk, perform, call, session, io, input, answer }: ChatContext): Promise<void> {
  const [action, more] = firstWord(rest);
  const [name, behind] = firstWord(more);
  switch (action) {
    case "":
    case "list":
      return perform((chat) => listTemplates(undefined, {}, chat));
    case "use": {
      if (name === "") throw new InvalidRequest("/template use needs a name", { next: { step: "listTemplates" } });
      const { variables, prompt } = splitVariables(behind);
      const filled = await splitFiles(name, variables, session);
      const { roots } = talk;
      await allow(filled.files ?? [], talk, io);
      // The command runs again once the chat is connected with the folders of the files.
      if (talk.roots !== roots) talk.queued = `/template ${rest}`;
      else await answer(prompt, { template: name, ...filled });
      return;
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
      return io.stdout(`${(await call("create_template", request)).text}\n`);
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

async function model(rest: string, { talk, perform, call, io }: ChatContext): Promise<void> {
  const [action, name] = firstWord(rest);
  switch (action) {
    case "":
    case "list":
      return perform((chat) => listModels(undefined, { all: true }, chat));
    case "pin":
    case "unpin":
    case "unload": {
      const meant = name === "" ? (talk.model ?? talk.answeredBy) : name;
      if (meant === undefined) throw new InvalidRequest(`/model ${action} needs a name: no model has answered yet`);
      return perform((chat) =>
        action === "unload" ? unloadModels(meant, {}, chat) : pinModel(action, meant, {}, chat),
      );
    }
    case "auto":
      talk.model = undefined;
      return io.stdout("The best model for each question answers.\n");
    default:
      // Throws if the model is not installed.
      await call("manage_model", { action: "show", model: action }).catch((error: unknown) => {
        const [close] = nearestNames(action, ["list", "pin", "unpin", "unload", "auto"], 1);
        throw close === undefined ? error : unknownAction("model", action);
      });
      talk.model = action;
      return io.stdout(`Switched to ${action}.\n`);
  }
}

async function compare(rest: string, { talk, session, input, isTerminal, cancellable }: ChatContext): Promise<void> {
  const words = rest.match(/(?<!\S)(?:"[^"]+"|'[^']+'|“[^”]+”)(?!\S)|\S+/g) ?? [];
  const { prompt: given, models } = await promptAndModels(words, meaningsIn(session));
  const last = talk.turns.at(-1)?.question;
  const prompt = given ?? (words.length === 0 ? (talk.compared?.prompt ?? last) : (last ?? talk.compared?.prompt));
  if (prompt === undefined || prompt === "") {
    throw new InvalidRequest("there is no earlier question or comparison to repeat", {
      next: advice("type /compare [MODEL ...] QUESTION"),
    });
  }
  const chosen = words.length === 0 ? (talk.compared?.models ?? []) : models;
  const request = { prompt, system: talk.system, max_tokens: talk.options.max_tokens };
  const comparison = await cancellable((signal) => compareAndShow(request, chosen, {}, session, signal));
  talk.compared = { prompt, models: comparison.results.map((result) => result.model) };
  if (isTerminal) await pick(comparison, session, (question) => input.ask(question));
}

async function project(rest: string, { call, io }: ChatContext): Promise<void> {
  const [action, name] = firstWord(rest);
  switch (action) {
    case "":
    case "detect":
      return io.stdout(renderProject((await call("project_profile", { action: "detect" })).structured, io));
    case "use":
      if (name === "")
        throw new InvalidRequest("/project use needs the name of a profile", {
          next: advice("type /project use none to stop using one"),
        });
      return io.stdout(renderProject((await call("project_profile", { action: "use", profile: name })).structured, io));
    case "init":
      return io.stdout(renderWritten((await call("project_profile", { action: "init" })).structured));
    default:
      throw unknownAction("project", action);
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
  const { variables: known } = await session.read("ollm://templates/{name}", name);
  if (known.some((variable) => variable.name === "files")) return { variables };
  const names = files.split(",").filter((file) => file !== "");
  return { variables: others, files: names.map((file) => path.resolve(session.io.workingDirectory, file)) };
}
