import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { Task } from "../api/types.ts";
import type { LongAsk } from "../generation/ports.ts";
import { TextIndex, fold, fuseRankings } from "../recall/text-index.ts";
import { counted } from "../util/format-bytes.ts";
import { isLookUp } from "./look-up.ts";
import { type PreparedParts, framed } from "./parts.ts";
import { type Passage, type TextPart, splitTexts } from "./split-text.ts";

/** Tasks whose answer needs the whole text. */
const wholeTasks: ReadonlySet<Task> = new Set([
  "summarization",
  "translation",
  "code_review",
  "creative",
  "transcription",
]);

/** Whether a request is answered from passages: it is a look-up, and the task that it names needs no more. */
export function asksOnePlace({ prompt, task, format }: Pick<GenerateRequest, "prompt" | "task" | "format">): boolean {
  // In a prescribed form an answer can't say that it found nothing.
  return format === undefined && (task === undefined || !wholeTasks.has(task)) && isLookUp(prompt);
}

/** Sizes at which 98 % of labelled questions about 120 kB find their place (`test/orchestrator/reading/pick.test.ts`). */
export const pickSizes = { pieceTokens: 250, maxTokens: 4_000 } as const;

/** The name and headings of a piece, which stand before it. */
const frameTokens = 24;

/** How much more a piece counts that stands in a section, or in a file, that the question names. */
const namedSection = 1_000;
const namedFile = 4;
/** And one with a word of the question that is no word of prose: `max_tokens`, `--port`, `10.0.0.5`. */
const sameIdentifier = 2;

interface Piece {
  readonly passages: readonly Pick<Passage, "path" | "headings" | "text">[];
  readonly tokens: number;
}

/** A piece by its index, and whether it stands in a section that the question names. */
interface Ranked {
  readonly at: number;
  readonly isNamed: boolean;
}

/** The pieces that have a word of the question, or stand in a section that it names; best first. */
export function rankByWords(question: string, pieces: readonly Piece[]): readonly Ranked[] {
  const index = new TextIndex();
  for (const [at, { passages }] of pieces.entries()) {
    const key = passages.map(({ path, headings }) => `${path} ${headings.join(" ")}`).join(" ");
    index.put({ id: `${at}`, key, value: passages.map(({ text }) => text).join("\n"), tags: [] });
  }
  const sections = sectionsIn(question);
  const paths = new Set(pieces.flatMap(({ passages }) => passages.map(({ path }) => path)));
  const named = new Set([...paths].filter((path) => namesFile(question, path)));
  const identifiers = identifiersIn(question);
  const scores = new Map(index.search(question, () => true).map(({ id, score }) => [Number(id), score]));
  const ranked = pieces.flatMap(({ passages }, at) => {
    const isNamed = sections.some((number) => passages.some((passage) => isInSection(passage, number)));
    let score = scores.get(at) ?? (isNamed ? 1 : 0);
    if (isNamed) score *= namedSection;
    if (passages.some(({ path }) => named.has(path))) score *= namedFile;
    const content = identifiers.length === 0 ? "" : fold(passages.map(({ text }) => text).join("\n"));
    for (const identifier of identifiers) if (content.includes(identifier)) score *= sameIdentifier;
    return score > 0 ? [{ at, isNamed, score }] : [];
  });
  return ranked.toSorted((a, b) => b.score - a.score || a.at - b.at);
}

/**
 * The pieces that most likely answer a question, as many as fit: indexes, in the given order. A named section comes first;
 * then what ranks high by words and by meaning (`near`, best first).
 */
export function pickPieces(
  byWords: readonly Ranked[],
  near: readonly number[],
  pieces: readonly Piece[],
  maxTokens: number,
): readonly number[] {
  const named = byWords.filter(({ isNamed }) => isNamed).map(({ at }) => at);
  const fused = fuseRankings([byWords.map(({ at }) => `${at}`), near.map(String)]).map(Number);
  let left = maxTokens;
  const picked: number[] = [];
  for (const at of new Set([...named, ...fused])) {
    const tokens = pieces[at]?.tokens ?? 0;
    if (tokens + frameTokens > left) continue;
    left -= tokens + frameTokens;
    picked.push(at);
  }
  return picked.toSorted((a, b) => a - b);
}

const kindOfSection =
  "sections?|chapters?|parts?|appendix|clauses?|paragraphs?|articles?|steps?|abschnitt|kapitel|teil|anhang|absatz|artikel|" +
  "chapitre|partie|annexe|seccion|capitulo|parte|sezione|capitolo|secao|hoofdstuk|paragraaf|deel";
const numbering = "(\\d+(?:\\.\\d+)*|[a-z]|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)(?![\\p{L}\\p{N}])";
const sectionNumber = new RegExp(`(?:§+|(?<!\\p{L})(?:${kindOfSection}))\\s*(?:n[or]\\.?\\s*)?${numbering}`, "gu");
const headingNumber = new RegExp(`^(?:§+|(?:${kindOfSection})(?!\\p{L}))?\\s*${numbering}`, "u");
const numerals = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
const romans = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"];

/** The numbers of the sections that a question names: `section 3`, `§3.2`, `chapter two`. */
function sectionsIn(question: string): readonly string[] {
  return Array.from(fold(question).matchAll(sectionNumber), ([, name = ""]) => numberOf(name));
}

function numberOf(name: string): string {
  const word = numerals.indexOf(name);
  const roman = romans.indexOf(name);
  return word >= 0 ? `${word + 1}` : roman >= 0 ? `${roman + 1}` : name;
}

/** Whether a passage stands under a heading with this number, or has one: 3 is in `3 Ports`, `3.2 Proxies`, `Chapter III`. */
function isInSection({ headings, text }: Pick<Passage, "headings" | "text">, number: string): boolean {
  const inside = Array.from(text.matchAll(/^#{1,6}[ \t]+(.+)$/gm), ([, title = ""]) => title);
  return [...headings, ...inside].some((heading) => {
    const [, found = ""] = headingNumber.exec(fold(heading.trim())) ?? [];
    const own = numberOf(found);
    return own === number || own.startsWith(`${number}.`);
  });
}

/** Whether a question names the file: `guide.md`, `docs/guide.md`. */
function namesFile(question: string, path: string): boolean {
  const name = fold(path.split(/[/\\]/).at(-1) ?? path);
  const at = name === "" ? -1 : fold(question).indexOf(name);
  return at >= 0 && !/[\p{L}\p{N}_.-]/u.test(fold(question)[at - 1] ?? " ");
}

/** The folded words of a question that prose has not: with a sign, a digit or a capital inside. */
function identifiersIn(question: string): readonly string[] {
  const words = question.match(/[\p{L}\p{N}_$@#%-][\p{L}\p{N}_.:/$@#%-]*[\p{L}\p{N}_$%]/gu) ?? [];
  const isIdentifier = (word: string) => /[_$@#/:]|^--|\p{L}\.\p{L}|\p{Ll}\p{Lu}|\p{N}/u.test(word);
  return [...new Set(words.filter(isIdentifier).map(fold))];
}

/** What the model is asked to answer if the passages don't hold what was asked for. */
const notThere = "NOT IN THESE PARTS";
/** An answer says more than that it found nothing. */
const maxRefusalCharacters = 240;

/** Whether an answer says that the passages don't hold what was asked for, or says nothing. */
export function isNotFound(answer: string): boolean {
  const text = fold(answer.trim());
  if (text === "" || text.includes(fold(notThere))) return true;
  return (
    text.length <= maxRefusalCharacters &&
    /\b(?:not|isn't|aren't|never) (?:found|mentioned|stated|specified|given|provided|included|contained|defined|described|shown|available|present|in (?:the|these|this|any))\b|\b(?:do|does)(?: not|n't) (?:contain|mention|say|state|specify|provide|include|describe|answer)|\bno (?:information|mention|answer|such)\b|\b(?:cannot|can't|could not|couldn't|unable to) (?:find|determine|answer|tell)/.test(
      text,
    )
  );
}

/** Tokens of the text around the passages. */
const instructionTokens = 128;

/**
 * Answers a question about one place of a long text from the passages that match it best, with one request; they may not
 * hold what was asked for (`isFound`). Undefined if the request is no such question, or no passage has a word of it.
 */
export async function answerOnePlace(
  { request, context, answer, similarities }: Pick<LongAsk, "request" | "context" | "answer" | "similarities">,
  { long, countTokens, joiningTokens }: PreparedParts,
): Promise<{ readonly result: GenerateResult; readonly isFound: boolean } | undefined> {
  const { files: _files, ...rest } = request;
  const { question, sources } = long;
  if (!asksOnePlace({ ...request, prompt: question })) return undefined;
  const pieces = splitTexts(sources, {
    maxTokens: pickSizes.pieceTokens,
    frameTokens: 0,
    keepsSections: true,
    countTokens,
  });
  const room = Math.min(pickSizes.maxTokens, joiningTokens - instructionTokens);
  const byWords = rankByWords(question, pieces);
  const near = await rankByMeaning(question, pieces, byWords, similarities);
  const picked = pickPieces(byWords, near, pieces, room);
  if (picked.length === 0) return undefined;
  const parts = partsRead(pieces, picked);
  context.report({
    message: `reading ${parts.read.length} of ${counted(parts.total, "part")}, which match the question`,
  });
  const result = await answer({
    request: { ...rest, prompt: placePrompt(question, passagesOf(pieces, picked)), split: "none" },
    quoted: { files: sources, question },
    // Nothing is shown before it is known to be an answer.
    context: { ...context, addText: () => undefined },
  });
  const isFound = !isNotFound(result.text) && result.check?.problem === undefined;
  if (isFound) context.addText(result.text);
  return { result: { ...result, parts }, isFound };
}

/** Fewer pieces have no typical similarity. */
const fewPieces = 8;

/**
 * The pieces that are nearer to the question by meaning than most, best first; none without an embedding model. The best
 * by words are compared first, in case the time does not suffice for all.
 */
export async function rankByMeaning(
  question: string,
  pieces: readonly TextPart[],
  byWords: readonly Ranked[],
  similaritiesTo: LongAsk["similarities"],
): Promise<readonly number[]> {
  const order = [...new Set([...byWords.map(({ at }) => at), ...pieces.keys()])];
  const texts = order.map((at) => (pieces[at]?.passages ?? []).map(meantText).join("\n"));
  const similarities = await similaritiesTo(question, texts);
  const mean = similarities.reduce((sum, each) => sum + each, 0) / similarities.length;
  const variance = similarities.reduce((sum, each) => sum + (each - mean) ** 2, 0) / similarities.length;
  const least = similarities.length < fewPieces ? -1 : mean + Math.sqrt(variance);
  return similarities
    .map((similarity, index) => ({ at: order[index] ?? 0, similarity }))
    .filter(({ similarity }) => similarity >= least)
    .toSorted((a, b) => b.similarity - a.similarity)
    .map(({ at }) => at);
}

const meantText = ({ headings, header = "", text }: Passage) => `${headings.join(" > ")}\n${header}${text}`;

/** A question about one place, with the passages that match it best. */
function placePrompt(question: string, passages: readonly Passage[]): string {
  return [
    "These passages of a longer text match the question at the end best.",
    passages.map(framed).join("").trimEnd(),
    `Answer from them, in a few words. If they don't contain the answer, write only: ${notThere}`,
    question.trim(),
  ].join("\n\n");
}

/** The passages of these pieces. Neighbours become one, so that a section that is read whole has one frame. */
function passagesOf(pieces: readonly TextPart[], picked: readonly number[]): readonly Passage[] {
  const joined: Passage[] = [];
  for (const at of picked) {
    for (const [index, passage] of (pieces[at]?.passages ?? []).entries()) {
      const last = joined.at(-1);
      const isNext = index === 0 && picked.includes(at - 1) && last?.path === passage.path;
      if (isNext) joined.splice(-1, 1, { ...last, text: last.text + passage.text, lastLine: passage.lastLine });
      else joined.push(passage);
    }
  }
  return joined;
}

/** The picked pieces, and the share that they are of the text. */
function partsRead(pieces: readonly TextPart[], picked: readonly number[]) {
  const read = picked.flatMap((at) => pieces[at] ?? []);
  const tokensOf = (parts: readonly TextPart[]) => parts.reduce((sum, { tokens }) => sum + tokens, 0);
  const share = Math.round((tokensOf(read) / tokensOf(pieces)) * 1_000) / 1_000;
  return { total: pieces.length, read: read.map(({ name }) => name), share };
}
