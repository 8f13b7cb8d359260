/** A question and its answers as the page shows them: what the form checks, and the columns of the answers. */
import { Lexer, type MarkedToken, type Token } from "marked";
import { formatAmount, formatBytes, formatDuration } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { formatCount, formatRate, given, visibleText } from "./format.ts";

type Generated = ToolAnswers["route_and_generate"];

const mostModels = 5;
/** In front of the name of a profile, among those of models. */
export const profilePrefix = "profile ";

/** What the daemon would refuse, in terms of the form. */
export function problemOf(
  text: string,
  chosen: readonly string[],
  maxTokens: string,
  isComparison: boolean,
): string | undefined {
  if (text.trim() === "") return "Write what the models are to answer.";
  if (isComparison && chosen.length === 1) return "Choose at least two models, or none.";
  if (isComparison && chosen.some((name) => name.startsWith(profilePrefix)))
    return "Compare takes models, no profiles.";
  if (chosen.length > mostModels) return `Choose at most ${mostModels}.`;
  if (maxTokens.trim() !== "" && !/^[1-9]\d*$/.test(maxTokens.trim())) {
    return "Maximum tokens must be a whole number from 1.";
  }
  return undefined;
}

/** A column: what a model has answered so far, or its result. */
export interface Answer {
  readonly model: string;
  readonly text: string;
  /** What a reasoning model wrote before its answer. */
  readonly thinking?: string;
  /** What it does now: `waits`, `loading 43%`, `12 tokens`; absent when it is done. */
  readonly state?: string | undefined;
  /** Figures, or of a comparison the error. */
  readonly result?: Omit<ToolAnswers["compare"]["results"][number], "model" | "text" | "cost"> & {
    readonly cost?: string | Generated["cost"];
    readonly finish_reason?: Generated["finish_reason"];
  };
  /** Why a call failed. */
  readonly error?: unknown;
  /** Absent in a comparison. */
  readonly generated?: Generated;
}

/** The figures of an answer that has ended, with their names; those that are not known have no text. */
export function figuresOf({ cost, ...result }: NonNullable<Answer["result"]>) {
  if (result.error !== undefined) return [];
  const { tokens_per_second, first_token_ms, total_ms, load_ms, memory_bytes, completion_tokens } = result;
  return [
    ["Speed", given(tokens_per_second, (speed) => `${formatRate(speed)} tokens/s`)],
    ["First token", given(first_token_ms, formatDuration)],
    ["Total", given(total_ms, formatDuration)],
    ["Load", load_ms === 0 ? "was loaded" : given(load_ms, formatDuration)],
    ["Tokens", given(completion_tokens, formatCount)],
    ["Memory", given(memory_bytes, formatBytes)],
    ["Cost", typeof cost === "object" ? formatAmount(cost.amount, cost.currency) : cost],
    ["Cut", result.finish_reason === "length" ? "at the token limit" : undefined],
    ["Note", result.is_contended === true ? "other work ran meanwhile: times are unreliable" : undefined],
  ] as const;
}

/** The columns of a running comparison, from its message and the texts so far: `a: done, 12 tokens/s | b: waits`. */
export function runningAnswers(
  models: readonly string[],
  message: string = "",
  texts: readonly { readonly model: string; readonly text: string }[] = [],
): readonly Answer[] {
  const states = new Map(
    message.split(" | ").flatMap((part) => {
      const at = part.indexOf(": ");
      return at === -1 ? [] : [[part.slice(0, at), part.slice(at + 2)] as const];
    }),
  );
  // The message has each model as its engine spells it; before it comes, the form's own names have to do.
  const hasBoard = models.length === 0 || states.size >= models.length;
  const names = new Set([...(hasBoard ? states.keys() : models), ...texts.map(({ model }) => model)]);
  return [...names].map((model) => ({
    model,
    text: texts.find((each) => each.model === model)?.text ?? "",
    state: states.get(model) ?? "waits",
  }));
}

/** Marks of one paragraph, and blocks within blocks on a line, beyond which a parser takes seconds. */
const mostMarks = 500;
const deepNesting = /^(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])[ \t])){16}/m;

/** What `make` makes, and texts. */
type Parts<Element> = string | Element | readonly Parts<Element>[];

/**
 * A model's answer in Markdown as elements, which `make` makes: `h` of Preact. It may be hostile: HTML is shown as it is
 * written, links and pictures with their addresses, so that nothing is loaded or opened; what can't be read quickly stays as
 * it is.
 */
export function markdown<Element>(
  answer: string,
  make: (tag: string, attributes: object, children: Parts<Element>) => Element,
): Parts<Element> {
  const within = (tag: string, children: Parts<Element>, more = {}) => make(tag, { dir: "auto", ...more }, children);
  const each = (tokens: readonly Token[] = []) => tokens.map((token) => elementOf(token as MarkedToken));
  const elementOf = (token: MarkedToken): Parts<Element> => {
    switch (token.type) {
      case "space":
        return "";
      case "code": {
        const head = token.lang ? make("small", {}, `${token.lang}\n`) : "";
        return make("pre", { dir: "ltr", class: "text-block", tabIndex: 0 }, [head, make("code", {}, token.text)]);
      }
      case "codespan":
        return make("code", { dir: "ltr" }, token.text);
      case "heading":
        return within(token.depth < 3 ? "h4" : "h5", each(token.tokens));
      case "list":
        return within(token.ordered ? "ol" : "ul", each(token.items), { start: token.start || undefined });
      case "list_item":
        return make("li", {}, each(token.tokens));
      case "table": {
        const rowOf = (cells: typeof token.header) =>
          make(
            "tr",
            {},
            cells.map(({ header, tokens }) => within(header ? "th" : "td", each(tokens))),
          );
        return make("table", {}, make("tbody", {}, [token.header, ...token.rows].map(rowOf)));
      }
      case "text":
        return token.tokens === undefined ? token.text : each(token.tokens);
      case "escape":
        return token.text;
      case "paragraph":
        return within("p", each(token.tokens));
      case "blockquote":
      case "strong":
      case "em":
      case "del":
        return make(token.type, {}, each(token.tokens));
      case "link": {
        const { text, href } = token;
        const isAddress = [text, `http://${text}`, `mailto:${text}`].includes(href);
        return [each(token.tokens), isAddress ? "" : ` (${href})`];
      }
      case "br":
      case "hr":
        return make(token.type, {}, "");
      default:
        return token.raw;
    }
  };
  const whole = visibleText(answer);
  const lexer = new Lexer();
  try {
    if (deepNesting.test(whole)) return within("p", whole);
    lexer.blockTokens(whole, lexer.tokens);
    for (const { src, tokens } of lexer.inlineQueue) {
      if ((src.match(/[*_~`[\]<!]/g) ?? []).length > mostMarks) tokens.push({ type: "text", raw: src, text: src });
      else lexer.inlineTokens(src, tokens);
    }
    return each(lexer.tokens);
  } catch {
    // Nested deeper than the stack.
    return within("p", whole);
  }
}
