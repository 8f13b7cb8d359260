import type { ToolDefinition } from "../../../api/chat.ts";
import { alternatives, JsonGrammar, quoted } from "./json-grammar.ts";
import type {
  ChatHistoryItem,
  ChatWrapper,
  ContextSequence,
  Grammar,
  Llama,
  LlamaModel,
  LlamaTextValue,
  NodeLlamaCpp,
  StopTrigger,
  Token,
} from "./node-llama-cpp.ts";
import type { CallDelta, GenerateDone, GenerateRequest } from "./protocol.ts";
import { renderPrompt } from "./chat-template.ts";
import { throwIfAborted } from "./failure.ts";

/** How calls look in the template of a model. */
function syntaxOf({ settings: { functions } }: ChatWrapper, model: LlamaModel) {
  const { call, parallelism } = functions;
  const named = (value: unknown) => (name: string) => textOf(value).replaceAll("{{functionName}}", name);
  const opening = valuesOf(parallelism?.call.sectionPrefix).concat(valuesOf(call.prefix));
  const text = opening.map((value) => (typeof value === "string" ? value : value.value)).join("");
  // The JSON may have other spaces than in the template.
  const mark = text.split("{")[0]?.trim() ?? "";
  const closing = model.tokenize(textOf(parallelism?.call.sectionSuffix), true);
  const end = closing.findIndex((token) => model.isEogToken(token));
  return {
    /** Before the first call. */
    opening,
    prefix: textOf(call.prefix),
    /** What tells a call from other text. */
    mark: mark === "" ? text.trimStart() : mark,
    /** Between the name and the arguments. */
    afterName: named(call.paramsPrefix),
    suffix: named(call.suffix),
    /** Between two calls; absent: one call at most. */
    ...(parallelism && { between: textOf(parallelism.call.betweenCalls) }),
    /** After the last call. */
    closing: model.detokenize(end < 0 ? [] : closing.slice(0, end), true),
  };
}

function valuesOf(text: unknown): readonly LlamaTextValue[] {
  if (typeof text === "string") return text === "" ? [] : [text];
  return (text as { readonly values?: readonly LlamaTextValue[] } | undefined)?.values ?? [];
}

function textOf(text: unknown): string {
  return valuesOf(text)
    .map((value) => (typeof value === "string" ? value : value.value))
    .join("");
}

/** Ways in which models begin a call that their template writes otherwise: as a block of code, or as plain JSON. */
const otherOpenings = ["", "```json\n", "```\n", "<tools>\n", "<tool>\n"];
const otherSpacings = ['{"name": ', '{ "name": ', '{"name":', '{\n  "name": ', '{\n    "name": '];

/**
 * The texts with which a model begins a call. Models with thoughts write what their template has, and may quote JSON in a
 * thought; an answer with a format is JSON itself.
 */
function triggersOf(
  { library, model, wrapper }: CallParts,
  mark: string,
  tools: readonly ToolDefinition[],
  hasFormat: boolean,
): readonly StopTrigger[] {
  const own = new library.SpecialTokensText(mark).tokenizeSpecialTokensOnly(model.tokenizer);
  if (hasFormat || wrapper.settings.segments?.thought !== undefined) return [own];
  const others = otherOpenings.flatMap((before) =>
    otherSpacings.flatMap((spacing) => tools.map(({ name }) => `${before}${spacing}${JSON.stringify(name)}`)),
  );
  return [own, ...others];
}

const maxAtOnce = 64;

interface CallParts {
  readonly library: NodeLlamaCpp;
  readonly llama: Llama;
  readonly model: LlamaModel;
  readonly wrapper: ChatWrapper;
  /** Window of one sequence. */
  readonly contextTokens: number;
}

interface Writing {
  /** With the answer so far. */
  readonly history: readonly ChatHistoryItem[];
  readonly sequence: ContextSequence;
  readonly sampler: object;
  /** In parts, which can be paused and cancelled. */
  readonly evaluate: (tokens: readonly Token[]) => Promise<void>;
  readonly maxTokens: number;
}

/** The calls of one request: when they begin, what they may be, and what the model wrote. */
export class Calls {
  readonly triggers: readonly StopTrigger[];
  readonly isForced: boolean;
  readonly #syntax: ReturnType<typeof syntaxOf>;
  readonly #parts: CallParts;
  readonly #tools: readonly ToolDefinition[];
  readonly #isSingle: boolean;

  constructor(
    parts: CallParts,
    tools: readonly ToolDefinition[],
    { toolChoice = "auto", singleCall = false, format }: Pick<GenerateRequest, "toolChoice" | "singleCall" | "format">,
  ) {
    this.#parts = parts;
    this.#syntax = syntaxOf(parts.wrapper, parts.model);
    this.#tools = typeof toolChoice === "object" ? tools.filter(({ name }) => name === toolChoice.name) : tools;
    this.#isSingle = singleCall || this.#syntax.between === undefined;
    this.isForced = toolChoice !== "auto";
    this.triggers = triggersOf(parts, this.#syntax.mark, this.#tools, format !== undefined);
  }

  /** The prompt, the answer so far, and the beginning of a call, up to its name. */
  #begin(history: readonly ChatHistoryItem[]): Token[] {
    const { library, model, wrapper } = this.#parts;
    const last = history.at(-1);
    const said = last?.type === "model" ? last.response.at(-1) : undefined;
    const space = typeof said === "string" && said !== "" ? (/^\s*/.exec(this.#syntax.between ?? "")?.[0] ?? "") : "";
    const opening = library.LlamaText([space, ...this.#syntax.opening]);
    return [...renderPrompt(wrapper, model, history), ...opening.tokenize(model.tokenizer, "trimLeadingSpace")];
  }

  /** For what follows `begin`. */
  async #grammar(): Promise<Grammar> {
    const { llama } = this.#parts;
    try {
      return await llama.createGrammar({ grammar: this.#text(true) });
    } catch {
      // A schema that leads to itself, or is larger than llama.cpp reads.
      return await llama.createGrammar({ grammar: this.#text(false) });
    }
  }

  /** The beginning of a call, beside which a grammar may allow other answers. */
  get beginning(): string {
    return quoted(this.#syntax.mark);
  }

  #text(isExact: boolean): string {
    const { prefix, between = "", afterName, suffix, closing } = this.#syntax;
    const grammar = new JsonGrammar();
    const each = this.#tools.map(({ name, parameters }) => {
      const value = isExact ? grammar.valueOf({ type: "object", ...parameters }) : "object";
      return `${quoted(name + afterName(name))} ${value} ${quoted(suffix(name))}`;
    });
    const call = grammar.rule(alternatives(each));
    const more = this.#isSingle ? "" : `(${quoted(between + prefix)} ${call})*`;
    return grammar.text(`${call} ${more} ${closing === "" ? "" : `(${quoted(closing)})?`}`);
  }

  /**
   * Reads what the grammar allowed, piece by piece. A call that is as an earlier one so far is held back: small models repeat
   * their calls without end.
   */
  #reader(emit: (delta: CallDelta) => void) {
    const { prefix, between = "", afterName, suffix } = this.#syntax;
    const calls: { name: string; arguments: string }[] = [];
    const held: CallDelta[] = [];
    const pass = (delta: CallDelta) => {
      held.push(delta);
      const { name = "", arguments: json = "" } = calls.at(-1) ?? {};
      if (!calls.slice(0, -1).some((call) => call.name === name && call.arguments.startsWith(json))) flush();
    };
    const flush = () => held.splice(0).forEach(emit);
    let text = "";
    let state: "name" | "arguments" | "after" = "name";
    let [depth, isString, isEscaped] = [0, false, false];

    const readName = (): boolean => {
      const tool = this.#tools.find(({ name }) => text.startsWith(`${name}${afterName(name)}{`));
      if (tool === undefined) return false;
      text = text.slice(tool.name.length + afterName(tool.name).length);
      calls.push({ name: tool.name, arguments: "" });
      pass({ index: calls.length - 1, name: tool.name, arguments: "" });
      state = "arguments";
      return true;
    };
    /** How many characters of `text` belong to the arguments; they have ended if some are left. */
    const argumentsLength = (): number => {
      for (let index = 0; index < text.length; index += 1) {
        const character = text[index];
        if (isEscaped) isEscaped = false;
        else if (isString) [isEscaped, isString] = [character === "\\", character !== '"'];
        else if (character === '"') isString = true;
        else if (character === "{" || character === "[") depth += 1;
        else if (character === "}" || character === "]") depth -= 1;
        if (depth === 0) {
          state = "after";
          return index + 1;
        }
      }
      return text.length;
    };
    const readArguments = (): boolean => {
      const call = calls.at(-1);
      const piece = text.slice(0, argumentsLength());
      text = text.slice(piece.length);
      if (call === undefined || piece === "") return false;
      call.arguments += piece;
      pass({ index: calls.length - 1, arguments: piece });
      return state === "after";
    };
    const readAfter = (): boolean => {
      const until = `${suffix(calls.at(-1)?.name ?? "")}${between}${prefix}`;
      if (!text.startsWith(until)) return false;
      text = text.slice(until.length);
      state = "name";
      return true;
    };
    return {
      calls,
      /** Whether there may be more. */
      read(piece: string): boolean {
        text += piece;
        while (state === "name" ? readName() : state === "arguments" ? readArguments() : readAfter());
        return state !== "after" || held.length === 0;
      },
      /** Without a repeated call. */
      end() {
        if (state === "after" && held.length > 0) calls.pop();
        else flush();
      },
    };
  }

  /** Lets the model write calls after the answer so far, and reads them. */
  async write(
    { history, sequence, sampler, maxTokens, evaluate }: Writing,
    emit: (delta: CallDelta) => void,
    signal: AbortSignal,
  ): Promise<Pick<GenerateDone, "toolCalls" | "finishReason">> {
    const { library, model, contextTokens } = this.#parts;
    const reader = this.#reader(emit);
    const ended = (finishReason: GenerateDone["finishReason"]) => {
      reader.end();
      return { toolCalls: reader.calls, finishReason };
    };
    const tokens = this.#begin(history);
    let left = Math.min(maxTokens, contextTokens - tokens.length - 1);
    if (left < 1) return ended("length");
    const grammar = await this.#grammar();
    await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
    // The text of a long answer may have other tokens than the model wrote.
    if (tokens.length - sequence.nextTokenIndex > maxAtOnce) await evaluate(tokens.slice(sequence.nextTokenIndex, -1));
    throwIfAborted(signal);
    const grammarEvaluationState = new library.LlamaGrammarEvaluationState({ model, grammar });
    let [read, unread]: [Token[], Token[]] = [tokens.slice(-4), []];
    const options = { ...sampler, grammarEvaluationState, yieldEogToken: true };
    for await (const token of sequence.evaluate(tokens.slice(sequence.nextTokenIndex), options)) {
      throwIfAborted(signal);
      if (model.isEogToken(token)) break;
      unread.push(token);
      const piece = model.detokenize(unread, true, read);
      // A character of several tokens.
      if (!piece.endsWith("\u{FFFD}")) {
        if (!reader.read(piece)) break;
        [read, unread] = [unread, []];
      }
      left -= 1;
      if (left === 0) return ended("length");
    }
    return ended("stop");
  }
}
