import path from "node:path";
import { chatSteps } from "../../next-steps/commands.ts";
import { Cancelled, OrchestratorError, undefinedIf } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { cellsOf } from "../../orchestrator/util/columns.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { Question } from "../../server/daemon/client.ts";
import type { ToolInputs } from "../../tools/index.ts";
import { shellAnswers } from "./rate.ts";
import { type Generated, notesOn, createAnswerStream } from "../terminal/answer.ts";
import { chatWords, runChatCommand } from "./chat-commands.ts";
import type { ChatContext } from "./chat-state.ts";
import { type ChatInput, TypedChatInput } from "./chat-input.ts";
import { type CommandIo, askAtTerminal, inTerminal, type Options } from "../terminal/io.ts";
import { offerFirstModel, orPull } from "../terminal/offer-pull.ts";
import { type Session, report, withSession } from "../terminal/session.ts";
import { cutTo, hanging, styled, styledError } from "../terminal/terminal-text.ts";

/**
 * `ollm chat [model]`. Without a terminal it answers line by line, and the exit code is that of the last error. `memory` is
 * false with `--no-memory`.
 */
export async function chat(
  model: string | undefined,
  flags: Options<{ switch: "memory"; text: "system"; number: "maxTokens" }>,
  io: CommandIo,
): Promise<number> {
  const isTerminal = io.isTerminal;
  const input = new TypedChatInput({
    input: process.stdin,
    output: process.stdout,
    isTerminal,
    completions: chatWords,
  });
  const ask = (question: Question) => askAtTerminal(question, { ask: (text) => input.ask(text), stderr: io.stderr });
  const talk: ChatContext["talk"] = {
    model,
    system: flags.system,
    options: { max_tokens: flags.maxTokens, use_memory: flags.memory === false ? false : undefined },
    files: [],
    images: [],
    roots: chatRoots(io),
    queued: undefined,
    continueId: "new",
    answeredBy: undefined,
    answered: undefined,
    turns: [],
    compared: undefined,
    hasEnded: false,
    exitCode: 0,
  };
  let isFirst = true;
  try {
    for (;;) {
      const { roots } = talk;
      const options = { roots, noTerminal, ...(isTerminal && { handlesSignals: true, ask }) };
      let hasNewRoots = false;
      const exitCode = await withSession(io, options, async (session) => {
        const code = await converse(createContext(talk, session, input, io), isFirst);
        hasNewRoots = talk.roots !== roots;
        return code;
      });
      if (!hasNewRoots) return exitCode;
      isFirst = false;
    }
  } finally {
    input.close();
  }
}

/** Next steps for a question in a chat without a terminal. */
function noTerminal(needsValues: boolean): NextSteps {
  return needsValues ? [advice("give it as NAME=VALUE, a file as files=PATH"), inTerminal] : inTerminal;
}

/** The working directory, which /project refers to, unless it is the user's home or the root of a disk. */
function chatRoots({ workingDirectory, userHome }: CommandIo): readonly string[] {
  const folder = path.resolve(workingDirectory);
  return folder === path.resolve(userHome) || folder === path.parse(folder).root ? [] : [folder];
}

/** Until the chat ends, or needs a session with other roots. */
async function converse(context: ChatContext, isFirst: boolean): Promise<number> {
  const { talk, io, input, isTerminal, session } = context;
  const { roots } = talk;
  if (isFirst && isTerminal && !(await greet(context))) return 1;
  // Piped questions may be none, and each would fail.
  if (isFirst && !isTerminal && talk.model !== undefined) {
    await session.call("manage_model", { action: "show", model: talk.model });
  }
  while (!talk.hasEnded && !session.signal.aborted && talk.roots === roots) {
    const message = talk.queued ?? (await input.next(isTerminal ? styled(">>> ", "cyan", io) : ""));
    talk.queued = undefined;
    if (message === undefined) break;
    if (message.trim() === "") continue;
    try {
      if (/^\/[a-z?]/i.test(message)) await runChatCommand(message, context);
      else await context.answer(message);
    } catch (error) {
      if (session.signal.aborted) throw error;
      // The chat continues after a cancelled answer or a failed model.
      if (!(error instanceof Cancelled)) talk.exitCode = report(error, { ...io, isNews: session.isNews }, chatSteps);
      else if (isTerminal) io.stderr(`${styledError("(cancelled)", io)}\n`);
    }
    if (input.hasLeft() && isTerminal) break;
  }
  return isTerminal ? 0 : talk.exitCode;
}

/** Shows the model in use. Without an installed model, offers one; returns false if there is still none. */
async function greet({ session, talk, io, input, call }: ChatContext): Promise<boolean> {
  const { structured } = await session.call("list_models", { limit: 1 });
  const { model: named } = talk;
  const asking = { io: { ...io, ask: (question: string) => input.ask(question) }, call };
  if (named !== undefined) {
    await orPull(asking, named, () => call("manage_model", { action: "show", model: named }));
  } else if (!(await offerFirstModel(structured, asking))) return false;
  const model = talk.model ?? "the best installed model for each question";
  io.stdout(`${styled(hanging("", `Chat with ${model}. /help lists the commands, Ctrl-D exits.`, io), "dim", io)}\n`);
  return true;
}

function createContext(talk: ChatContext["talk"], session: Session, input: ChatInput, io: CommandIo): ChatContext {
  const { isTerminal } = io;

  function cancellable<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const controller = new AbortController();
    const signal = AbortSignal.any([controller.signal, session.signal]);
    return input.during(
      () => controller.abort(new Cancelled("interrupted")),
      () => work(signal),
    );
  }

  const call: Session["call"] = (tool, given, options) =>
    cancellable((signal) => session.call(tool, given, { ...options, signal }));

  async function answer(question: string, more: ToolInputs["route_and_generate"] = {}): Promise<void> {
    const stream = createAnswerStream(io);
    const ask = (continueId: string) =>
      call(
        "route_and_generate",
        {
          ...(question !== "" && { prompt: question }),
          model: talk.model,
          system: talk.system,
          continue_id: continueId,
          ...talk.options,
          ...(talk.files.length > 0 && { files: talk.files }),
          ...(talk.images.length > 0 && { images: talk.images }),
          ...more,
        },
        { isChat: isTerminal, onText: (note) => stream.onText(note) },
      );
    const answers = await shellAnswers(io);
    await answers.forget();
    talk.answered = undefined;
    let answered: Generated;
    try {
      answered = (
        await ask(talk.continueId).catch((error: unknown) => {
          // Conversations are kept in the daemon's memory: a restart or a newer conversation removes them.
          const isLost =
            error instanceof OrchestratorError && error.next.some(({ step }) => step === "startConversation");
          if (talk.continueId === "new" || !isLost) throw error;
          io.stderr("ollm: the daemon no longer has this conversation; starting a new one\n");
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
    // A failed question keeps them for the next try.
    Object.assign(talk, { files: [], images: [] });
    talk.answeredBy = answered.model;
    talk.answered = await answers.note(answered);
    talk.turns.push({
      question: question === "" ? `(template ${more.template})` : question,
      answer: text,
      model: answered.model,
    });
    for (const note of notesOn(answered, "/set max-tokens raises the limit"))
      io.stderr(`${styledError(oneLine(note), io)}\n`);
    if (!isTerminal) return;
    const ram = await session.read("ollm://status/ram").catch(undefinedIf(OrchestratorError));
    io.stderr(`${styledError(statusText(answered, ram, (io.columns ?? 80) - 1), io)}\n\n`);
  }

  return {
    talk,
    session,
    input,
    io,
    isTerminal,
    answer,
    cancellable,
    call,
    async perform(command) {
      await cancellable((signal) => {
        const callHere: Session["call"] = (tool, given, options) => session.call(tool, given, { ...options, signal });
        const connected = { ...io, session: { ...session, signal, call: callHere } };
        return command(connected);
      });
    },
  };
}

/**
 * One line, at most as wide as the terminal: the model that answered and its speed in any width, then what fits of the
 * length of the conversation, available memory and the other loaded models.
 */
export function statusText(
  { model, tokens_per_second: speed, conversation_tokens: tokens }: Generated,
  ram: ResourceData["ollm://status/ram"] | undefined,
  width: number,
): string {
  const isSame = (name: string) => name === model || name === `${model}:latest`;
  const loaded = ram?.loaded ?? [];
  const bytes = loaded.find(({ name }) => isSame(name))?.bytes;
  const others = loaded.filter(({ name }) => !isSame(name));
  const rate = speed === undefined ? "" : ` | ${speed} tokens/s`;
  const parts = [
    ...(tokens === undefined ? [] : [`conversation ${counted(tokens, "token")}`]),
    ...(bytes === undefined ? [] : [`uses ${formatBytes(bytes)}`]),
    ...(ram === undefined ? [] : [`${formatBytes(ram.available_bytes)} RAM available`]),
    ...(others.length === 0
      ? []
      : [`also loaded: ${others.map((other) => `${other.name} ${formatBytes(other.bytes)}`).join(", ")}`]),
  ];
  let line = `${cutTo(oneLine(model), Math.max(1, width - rate.length))}${rate}`;
  for (const part of parts.map(oneLine)) {
    if (cellsOf(`${line} | ${part}`) > width) break;
    line += ` | ${part}`;
  }
  return line;
}
