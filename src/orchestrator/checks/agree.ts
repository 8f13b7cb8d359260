import { InvalidRequest, type OrchestratorError } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { counted, shortened } from "../util/format-bytes.ts";
import { defined } from "../util/defined.ts";
import { numeralsOf, tokensOf } from "./notations.ts";

/** An answer of several, or why there is none. */
export interface Sample {
  readonly text?: string;
  /** It ran out of tokens: what is missing may differ. */
  readonly isCut?: boolean;
  readonly failure?: OrchestratorError;
}

/** Prepares a request that is answered several times, and finds the majority. Pure. */
export interface AgreeCheck<Asked> {
  /** The request as models get it, each time. */
  readonly request: Asked;
  /** How many answers. */
  readonly answers: number;
  /** The answer that most samples agree on, as the first of them gave it. */
  vote(samples: readonly Sample[]): { readonly text: string; readonly result: CheckResult };
}

const answers = 3;
/** For an answer of a word or a phrase. */
const shortTokens = 64;
/** Longer answers are texts, which are never equal. */
const maxShortCharacters = 200;
/**
 * Answers of a model that always picks the likeliest token are equal whether they are right or wrong. The temperature of
 * self-consistency sampling (Wang et al., 2022): less makes the answers depend on each other, more makes them noise.
 */
const temperature = 0.7;
const shortInstruction = "Answer with one word, number or short phrase, and nothing else.";

/**
 * Without a format the answer is asked to be a word or a phrase: only such answers can be compared. `isSampled`: they are
 * all of one model.
 */
export function agreeCheck<Asked extends GenerateRequest>(request: Asked, isSampled = true): AgreeCheck<Asked> {
  const { format, prompt } = request;
  if (isSampled && request.temperature === 0) {
    throw new InvalidRequest("answers at temperature 0 are all equal, so that their agreement says nothing", {
      next: [
        { step: "omitArgument", argument: "temperature" },
        { step: "omitArgument", argument: "check" },
      ],
    });
  }
  const isThinking = request.think !== undefined && request.think !== false;
  const maxTokens = request.maxTokens ?? (isThinking ? undefined : shortTokens);
  const short = {
    prompt: `${prompt}\n\n${shortInstruction}`,
    // A model that thinks unasked would use up the tokens before its answer.
    think: request.think ?? false,
    ...defined({ maxTokens }),
  };
  return {
    request: {
      ...request,
      ...(format === undefined && short),
      ...(isSampled && { temperature: request.temperature ?? temperature }),
    },
    answers,
    vote: (samples) => vote(samples, format === undefined ? valueKey : canonicalJson),
  };
}

function vote(
  samples: readonly Sample[],
  keyOf: (text: string) => string,
): { readonly text: string; readonly result: CheckResult } {
  const groups = new Map<string, string[]>();
  const failed: { readonly text: string; readonly count: number }[] = [];
  for (const [index, { text, failure, isCut = false }] of samples.entries()) {
    const key = text === undefined ? "" : isCut ? `cut ${index}` : keyOf(text);
    if (text === undefined || key === "") {
      failed.push({ text: failure === undefined ? "an empty answer" : `failed: ${failure.message}`, count: 1 });
    } else groups.set(key, [...(groups.get(key) ?? []), text.trim()]);
  }
  const [first, ...others] = [...groups.values()].toSorted((a, b) => b.length - a.length);
  const [text = "", equal, total] = [first?.[0], first?.length ?? 0, samples.length];
  const isAgreed = equal * 2 > total && !isLong(text, keyOf);
  const problem = isAgreed ? undefined : problemOf(isLong(text, keyOf), equal, samples);
  const dissent = [
    ...others.map((group) => ({ text: shortened(group[0] ?? "", maxShortCharacters), count: group.length })),
    ...failed,
  ];
  return {
    text,
    result: { kind: "agree", statements: [], ...defined({ problem }), votes: { equal, total, others: dissent } },
  };
}

function isLong(text: string, keyOf: (text: string) => string): boolean {
  return keyOf === valueKey && text.length > maxShortCharacters;
}

function problemOf(isTooLong: boolean, equal: number, samples: readonly Sample[]): string {
  const total = samples.length;
  const cut = samples.filter(({ isCut }) => isCut).length;
  if (cut * 2 > total) return `${cut} of ${total} answers were cut before their end`;
  if (isTooLong) {
    return `the answers have more than ${maxShortCharacters} characters, and only short answers or JSON can be compared`;
  }
  return equal < 2 ? `no two of ${counted(total, "answer")} agree` : `only ${equal} of ${total} answers agree`;
}

const wordsAround =
  /^(?:(?:the |final )*answer(?: is|:)|(?:die )?antwort(?: ist| lautet|:)|(?:la )?r[ée]ponse(?: est|:)|(?:la )?respuesta(?: es|:)|(?:la )?risposta(?: è|:))\s*/i;
const leadingArticle = /^(?:the|der|die|das|le|la|les|el|los|las|il|lo|gli)\s(?=\S)/i;

/**
 * Equal for answers that state the same value: case, spaces, quotation marks, emphasis, final stops, articles before it
 * and the notation of numbers, dates, times and units don't count. Signs and the marks inside names do: `foo_bar`, `v1.20`.
 */
export function valueKey(text: string): string {
  if (/^\s*[[{]/.test(text)) {
    try {
      return canonicalJson(text);
    } catch {
      // No JSON.
    }
  }
  const bare = text
    .normalize("NFKC")
    .trim()
    .replaceAll(/[*`´"“”„«»‹›]/g, "")
    .replaceAll(/(?<=\p{L})['’](?=\p{L})/gu, "")
    .replaceAll(/(?<![\p{L}\p{N}_])_([^_]+)_(?![\p{L}\p{N}_])/gu, "$1")
    .replaceAll(/\s+/g, " ")
    .trim()
    .replace(wordsAround, "")
    .replace(leadingArticle, "");
  const plain = bare
    // Of the two meanings of 1,000 the one in English.
    .replaceAll(/(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])/g, (number) => number.replaceAll(",", ""))
    // The parts of a version are no decimals.
    .replaceAll(/(?<![\p{L}\p{N}])v(?=\d)[\d.]*\d/giu, (version) => version.replaceAll(/[.v]/gi, "$&_"));
  const values = tokensOf(plain, numeralsOf(plain)).map(({ word, forms }) => meaningOf(forms) ?? word);
  const marks = plain
    .replaceAll(/(?<=\d)\/(?=\d)|[%€$£¥](?= ?\d)|(?<=\d ?)[%€$£¥]/g, "")
    .replaceAll(/[\p{L}\p{M}\p{N}\s.,:;!?'’‘()[\]{}…\p{Pd}−]/gu, "");
  return `${values.join(" ")} ${marks}`.trim();
}

/** One of the meanings of a number: of 1.234 the decimal, of 01/04/2026 both dates. */
function meaningOf(forms: readonly string[]): string | undefined {
  const dates = forms.filter((form) => form.startsWith("d"));
  if (dates.length > 0) return dates.join("|");
  return forms.length === 2 && forms.every((form) => /^-?[\d.]+$/.test(form)) ? forms[1] : forms[0];
}

/** JSON with its keys in order, and what its texts state: the same as `valueKey`. */
export function canonicalJson(text: string): string {
  return JSON.stringify(sorted(JSON.parse(text)));
}

function sorted(value: unknown): unknown {
  if (typeof value === "string") return valueKey(value);
  // JSON has no -0.
  if (typeof value === "number") return value === 0 ? 0 : value;
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => [key.normalize("NFC"), sorted(inner)]);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
