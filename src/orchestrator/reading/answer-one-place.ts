import type { GenerateResult } from "../api/facade.ts";
import { counted } from "../util/format-bytes.ts";
import type { ChainRequest } from "../generation/chain.ts";
import { placePrompt } from "./parts.ts";
import { asksOnePlace, isNotFound, pickPieces, pickSizes } from "./pick.ts";
import type { PreparedParts } from "./prepare-parts.ts";
import { type Passage, type TextPart, linesOf, splitTexts } from "./split-text.ts";
import { defined } from "../util/defined.ts";

/** Tokens of the text around the passages. */
const instructionTokens = 128;

/** The answer from the passages that match a question best, and whether it is one: they may not hold what was asked for. */
export interface PlaceAnswer {
  readonly result: GenerateResult;
  readonly isFound: boolean;
}

/**
 * Answers a question about one place of a long text from the passages that match it best, with one request. Undefined if the
 * request is no such question, or no passage has a word of it.
 */
export async function answerOnePlace(
  asked: ChainRequest,
  answer: (asked: ChainRequest) => Promise<GenerateResult>,
  { long, countTokens, joiningTokens }: PreparedParts,
): Promise<PlaceAnswer | undefined> {
  const { request, context } = asked;
  const { files, ...rest } = request;
  const { question, sources } = long;
  const { task, format, decided } = request;
  const hints = { ...defined({ task }), guess: decided?.task ?? "general" };
  if (!asksOnePlace(question, { ...hints, hasFormat: format !== undefined })) return undefined;
  const pieces = splitTexts(sources, {
    maxTokens: pickSizes.pieceTokens,
    frameTokens: 0,
    keepsSections: true,
    countTokens,
  });
  const room = Math.min(pickSizes.maxTokens, joiningTokens - instructionTokens);
  const picked = pickPieces(question, pieces, room);
  if (picked.length === 0) return undefined;
  const parts = partsRead(pieces, picked);
  context.report({
    message: `reading ${parts.read.length} of ${counted(parts.total, "part")}, which match the question`,
  });
  const result = await answer({
    ...asked,
    request: { ...rest, prompt: placePrompt(question, passagesOf(pieces, picked)), split: "none" },
    quoted: { files, question },
    // Nothing is shown before it is known to be an answer.
    context: { ...context, addText: () => undefined },
  });
  const isFound = !isNotFound(result.text) && result.check?.hasPassed !== false;
  if (isFound) context.addText(result.text);
  return { result: { ...result, parts }, isFound };
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

/** Sections are the parts here: each by its name, with the lines that were read of it if that is not all. */
function partsRead(
  pieces: readonly TextPart[],
  picked: readonly number[],
): { readonly total: number; readonly read: readonly string[] } {
  const sections = new Map<string, { readonly all: number[]; readonly picked: number[] }>();
  for (const [at, { passages }] of pieces.entries()) {
    for (const name of new Set(passages.map(nameOf))) {
      const section = sections.get(name) ?? { all: [], picked: [] };
      sections.set(name, section);
      section.all.push(at);
      if (picked.includes(at)) section.picked.push(at);
    }
  }
  const read = Array.from(sections, ([name, section]) => {
    if (section.picked.length === 0) return [];
    if (section.picked.length === section.all.length) return name;
    const passages = passagesOf(pieces, section.picked).filter((passage) => nameOf(passage) === name);
    return `${name}, ${passages.map(linesOf).join(" and ")}`;
  });
  return { total: sections.size, read: read.flat() };
}

function nameOf({ path, headings }: Passage): string {
  const title = headings.at(-1);
  return title === undefined ? path : `${path}: ${title}`;
}
