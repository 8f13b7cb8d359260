/** The checks that a request may ask for, beside its format: each prepares the request, and judges the answer. */
import { InvalidRequest, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Answered, Asking, Quoted, Resolved } from "../generation/ports.ts";
import { numeralsOf, tokensOf } from "./notations.ts";
import type { CheckThreads } from "./check-threads.ts";
import { type Commands, namedCommand, runCommand } from "./command.ts";
import { marked, problemOf, promptForQuotes } from "./quotes.ts";
import { sameModel } from "../util/model-name.ts";
import { defined, orUndefined } from "../util/values.ts";
import { counted, shortened } from "../util/format-bytes.ts";

/** Prepares a request for a check, and judges the answer. */
export interface AnswerCheck {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: Resolved;
  /** The answer as the caller gets it, and what the check found. */
  judge(answer: Answered["generation"], model: string): Promise<Found>;
}

interface Found {
  readonly text: string;
  readonly result: CheckResult;
  readonly isUnchecked?: boolean;
  /** The model may correct it: completes "You". */
  readonly correct?: string;
  readonly notes?: readonly string[];
}

/** Where checks that may take long run, and for whom. */
export interface CheckPlace extends Required<Asking> {
  readonly threads: CheckThreads;
  /** Those that the user named. */
  readonly commands: Commands;
  /** The model that the user named to judge. */
  readonly judge: string | undefined;
  /** Takes those of other models, which count. */
  readonly answers: Answered[];
}

/** The check that a request asks for. Throws `InvalidRequest` for one that can't be made. */
export async function checkOf(
  request: Resolved,
  quoted: Quoted,
  place: CheckPlace,
): Promise<AnswerCheck | AgreeCheck<Resolved> | undefined> {
  const { check } = request;
  if (check === undefined || check === "none") return undefined;
  if (check === "agree") return agreeCheck(request);
  if (typeof check === "object")
    return "agree" in check ? agreesWith(request, check.agree, place) : commandCheck(request, check.command, place);
  if ((quoted.files ?? []).length === 0) {
    throw new InvalidRequest("statements are looked for in files, and the request has none", {
      next: [
        { step: "setArgument", argument: "files" },
        { step: "omitArgument", argument: "check" },
      ],
    });
  }
  return check === "quotes" ? quotesCheck(request, quoted, place) : judgedCheck(request, quoted, place);
}

/** Another model has to give the same value. */
function agreesWith(given: Resolved, other: string, place: CheckPlace): AnswerCheck {
  if (given.model !== undefined && sameModel(given.model, other))
    throw new InvalidRequest(`${other} can't be compared with itself`, {
      next: { step: "changeArgument", argument: "check" },
    });
  const { request, vote } = agreeCheck(given, false);
  return {
    request,
    async judge({ text, finishReason }, model) {
      const failed = (problem: string) => ({ text, result: { kind: "agree", statements: [], problem } as const });
      if (sameModel(model, other)) return failed(`${other} can't be compared with itself`);
      const { check: _check, ...asked } = request;
      try {
        const { answered } = await place.others.ask({ ...asked, model: other }, true);
        place.answers.push(answered);
        const { result } = vote(
          [{ text, finishReason }, answered.generation].map((each) => ({
            text: each.text,
            isCut: each.finishReason === "length",
          })),
        );
        const problem = result.problem && `${model} and ${other} answer differently`;
        return { text, result: { ...result, ...defined({ problem }) } };
      } catch (error) {
        throwIfCancelled(place.signal, "the request");
        if (!(error instanceof OrchestratorError)) throw error;
        return { ...failed(`the answer was not compared with that of ${other}: ${error.message}`), isUnchecked: true };
      }
    },
  };
}

function commandCheck(request: Resolved, name: string, { commands, signal }: CheckPlace): AnswerCheck {
  const command = namedCommand(commands, name);
  return {
    request,
    async judge({ text }) {
      const { problem, isUnchecked } = await runCommand(name, command, text, signal);
      const result = {
        kind: "command",
        statements: [],
        ...(problem !== undefined && { problem: `the answer ${problem}` }),
      } as const;
      if (isUnchecked === true || problem === undefined) return { text, result, isUnchecked: isUnchecked === true };
      return { text, result, correct: `gave an answer that ${problem}` };
    },
  };
}

/** What the search found, and what the judge says of it. Throws `InvalidRequest` where there is no judge. */
async function judgedCheck(request: Resolved, quoted: Quoted, place: CheckPlace): Promise<AnswerCheck> {
  const { judgeModel, judgedStatements } = await import("./judged.ts");
  const judge = await judgeModel(place.others.list, place.judge);
  const search = quotesCheck(request, quoted, place);
  return {
    request: search.request,
    async judge(answer, model) {
      const found = await search.judge(answer, model);
      const about = { request, files: quoted.files ?? [], place, model };
      const { statements, notes } = await judgedStatements(judge, about, found.result.statements, place);
      const problem = found.isUnchecked === true ? found.result.problem : problemOf(statements);
      // JSON has no room for marks.
      const text = request.format === undefined && statements.length > 0 ? marked(statements) : found.text;
      return { ...found, text, result: { kind: "judged", statements, ...defined({ problem }) }, notes };
    },
  };
}

function quotesCheck(request: Resolved, { files = [], question }: Quoted, place: CheckPlace): AnswerCheck {
  const isJson = request.format !== undefined;
  const quoted = { files: files.map(({ path, text }) => ({ path, text })), question };
  return {
    request: { ...request, prompt: promptForQuotes(request) },
    async judge({ text: answer }) {
      const end = await place.threads.run({ kind: "quotes", isJson, quoted, answer }, place);
      if ("found" in end) return end.found as Found;
      const problem = `the statements were not looked for in the files: ${end.unfinished}`;
      const result = { kind: "quotes", statements: [], problem } as const;
      return { text: answer, result, isUnchecked: true };
    },
  };
}

/** An answer of several, or why there is none. */
export interface Sample {
  readonly text?: string;
  /** It ran out of tokens: what is missing may differ. */
  readonly isCut?: boolean;
  readonly failure?: OrchestratorError;
}

/** Prepares a request that is answered several times, and finds the majority. Pure. */
interface AgreeCheck<Asked> {
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
    vote: (samples) => majority(samples, format === undefined ? valueKey : canonicalJson),
  };
}

function majority(
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
  const problem = isAgreed ? undefined : unagreed(isLong(text, keyOf), equal, samples);
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

function unagreed(isTooLong: boolean, equal: number, samples: readonly Sample[]): string {
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
  const json = /^\s*[[{]/.test(text) ? orUndefined(() => canonicalJson(text)) : undefined;
  if (json !== undefined) return json;
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
function canonicalJson(text: string): string {
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
