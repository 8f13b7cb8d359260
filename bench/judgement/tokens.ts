import { estimateTokens } from "../../src/orchestrator/routing/tokens.ts";
import type { Bench } from "../bench.ts";
import { median, rounded } from "../support/statistics.ts";
import { readHalf } from "./sets.ts";

/** And the sizes of their vocabularies. */
const tokenizers = {
  qwen: 151_936,
  llama3: 128_256,
  gemma3: 262_144,
  o200k: 201_088,
  mistral7b: 32_000,
  smollm2: 49_152,
} as const;

interface Measured {
  readonly kind: string;
  readonly text: string;
  /** Counted by the tokenizers: Qwen2.5-Coder, Llama 3, Gemma 3, o200k, Mistral 7B v0.1 and SmolLM2. */
  readonly tokens: Readonly<Record<keyof typeof tokenizers, number>>;
}

export const tokens: Bench = {
  name: "tokens",
  summary: "estimated tokens of texts of twenty kinds, in per cent above what six tokenizers count: median, and lowest",
  runsSources: true,
  async run() {
    const texts = await readHalf<Measured>("tokens", "dev");
    const kinds = [...new Set(texts.map(({ kind }) => kind))];
    const rows = kinds.map((kind) => {
      const those = texts.filter((each) => each.kind === kind);
      const columns = Object.entries(tokenizers).map(([tokenizer, size]) => {
        const above = those.map(
          ({ text, tokens: counted }) => estimateTokens(text, size) / counted[tokenizer as keyof typeof tokenizers] - 1,
        );
        const [middle, least] = [median(above), Math.min(...above)].map((share) => rounded(share * 100, 0));
        return [tokenizer, `${middle} (${least})`] as const;
      });
      return { kind, ...Object.fromEntries(columns) };
    });
    return { rows };
  },
};
