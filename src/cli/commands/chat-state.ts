import { writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import { isPattern, splitGitName, spokenName, isInside } from "../../orchestrator/util/file-name.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { codeOf, jsonIn, messageOf } from "../../orchestrator/util/values.ts";
import type { ToolInputs } from "../../tools/index.ts";
import { checkOf, numberBetween, wrongValue } from "./options.ts";
import { foldersOf, located, isFileIn, textOf } from "./prompt-words.ts";
import type { rateInChat } from "./rate.ts";
import type { ChatInput } from "./chat-input.ts";
import type { CommandIo } from "../terminal/io.ts";
import type { Session } from "../terminal/session.ts";
import { type Fact, renderFacts } from "../terminal/terminal-text.ts";

/** Options of the requests of a chat, which `/set` changes. */
type ChatOptions = Pick<
  ToolInputs["route_and_generate"],
  | "max_tokens"
  | "temperature"
  | "context_tokens"
  | "think"
  | "format"
  | "check"
  | "split"
  | "task"
  | "profile"
  | "use_memory"
>;

/** The state of a chat, which its commands change. */
interface Talk {
  model: string | undefined;
  system: string | undefined;
  options: ChatOptions;
  /** Sent with the next question. */
  files: readonly string[];
  images: readonly string[];
  /** Folders whose files may be read; the chat connects again when they change. */
  roots: readonly string[];
  /** A question that a command asks. */
  queued: string | undefined;
  /** `new` before the first answer. */
  continueId: string;
  /** The model of the last answer. */
  answeredBy: string | undefined;
  /** The last answer, for a rating; undefined if the last request has none. */
  answered: Parameters<typeof rateInChat>[1]["talk"]["answered"];
  readonly turns: { readonly question: string; readonly answer: string; readonly model: string }[];
  /** The last comparison. */
  compared: { readonly prompt: string; readonly models: readonly string[] } | undefined;
  hasEnded: boolean;
  /** That of the last error, for a chat without a terminal. */
  exitCode: number;
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
  /** Runs a command of the shell over the chat's connection, until Ctrl-C. */
  perform(command: (io: CommandIo) => Promise<number>): Promise<void>;
  /** Calls a tool, until Ctrl-C. */
  readonly call: Session["call"];
  /** Runs work that Ctrl-C cancels without ending the chat. */
  cancellable<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value>;
}

/** Words with what they mean. */
function oneOf<Value>(values: Readonly<Record<string, Value>>): (text: string) => Value {
  return (text) => {
    if (Object.hasOwn(values, text)) return values[text] as Value;
    throw new Error(Object.keys(values).join(", "));
  };
}

function formatOf(text: string): NonNullable<ChatOptions["format"]> {
  const format = text === "json" ? text : jsonIn(text);
  if (format === undefined) throw new Error("json, or a JSON Schema");
  return format as NonNullable<ChatOptions["format"]>;
}

/** The settings of `/set`: the option, and its value of a text. `read` throws an error with what is allowed. */
const settings: Readonly<
  Record<string, readonly [key: keyof ChatOptions, read: (text: string) => ChatOptions[keyof ChatOptions]]>
> = {
  "max-tokens": ["max_tokens", numberBetween(1, 10_000_000, "whole")],
  temperature: ["temperature", numberBetween(0, 2)],
  "context-size": ["context_tokens", numberBetween(1, 100_000_000, "whole")],
  think: ["think", oneOf({ on: true, off: false, low: "low", medium: "medium", high: "high" })],
  format: ["format", formatOf],
  check: ["check", checkOf],
  split: ["split", oneOf({ auto: "auto", none: "none" })],
  profile: ["profile", (text) => text],
  memory: ["use_memory", oneOf({ on: true, off: false })],
};

/** `/set NAME VALUE`; `default` removes a value. Alone: all of them. */
export async function set(rest: string, { talk, io }: Pick<ChatContext, "talk" | "io">): Promise<void> {
  const [, first = "", value = ""] = /^(\S*)\s*([^]*)$/.exec(rest) ?? [];
  const name = first.toLowerCase().replaceAll("_", "-");
  if (name === "") return io.stdout(settingsText(talk, io));
  const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
  if (setting === undefined) {
    const [close] = nearestNames(name, Object.keys(settings), 1);
    throw new InvalidRequest(`/set has no ${first}`, {
      next: close === undefined ? advice("type /set to see all") : { step: "didYouMean", names: [`/set ${close}`] },
    });
  }
  const [key, read] = setting;
  if (value === "")
    return io.stdout(`${name} is ${shown(talk.options[key])}; /set ${name} default returns to the default.\n`);
  if (value === "default") {
    talk.options = { ...talk.options, [key]: undefined };
    return io.stdout(`${name} is the default again.\n`);
  }
  try {
    talk.options = { ...talk.options, [key]: read(value.trim()) };
  } catch (error) {
    const allowed = messageOf(error);
    throw new InvalidRequest(wrongValue(name, value, `${allowed}, default`), { cause: error });
  }
  io.stdout(`${name} is ${shown(talk.options[key])}.\n`);
}

function settingsText({ options }: Talk, io: CommandIo): string {
  const facts = Object.entries(settings).map(([name, [key]]): Fact => [name, shown(options[key])]);
  return renderFacts(facts, io);
}

function shown(value: ChatOptions[keyof ChatOptions]): string {
  if (value === undefined) return "default";
  return typeof value === "boolean"
    ? value
      ? "on"
      : "off"
    : typeof value === "object"
      ? JSON.stringify(value)
      : `${value}`;
}

/** `/file PATH ... [QUESTION]`, and the same for images: for the question that follows, or for the next one. */
export async function attach(kind: "files" | "images", rest: string, { talk, io }: ChatContext): Promise<void> {
  const command = kind === "files" ? "/file" : "/image";
  if (rest === "none") {
    talk[kind] = [];
    return io.stdout(`No ${kind} are sent with the next question.\n`);
  }
  const { names, question } = splitPaths(rest, io, kind);
  if (names.length === 0) {
    throw new InvalidRequest(`${command} needs a path`, {
      next: advice(`try: ${command} ${kind === "files" ? "notes.txt" : "photo.png"}`),
    });
  }
  const paths = await Promise.all(names.map((name) => located(expandHome(name, io.userHome), io)));
  await allow(paths, talk, io);
  talk[kind] = [...talk[kind], ...paths];
  if (question !== "") talk.queued = question;
  else io.stdout(`${names.join(", ")}: sent with the next question.\n`);
}

/** The paths before a question. A text that begins with no file is one path, so that the error names it. */
function splitPaths(text: string, io: CommandIo, kind: "files" | "images") {
  const isThere = (given: string): boolean => {
    const { name } = spokenName(given, io.userHome);
    if (isFileIn(expandHome(given, io.userHome), io.workingDirectory) || isFileIn(name, io.workingDirectory))
      return true;
    return kind === "files" && splitGitName(given) !== undefined;
  };
  const isMeant = (name: string): boolean => isThere(name) || (kind === "files" && isPattern(name));
  if (text === "" || isThere(text)) return { names: text === "" ? [] : [text], question: "" };
  const names: string[] = [];
  let rest = text;
  for (;;) {
    const [all = "", double, single, bare] = /^(?:"([^"]*)"|'([^']*)'|(\S+))\s*/.exec(rest) ?? [];
    const name = double ?? single ?? bare;
    if (name === undefined || !isMeant(name)) break;
    names.push(name);
    rest = rest.slice(all.length);
  }
  return names.length > 0 ? { names, question: rest } : { names: [text.replace(/\s.*$/s, "")], question: "" };
}

/** Allows the folders of files that the user named: the chat connects again with them, if they are new. */
export async function allow(files: readonly string[], talk: Talk, io: CommandIo): Promise<void> {
  const others = (await foldersOf(files, io)).filter((folder) => !talk.roots.some((root) => isInside(root, folder)));
  if (others.length > 0) talk.roots = [...talk.roots, ...others];
}

/** `/save FILE`: the conversation as Markdown, in a new file. */
export async function save(rest: string, { talk, io }: ChatContext): Promise<void> {
  if (rest === "")
    throw new InvalidRequest("/save needs the name of a new file", { next: advice("try: /save talk.md") });
  if (talk.turns.length === 0) throw new InvalidRequest("the conversation is empty");
  const file = path.resolve(io.workingDirectory, expandHome(rest, io.userHome));
  const text = talk.turns.map(({ question, answer, model: by }) => `**You:** ${question}\n\n**${by}:** ${answer}\n`);
  try {
    await writeFile(file, text.join("\n"), { flag: "wx" });
  } catch (error) {
    const code = codeOf(error) ?? String(error);
    const reason = code === "EEXIST" ? "already exists" : `can't be written (${code})`;
    throw new InvalidRequest(`${file} ${reason}`, { next: advice("name another file"), cause: error });
  }
  io.stdout(`Saved to ${file}; /load continues it.\n`);
}

/** `/load FILE`: a conversation that `/save` wrote goes on; models read it with the next question. */
export async function load(rest: string, { talk, io }: ChatContext): Promise<void> {
  if (rest === "")
    throw new InvalidRequest("/load needs a file that /save wrote", { next: advice("try: /load talk.md") });
  const file = await located(expandHome(rest, io.userHome), io);
  const text = await textOf(file, io, advice("name one file"));
  const turns = turnsIn(text);
  if (turns.length === 0) {
    throw new InvalidRequest(`${rest} has no conversation that /save wrote`, {
      next: advice(`to ask about it: /file ${rest}`),
    });
  }
  await allow([file], talk, io);
  talk.continueId = "new";
  talk.turns.splice(0, talk.turns.length, ...turns);
  talk.files = [file];
  io.stdout(`Loaded ${counted(turns.length, "question")} with answers; sent with the next question.\n`);
}

/** The turns in a text as `save` writes it. */
function turnsIn(text: string): Talk["turns"] {
  return text.split(/^\*\*You:\*\* /m).flatMap((part) => {
    const [, question, model, answer] = /^([^]*?)\n\n\*\*([^*\n]+):\*\* ([^]*)$/.exec(part) ?? [];
    if (question === undefined || model === undefined || answer === undefined) return [];
    return [{ question, model, answer: answer.trimEnd() }];
  });
}

/** Splits `tone=kind lang="plain English" and this` into variables and prompt. */
export function splitVariables(text: string) {
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
