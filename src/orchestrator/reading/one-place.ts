import type { GenerateRequest, GenerateResult } from "../api/facade.ts";
import type { Task } from "../api/types.ts";
import type { LongAsk } from "../generation/ports.ts";
import { TextIndex, fold, fuseRankings } from "../recall/text-index.ts";
import { counted } from "../util/format-bytes.ts";
import lookUps from "./look-up-words.json" with { type: "json" };
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

/** Alternatives of patterns for folded text; the first five languages are held to the bars of `pick.test.ts`. */
interface Language {
  /** What stands in its patterns, and in fragments that all languages share, as `${NAME}`. */
  readonly fragments?: Readonly<Record<string, string>>;
  /** How a look-up begins. */
  readonly asks: readonly string[];
  /** Words after which the answer may depend on every part. */
  readonly whole: readonly string[];
  /** Fixed expressions with such a word that name one thing: a first name, a company's registered name. */
  readonly names: string;
}

/**
 * Alternatives in all languages. `allowed`: a limit that was set, not the largest of `measured` values. `documents` are
 * such whose total (`totals`) is stated on them. `lead`: politeness, and where to look, before the question; `form`: how to
 * answer, after it. `typed`: as people type. `unnamed`: whom only all of a story tells.
 */
const { documents, totals, ...shared } = lookUps.shared;
const anyLargest = `${shared.extreme}|${shared.largest}`;

const word = (alternatives: string, flags = "u"): RegExp =>
  new RegExp(`(?<!\\p{L})(?:${alternatives})(?!\\p{L})`, flags);

function filled(pattern: string, fragments: Readonly<Record<string, string>>): string {
  return pattern.replaceAll(/\$\{(\w+)\}/g, (_all, name: string) => filled(fragments[name] ?? "", fragments));
}

const compiled = Object.values<Language>(lookUps.languages).map(({ fragments = {}, asks, whole, names }) => ({
  asks: asks.map((each) => new RegExp(`^(?:${filled(each, { ...lookUps.fragments, ...fragments })})`, "u")),
  whole: new RegExp(`(?<![\\p{L}\\p{N}])(?:${whole.join("|")})(?![\\p{L}\\p{N}])`, "u"),
  names: word(names, "gu"),
}));

const totalOf = new RegExp(
  `(?<!\\p{L})(?:${totals})(?!\\p{L})(?=.{0,60}(?<!\\p{L})(?:${documents})(?!\\p{L}))|(?<=(?<!\\p{L})(?:${documents})(?!\\p{L}).{0,60})(?<!\\p{L})(?:${totals})(?!\\p{L})`,
  "gu",
);
const largestWord = word(anyLargest, "gu");
const isLargest = word(anyLargest);
const isPhysical = word(lookUps.fragments.physical);
const isPermitted = word(`${shared.allowed}|${shared.permitted}`);
const isMeasured = word(shared.measured);
const isAllowed = word(shared.allowed);
const isExtreme = word(shared.extreme);
const isUnnamed = word(shared.unnamed);

const lead = new RegExp(`^(?:${shared.lead.join("|")})[ ,:]+`, "u");
/** It is no question. */
const greeting = new RegExp(`^(?:${shared.greeting})$`, "u");
const form = new RegExp(`^(?:${shared.form})(?!\\p{L})`, "u");
const typed = shared.typed.map(([as = "", meant = ""]) => [new RegExp(as), meant] as const);
/** `Ingrid Falk`, `Mme Vaillancourt`, `Dr. Hellwig`: a person, at the end of a question. */
const person =
  /^\P{L}*(?:Who|Wer|Qui|Qui[eé]n|Chi|Quem|Wie) (?:is|ist|est|es|[eè]|é) (?:(?:Mrs?|Ms|Miss|Dr|Prof|Herr|Frau|M|Mme|Mlle|Sra?|do[nñ]a?|Sig(?:\.?ra)?|Dott(?:\.?ssa)?|Ing|Avv|Dhr|Mevr)\.? )*\p{Lu}[\p{L}'’-]+(?: (?:d[aeiou]s?|della?|von|van|der|den|le|la|y) | )?(?:\p{Lu}[\p{L}.'’-]*(?: (?:d[aeiou]s?|della?|von|van|der|la|y) | )?)*\s*[?]?$/u;
/** In German every noun has a capital. */
const germanNoun = /^\P{L}*Wer ist \p{L}+[?\s]*$/u;
/** What asks, with a preposition that says nothing about order. */
const interrogative =
  /^(?:[\p{L}']+ ){0,3}?(?:how (?:many|much)|how|what|which|whom?|wie ?viele?|welche[rsmn]?|combien|quel(?:le)?|qui|cuant[oa]s?|que|quant[oiae]|qual[ei]?|che(?: cosa)?|chi|hoeveel|welke?)(?!\p{L})/u;
const properName = / (\p{Lu}[\p{L}'’.-]*(?: (?:d[aeiou]s?|della?|von|van|der|la|y))?(?: \p{Lu}[\p{L}'’.-]+)+)/gu;
/** What is only cited. */
const quoted = /"[^"]*"|`[^`]*`|“[^”]*”|«[^»]*»|„[^“”]*[“”]|[\p{L}\p{N}-]+[._/][\p{L}\p{N}._/-]*[\p{L}\p{N}]/gu;
/** A look-up is short, and so is a list of them. */
const maxWords = 30;
const maxCharacters = 600;
const maxLookUps = 2;
/** "Please, according to the lease, tell me …" */
const maxLeads = 3;

/**
 * A look-up asks for one value that a text states once: an attribute of one thing ("the port of the proxy"), a limit or
 * a term ("how many days may …"), who, when or where one named thing is, what a code means. It is recognized by how it
 * begins, in words that belong together by grammar (interrogative, verb of state, definite singular), and by what does not
 * follow: ranks, quantities over many things, order, causes, negations, views. All else reads the whole text, a doubt too.
 */
function isLookUp(prompt: string): boolean {
  // Patterns take quadratic time in the length of a word.
  if (prompt.length > maxCharacters || /\S{80}/.test(prompt)) return false;
  const sentences = prompt
    .trim()
    .split(/(?<=[?!])\s+|(?<=[\p{L}\d]{3}[.])\s+(?=\p{Lu})|\n+/u)
    .filter((sentence, at, all) =>
      at === 0 ? all.length === 1 || !greeting.test(plain(sentence)) : !form.test(plain(sentence)),
    );
  return sentences.length > 0 && sentences.length <= maxLookUps && sentences.every(isOneLookUp);
}

function isOneLookUp(sentence: string): boolean {
  const asked = typed.reduce((text, [as, meant]) => text.replace(as, meant), withoutLead(plain(sentence)));
  if (isUnnamed.test(asked)) return false;
  // A name of several words is as definite as one in quotation marks.
  const named = withoutLead(plain(sentence.replaceAll(properName, " `$1`")));
  if (asked.split(" ").length > maxWords) return false;
  if (person.test(sentence.trim()) && !germanNoun.test(sentence)) return true;
  const matching = compiled.filter(({ asks }) => asks.some((each) => each.test(asked) || each.test(named)));
  // A question that two languages share is a look-up in both.
  return matching.length > 0 && !matching.some((language) => asksWhole(asked, language));
}

function withoutLead(asked: string): string {
  let left = asked;
  for (let at = 0; at < maxLeads; at += 1) left = left.replace(lead, "");
  return left;
}

/** Whether a word after the interrogative makes the answer depend on every part. */
function asksWhole(asked: string, { whole, names }: (typeof compiled)[number]): boolean {
  const rest = asked
    .replace(interrogative, " ")
    .replaceAll(quoted, " ")
    .replaceAll(names, " ")
    .replaceAll(totalOf, " ");
  if (!isLargest.test(rest)) return whole.test(rest);
  const isNamed = isExtreme.test(rest) && (isPermitted.test(rest) || isPhysical.test(rest));
  const isLimit = !isMeasured.test(asked) && (isAllowed.test(asked) || isNamed);
  return !isLimit || whole.test(rest.replaceAll(largestWord, " "));
}

/** Folded, on one line, with one kind of apostrophe and without the marks around it. */
function plain(sentence: string): string {
  return fold(sentence)
    .replaceAll(/[’‘´]/g, "'")
    .replaceAll(/\s+/g, " ")
    .replaceAll(/^[\s*_>-]+|[¿¡]|[\s?!.]+$/g, "");
}
