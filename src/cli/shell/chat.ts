import path from "node:path";
import { Cancelled, OrchestratorError } from "../../orchestrator/errors.ts";
import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import type { Answers, Question } from "../../server/client.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../tools/index.ts";
import type { CommandIo } from "../commands/io.ts";
import { createAnswerStream } from "./answer-stream.ts";
import { askAtTerminal } from "./ask.ts";
import { chatWords, runChatCommand } from "./chat-commands.ts";
import { createChatInput, type ChatInput } from "./chat-input.ts";
import { noModels } from "./models.ts";
import { said, type Generated } from "./run.ts";
import { report, withSession, type Session } from "./session.ts";
import { chatSteps } from "../../next-steps/commands.ts";
import { inChatWords, inShellWords } from "./shell-words.ts";
import { styled } from "./table.ts";
import { oneLine } from "../../orchestrator/text/control-characters.ts";
import { cutTo } from "./width.ts";

/** Of `ollm chat`, under the names of its flags. */
export interface ChatFlags {
  readonly system?: string | undefined;
  readonly maxTokens?: number;
  /** False with `--no-memory`. */
  readonly memory?: boolean;
}

/** A conversation under way; commands change it. */
export interface Talk {
  model: string | undefined;
  system: string | undefined;
  readonly useMemory: boolean;
  /** Most tokens of each answer; undefined: as the settings say. */
  readonly maxTokens: number | undefined;
  /** `new` before the first answer. */
  continueId: string;
  /** The model that answered last. */
  answeredBy: string | undefined;
  readonly turns: { readonly question: string; readonly answer: string; readonly model: string }[];
  hasEnded: boolean;
}

/** What the commands of a chat work with. */
export interface ChatContext {
  readonly talk: Talk;
  readonly session: Session;
  readonly input: ChatInput;
  readonly io: CommandIo;
  /** Somebody sees it: decorations are shown. */
  readonly isTerminal: boolean;
  /** Asks a model, as a plain message does, with more of the request. */
  answer(question: string, more?: ToolInputs["route_and_generate"]): Promise<void>;
  /** Calls a tool, which Ctrl-C ends; its short text, as one reads it in a chat. */
  tool<Name extends ToolName>(name: Name, input: ToolInputs[Name]): Promise<string>;
  /** Likewise; its structured answer. */
  data<Name extends ToolName>(name: Name, input: ToolInputs[Name]): Promise<ToolAnswers[Name]>;
  /** Work that Ctrl-C ends, and nothing else. */
  cancellable<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value>;
}

/** `ollm chat [model]`. Without a terminal it answers line by line, and ends with 1 when an answer failed. */
export async function chat(model: string | undefined, flags: ChatFlags, io: CommandIo): Promise<number> {
  const isTerminal = io.isTerminal;
  const input = createChatInput({
    input: process.stdin,
    output: process.stdout,
    isTerminal,
    completions: chatWords,
  });
  const ask = (question: Question): Promise<Answers> => {
    return askAtTerminal(question, { ask: input.ask, stderr: io.stderr });
  };
  const talk: Talk = {
    model,
    system: flags.system,
    useMemory: flags.memory !== false,
    maxTokens: flags.maxTokens,
    continueId: "new",
    answeredBy: undefined,
    turns: [],
    hasEnded: false,
  };
  const roots = chatRoots(io);
  try {
    return await withSession(io, { roots, ...(isTerminal && { handlesSignals: true, ask }) }, (session) =>
      converse(createContext(talk, session, input, io)),
    );
  } finally {
    input.close();
  }
}

/** Whoever opens a chat in a folder means it with /project, whatever marks it has; a home or a disk is no project. */
function chatRoots({ workingDirectory, userHome }: CommandIo): readonly string[] {
  const folder = path.resolve(workingDirectory);
  return folder === path.resolve(userHome) || folder === path.parse(folder).root ? [] : [folder];
}

async function converse(context: ChatContext): Promise<number> {
  const { talk, io, input, isTerminal, session } = context;
  let exitCode = 0;
  if (isTerminal && !(await greet(context))) return 1;
  while (!talk.hasEnded && !session.signal.aborted) {
    const message = await input.next(isTerminal ? styled(">>> ", "cyan", io) : "");
    if (message === undefined) break;
    if (message.trim() === "") continue;
    try {
      if (/^\/[a-z?]/i.test(message)) await runChatCommand(message, context);
      else await context.answer(message);
    } catch (error) {
      if (session.signal.aborted) throw error;
      // The chat goes on: an answer that was cancelled, a model that failed.
      if (!(error instanceof Cancelled)) exitCode = report(error, { ...io, isNews: session.isNews }, chatSteps);
      else if (isTerminal) io.stderr(`${styled("(cancelled)", "dim", io)}\n`);
    }
    if (input.hasLeft() && isTerminal) break;
  }
  return isTerminal ? 0 : exitCode;
}

/** Says whom one talks with, and what to do where there is no model. False: nobody to talk with. */
async function greet({ session, talk, io }: ChatContext): Promise<boolean> {
  const { structured } = await session.call("list_models", { limit: 1 });
  if (structured.models.length === 0) {
    io.stdout(noModels(structured));
    return false;
  }
  // Throws with the nearest name, or how to get it.
  if (talk.model !== undefined) await session.call("manage_model", { action: "show", model: talk.model });
  const whom = talk.model ?? "the best model that fits";
  io.stdout(`${styled(`Talking with ${oneLine(whom)}. /help lists commands, Ctrl-D leaves.`, "dim", io)}\n`);
  return true;
}

function createContext(talk: Talk, session: Session, input: ChatInput, io: CommandIo): ChatContext {
  const { isTerminal } = io;

  function cancellable<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const controller = new AbortController();
    const signal = AbortSignal.any([controller.signal, session.signal]);
    return input.during(
      () => controller.abort(new Cancelled("interrupted")),
      () => work(signal),
    );
  }

  async function answer(question: string, more: ToolInputs["route_and_generate"] = {}): Promise<void> {
    const stream = createAnswerStream(io);
    const ask = (continueId: string) =>
      cancellable((signal) =>
        session.call(
          "route_and_generate",
          {
            ...(question !== "" && { prompt: question }),
            model: talk.model,
            system: talk.system,
            continue_id: continueId,
            use_memory: talk.useMemory ? undefined : false,
            max_tokens: talk.maxTokens,
            ...more,
          },
          { signal, onText: (note) => stream.onText(note) },
        ),
      );
    let answered: Generated;
    try {
      answered = (
        await ask(talk.continueId).catch((error: unknown) => {
          // The daemon keeps conversations in memory, and was restarted or has forgotten this one.
          if (talk.continueId === "new" || !isConversationLost(error)) throw error;
          io.stderr("ollm: the conversation so far is lost (the daemon was restarted); this begins a new one\n");
          return ask("new");
        })
      ).structured;
    } catch (error) {
      stream.cut();
      throw error;
    }
    const { text = "" } = answered;
    stream.end(text);
    talk.continueId = answered.continue_id ?? talk.continueId;
    talk.answeredBy = answered.model;
    talk.turns.push({
      question: question === "" ? `(template ${more.template})` : question,
      answer: text,
      model: answered.model,
    });
    for (const note of said(answered, "ollm chat --max-tokens sets how many"))
      io.stderr(`${styled(oneLine(note), "dim", io)}\n`);
    if (isTerminal) io.stderr(await statusLine(answered, session, io));
  }

  return {
    talk,
    session,
    input,
    io,
    isTerminal,
    answer,
    cancellable,
    tool: (name, given) =>
      cancellable(async (signal) => inChatWords(inShellWords((await session.call(name, given, { signal })).text))),
    data: (name, given) => cancellable(async (signal) => (await session.call(name, given, { signal })).structured),
  };
}

function isConversationLost(error: unknown): boolean {
  return error instanceof OrchestratorError && error.next.some(({ step }) => step === "startConversation");
}

/** Who answered, what is loaded, what is free: one dim line, as wide as the terminal. */
async function statusLine(answered: Generated, session: Session, io: CommandIo): Promise<string> {
  const ram = await session.read("ollm://status/ram").catch((error: unknown) => {
    if (error instanceof OrchestratorError) return undefined;
    throw error;
  });
  const { model, tokens_per_second: speed, conversation_tokens: tokens } = answered;
  const loaded = ram?.loaded ?? [];
  const parts = [
    ...(loaded.some(({ name }) => name === model) ? [] : [model]),
    ...(loaded.length === 0 ? [] : [loaded.map(({ name, bytes }) => `${name} ${formatBytes(bytes)}`).join(", ")]),
    ...(ram === undefined ? [] : [`${formatBytes(ram.available_bytes)} RAM available`]),
    ...(speed === undefined ? [] : [`${speed} tokens/s`]),
    ...(tokens === undefined ? [] : [`${tokens} tokens so far`]),
  ];
  return `${styled(cutTo(oneLine(parts.join(" | ")), (io.columns ?? 80) - 1), "dim", io)}\n\n`;
}
