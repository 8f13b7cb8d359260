import { randomBytes, randomInt } from "node:crypto";
import type { Chat, ChatMessage, ToolCall, ToolDefinition } from "../api/chat.ts";
import { CheckFailed, InvalidRequest, PromptTooLong, throwIfCancelled, undefinedIf } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import type { Answered, Judge, Judged, JudgedModel, ModelTurn } from "../generation/ports.ts";
import { counted } from "../util/format-bytes.ts";
import { isRecord, parseJson } from "../util/values.ts";
import { CallsInText } from "./calls-in-text.ts";
import type { JsonText, Validation } from "./json-format.ts";

/** What an answer lacks, as a predicate of the model, and for each of its calls what the model is told. */
interface Problem {
  readonly problem: string;
  readonly ofCalls: readonly (string | undefined)[];
}

type Checked = { readonly answered: Answered } & Partial<Problem>;

/** Validates arguments. Throws `InvalidRequest` for a schema that can't be used. */
type FormatOf = (schema: ToolDefinition["parameters"]) => Promise<{ validate(json: JsonText): Promise<Validation> }>;

/**
 * Checks the calls of tools in an answer: an answer with a wrong one is asked for again once, with what was wrong; then it is
 * an error, unless the tools were only offered: then the model answers without them. Calls that a model wrote as text are read from it.
 */
export class CallCheck implements Pick<Judge, "ask"> {
  readonly #chat: Chat;
  readonly #tools: ReadonlyMap<string, ToolDefinition>;
  readonly #formatOf: FormatOf;
  /** An answer in a format is JSON that is no call. */
  readonly #readsText: boolean;

  constructor(chat: Chat, hasFormat: boolean, formatOf: FormatOf) {
    this.#chat = chat;
    this.#tools = new Map(chat.tools?.map((tool) => [tool.name, tool]));
    this.#formatOf = formatOf;
    this.#readsText = !hasFormat && chat.toolChoice !== "none";
  }

  async ask(model: JudgedModel, request: ModelTurn["request"], context: ModelTurn["context"]): Promise<Judged> {
    const first = await this.#checked(model, { request, context });
    if (first.problem === undefined) return first;
    context.report({ message: `${model.name} ${first.problem}; asking again` });
    // A program that streams has the beginning of the first answer.
    const isPassedOn = context.hasText?.() === true;
    if (!isPassedOn) context.clearText();
    const silent = { ...context, addText: () => undefined, addThinking: () => undefined };
    const turn = { corrects: first.answered, context: isPassedOn ? silent : context };
    try {
      const again = await this.#checked(model, { ...turn, request: this.#again(request, first) }).catch(
        undefinedIf(PromptTooLong),
      );
      throwIfCancelled(context.signal, "the request");
      const { problem, answered } = again ?? first;
      // A caller that only offers them gets an answer without them.
      if (problem !== undefined && request.chat !== undefined) throw failed(model.name, problem, answered);
      const { tools: _tools, ...plain } = request;
      const second = problem === undefined ? answered : await model.ask({ ...turn, request: plain });
      return { answered: isPassedOn ? joined(first.answered, second) : second };
    } catch (error) {
      throwIfCancelled(context.signal, "the request");
      throw error;
    }
  }

  async #checked(model: JudgedModel, turn: ModelTurn): Promise<Checked> {
    const answered = await this.#read(model, turn);
    const given = answered.generation.toolCalls ?? [];
    const isLimited = this.#chat.singleCall === true && given.length > 1;
    const calls: ToolCall[] = [];
    const problems: (string | undefined)[] = [];
    for (const call of isLimited ? given.slice(0, 1) : given) {
      const { json = call.arguments, problem } = await this.#argumentsOf(call);
      calls.push({ ...call, arguments: json });
      problems.push(problem);
    }
    const left = isLimited ? [`${given.length - 1} of ${given.length} calls left out: one was allowed`] : [];
    const { toolCalls: _all, ...generation } = answered.generation;
    const checked = {
      ...answered,
      generation: { ...generation, ...(calls.length > 0 && { toolCalls: calls }) },
      notes: [...answered.notes, ...left],
    };
    const problem = problems.find((each) => each !== undefined) ?? this.#disobeyed(calls);
    return { answered: checked, ...(problem !== undefined && { problem, ofCalls: problems }) };
  }

  /** Asks, and reads the calls in the text: what may be one is not passed on before that is clear. */
  async #read(model: JudgedModel, turn: ModelTurn): Promise<Answered> {
    if (!this.#readsText) return model.ask(turn);
    const { context } = turn;
    const tools = [...this.#tools.values()];
    const stream = new CallsInText(tools, (text) => context.addText(text));
    const held = { addText: (delta: string) => stream.add(delta), holdsText: () => stream.isHolding };
    const answered = await model.ask({ ...turn, context: { ...context, ...held } });
    const { text, toolCalls = [], finishReason } = answered.generation;
    stream.end(finishReason === "stop");
    let rest = "";
    const whole = new CallsInText(tools, (part) => (rest += part));
    whole.add(text);
    whole.end(finishReason === "stop");
    // A server that knows calls may leave them in the text as well.
    const isNew = (call: Omit<ToolCall, "id">) =>
      !toolCalls.some(({ name, arguments: json }) => name === call.name && sameJson(json, call.arguments));
    const written = whole.calls.filter(isNew).map((call) => ({ id: newCallId(), ...call }));
    if (whole.calls.length === 0) return answered;
    const note = written.length > 0 ? [`${counted(written.length, "call")} read from the text of ${model.name}`] : [];
    return {
      ...answered,
      generation: { ...answered.generation, text: rest, toolCalls: [...toolCalls, ...written] },
      notes: [...answered.notes, ...note],
    };
  }

  /** The arguments as JSON of an object, or what is wrong with them. */
  async #argumentsOf({ name, arguments: given }: ToolCall): Promise<{ json?: string; problem?: string }> {
    const tool = this.#tools.get(name);
    if (tool === undefined) {
      const names = [...this.#tools.keys()].join(", ");
      return { problem: `called ${JSON.stringify(name)}, which is none of the tools: ${names}` };
    }
    const called = `called ${name} with arguments that`;
    const read = objectIn(given);
    if (typeof read === "string") return { problem: `${called} are no JSON object: ${read}` };
    const { json } = read;
    try {
      const format = await this.#formatOf(tool.parameters);
      const { problem } = await format.validate({ text: json, finishReason: "stop" });
      return problem === undefined
        ? { json }
        : { problem: `called ${name} with arguments that don't match its schema: ${placesIn(problem)}` };
    } catch (error) {
      // Nothing can be checked by such a schema.
      if (error instanceof InvalidRequest) return { json };
      throw error;
    }
  }

  #disobeyed(calls: readonly ToolCall[]): string | undefined {
    const { toolChoice = "auto" } = this.#chat;
    if (toolChoice === "auto") return undefined;
    const [call] = calls;
    if (toolChoice === "none") return call && `called ${call.name}, though no tool is to be called`;
    if (call === undefined)
      return `called no tool, though ${toolChoice === "required" ? "a call" : toolChoice.name} is required`;
    const other = toolChoice === "required" ? undefined : calls.find(({ name }) => name !== toolChoice.name);
    return other && `called ${other.name}, though ${(toolChoice as { name: string }).name} is required`;
  }

  /** The request with what was wrong, and with another seed. */
  #again(request: ModelTurn["request"], { answered, problem, ofCalls = [] }: Checked): ModelTurn["request"] {
    const chat = this.#chat;
    const { seed } = chat.sampling;
    const { text, thinking, toolCalls = [] } = answered.generation;
    const assistant: ChatMessage = {
      role: "assistant",
      content: text,
      ...(thinking !== undefined && { thinking }),
      ...(toolCalls.length > 0 && {
        toolCalls: toolCalls.map((call) => ({ ...call, arguments: jsonOr(call.arguments) })),
      }),
    };
    const told = `You ${problem}. Answer again, corrected.`;
    const results = toolCalls.map(({ id, name }, index): ChatMessage => {
      const own = ofCalls[index];
      const isOwn = own !== undefined || ofCalls.every((each) => each === undefined);
      const content = isOwn ? `Error: you ${own ?? problem}. Call again, corrected.` : "Not done. Call it again, too.";
      return { role: "tool", toolCallId: id, toolName: name, content };
    });
    const more: readonly ChatMessage[] = results.length > 0 ? results : [{ role: "user", content: told }];
    return {
      ...request,
      seed: seed === undefined ? randomInt(2 ** 31) : seed + 1,
      ...(request.chat === undefined
        ? { after: [...(request.after ?? []), assistant, ...more] }
        : { chat: { ...chat, messages: [...chat.messages, assistant, ...more] } }),
    };
  }
}

/** The second answer behind the text of the first one, which was passed on; beside calls its own text doesn't count. */
function joined({ generation: { text, thinking } }: Answered, second: Answered): Answered {
  const { thinking: _unseen, ...generation } = second.generation;
  const hasCalls = generation.toolCalls !== undefined;
  const more = hasCalls || generation.text.trim() === "" ? "" : `${text.trim() === "" ? "" : "\n\n"}${generation.text}`;
  return {
    ...second,
    generation: { ...generation, text: text + more, ...(thinking !== undefined && { thinking }) },
  };
}

function failed(model: string, problem: string, { generation }: Answered): CheckFailed {
  const { text, toolCalls = [], finishReason } = generation;
  const calls = toolCalls.map((call) => `${call.name}(${call.arguments})`).join(" ");
  const isCut = finishReason === "length";
  return new CheckFailed(`${model} ${problem}${isCut ? "; the answer ended with its limit of tokens" : ""}`, {
    text: `${text} ${calls}`.trim(),
    next: [
      isCut ? { step: "raiseArgument", argument: "maxTokens" } : { step: "retry" },
      advice("use a larger model, or a tool with fewer or simpler parameters"),
    ],
  });
}

/** Also for what some models write: nothing, or JSON in a text of JSON. A sentence says what else it is. */
function objectIn(text: string): { readonly json: string } | string {
  if (text.trim() === "") return { json: "{}" };
  try {
    const value = parseJson(text);
    if (isRecord(value)) return { json: text };
    if (value === null) return { json: "{}" };
    return typeof value === "string"
      ? objectIn(value)
      : `it is ${Array.isArray(value) ? "a list" : `a ${typeof value}`}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function jsonOr(text: string): string {
  const read = objectIn(text);
  return typeof read === "string" ? "{}" : read.json;
}

const sameJson = (one: string, other: string): boolean => one.replaceAll(/\s/g, "") === other.replaceAll(/\s/g, "");

/** What stands behind "answered JSON that does not match the schema". */
const placesIn = (problem: string): string => problem.slice(problem.indexOf(": ") + 2);

const newCallId = (): string => `call_${randomBytes(12).toString("hex")}`;
