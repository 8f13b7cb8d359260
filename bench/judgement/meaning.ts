import { readFile } from "node:fs/promises";
import { pickPieces, pickSizes, rankByMeaning, rankByWords } from "../../src/orchestrator/reading/one-place.ts";
import { splitTexts } from "../../src/orchestrator/reading/split-text.ts";
import { similaritiesTo } from "../../src/orchestrator/recall/meaning.ts";
import type { Embed } from "../../src/orchestrator/recall/vector-cache.ts";
import { estimateTokens } from "../../src/orchestrator/routing/tokens.ts";
import type { Bench } from "../bench.ts";
import { readHalf } from "./sets.ts";

interface Asked {
  /** In other words than the text has, or in another language. */
  readonly kind: "paraphrase" | "foreign";
  readonly question: string;
  readonly file: string;
  /** Words of the passage that answers it. */
  readonly place: string;
}

/** Vectors of an Ollama server that the user started; each text once. */
function embedWith(server: string, model: string): Embed {
  const known = new Map<string, readonly number[]>();
  return async (texts) => {
    for (const input of texts) {
      if (known.has(input)) continue;
      // To its end: the limit of a request is for users, and what was made serves the next question.
      const body = JSON.stringify({ model, input, truncate: true });
      const answer = await fetch(`${server}/api/embed`, { method: "POST", body });
      const { embeddings } = (await answer.json()) as { readonly embeddings: readonly (readonly number[])[] };
      known.set(input, embeddings[0] ?? []);
    }
    return { model, vectors: texts.map((text) => known.get(text) ?? []) };
  };
}

export const meaning: Bench = {
  name: "meaning",
  summary: "passages of this documentation for questions in other words and other languages, with and without meaning",
  runsSources: true,
  async run({ server = process.env["OLLM_BENCH_EMBED"], model = "all-minilm" }) {
    const questions = await readHalf<Asked>("meaning", "dev");
    const paths = [...new Set(questions.map(({ file }) => file))];
    const sources = await Promise.all(
      paths.map(async (path) => ({ path, text: await readFile(new URL(`../../${path}`, import.meta.url), "utf8") })),
    );
    const pieces = splitTexts(sources, {
      maxTokens: pickSizes.pieceTokens,
      frameTokens: 0,
      keepsSections: true,
      countTokens: (text) => estimateTokens(text),
    });
    const { signal } = new AbortController();
    const embed = embedWith(server ?? "", model);
    const found: { kind: string; question: string; words: boolean; meaning?: boolean; alone?: boolean }[] = [];
    // All vectors are made before the first question.
    for (let count = server === undefined ? pieces.length : 0; count < pieces.length;) {
      const order = rankByWords("", pieces);
      await rankByMeaning("passages", pieces, order, async (query, texts) => {
        const similarities = await similaritiesTo(query, texts, { embed, signal });
        count = similarities.length;
        return similarities;
      });
    }
    for (const { kind, question, file, place } of questions) {
      const byWords = rankByWords(question, pieces);
      const near =
        server === undefined
          ? undefined
          : await rankByMeaning(question, pieces, byWords, (query, texts) =>
              similaritiesTo(query, texts, { embed, signal }),
            );
      const has = (picked: readonly number[]) =>
        picked.some((at) => pieces[at]?.passages.some(({ path, text }) => path === file && text.includes(place)));
      const pick = (by: readonly number[]) => has(pickPieces(byWords, by, pieces, pickSizes.maxTokens));
      found.push({
        kind,
        question,
        words: pick([]),
        ...(near && { meaning: pick(near), alone: has(near.slice(0, 5)) }),
      });
    }
    const rows = (["paraphrase", "foreign"] as const).map((kind) => {
      const own = found.filter((each) => each.kind === kind);
      const count = (of: (each: (typeof found)[number]) => boolean | undefined) =>
        server === undefined ? "skipped" : own.filter(of).length;
      return {
        kind,
        model: server === undefined ? `no --server, no OLLM_BENCH_EMBED` : model,
        questions: own.length,
        byWords: own.filter(({ words }) => words).length,
        withMeaning: count((each) => each.meaning),
        amongTheNearestFive: count((each) => each.alone),
        missed: own
          .filter((each) => !(each.meaning ?? each.words))
          .map(({ question }) => question)
          .join(" | "),
      };
    });
    return { rows };
  },
};
