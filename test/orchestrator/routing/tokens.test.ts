import { readFileSync } from "node:fs";
import fc from "fast-check";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, it } from "vitest";
import { estimateTokens, sureTokens } from "../../../src/orchestrator/routing/tokens.ts";

const source = readFileSync(new URL("../../../src/orchestrator/api/types.ts", import.meta.url), "utf8");
const settings = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");

/** Deterministic pseudo-random numbers. */
function* noise(): Generator<number> {
  let state = 12_345;
  for (;;) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    yield state >> 16;
  }
}

function randomText(alphabet: string, length: number): string {
  const numbers = noise();
  return Array.from({ length }, () => alphabet[Number(numbers.next().value) % alphabet.length]).join("");
}

const english =
  "The memory plan says which models have to make room before another one can be loaded, and why. When nothing idle is " +
  "left to unload, the answer names both numbers and a smaller model that would fit. Nobody should have to guess.";
const german =
  "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller staatlichen Gewalt. " +
  "Das Deutsche Volk bekennt sich darum zu unverletzlichen und unveräußerlichen Menschenrechten.";
const french =
  "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience " +
  "et doivent agir les uns envers les autres dans un esprit de fraternité.";
const russian =
  "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны " +
  "поступать в отношении друг друга в духе братства.";
const greek =
  "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση.";
const chinese = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。";
const japanese = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。";
const korean = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.";
const arabic = "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا.";
const hindi = "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।";
const rows = Array.from(
  { length: 100 },
  (_, index) => `${(index * 7919) % 100_000},${(index * 37.91).toFixed(3)},2026-01-1${index % 9}`,
);

describe("estimateTokens compared with the o200k vocabulary", () => {
  it.each([
    ["English", english, 1.0, 1.3],
    ["German", german, 1.05, 1.5],
    ["French", french, 1.05, 1.5],
    ["TypeScript", source, 1.1, 1.5],
    ["indented JSON", settings, 1.0, 1.5],
    ["JSON on one line", JSON.stringify(JSON.parse(settings)), 1.1, 1.5],
    ["Russian", russian, 1.1, 2],
    ["Greek", greek, 1.1, 2.2],
    ["Chinese", chinese, 0.85, 1.3],
    ["Japanese", japanese, 0.85, 1.3],
    ["Korean", korean, 1.1, 2],
    ["Arabic", arabic, 1.0, 1.8],
    ["Hindi", hindi, 1.5, 3.2],
    ["a table of numbers", rows.join("\n"), 1.2, 2.5],
    ["hexadecimal", randomText("0123456789abcdef", 4000), 1.1, 2],
    ["base64", randomText("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 4000), 0.9, 1.4],
    ["CAPITALS", english.toUpperCase(), 1.0, 1.8],
    ["emoji", "😀🎉👍🏽👩‍💻🇩🇪❤️ great 🚀🚀🚀", 1.1, 2.5],
    ["indentation", "        if (x) {\n            return y;\n        }\n\n\n".repeat(50), 1.1, 2],
  ])("%s: between %f and %f times the count", (_language, text, least, most) => {
    const ratio = estimateTokens(text) / countTokens(text);
    expect(ratio).toBeGreaterThanOrEqual(least);
    expect(ratio).toBeLessThanOrEqual(most);
  });
});

interface MeasuredText {
  readonly kind: string;
  readonly text: string;
  readonly tokens: Readonly<Record<"qwen" | "llama3" | "gemma3" | "o200k" | "smollm2" | "mistral7b", number>>;
}

const measured = readFileSync(new URL("../../../bench/judgement/sets/tokens.dev.jsonl", import.meta.url), "utf8");
const texts = measured
  .trimEnd()
  .split("\n")
  .map((line): MeasuredText => JSON.parse(line));
const kinds = [...new Set(texts.map(({ kind }) => kind))];

describe("estimateTokens compared with the tokenizers of current models, on texts of twenty kinds", () => {
  it.each(kinds)("%s: the median is within 20 %% of Qwen's count", (asked) => {
    const those = texts.filter(({ kind }) => kind === asked);
    const [, middle] = those.map(({ text, tokens }) => estimateTokens(text) / tokens.qwen).toSorted((a, b) => a - b);
    expect(middle).toBeGreaterThan(0.8);
    expect(middle).toBeLessThan(1.2);
  });

  it.each(["qwen", "llama3", "gemma3", "o200k"] as const)("no text is more than a quarter below %s", (tokenizer) => {
    for (const { kind, text, tokens } of texts) {
      expect(estimateTokens(text)).toBeGreaterThan(0.75 * tokens[tokenizer]);
      // The exception that `sureTokens` names.
      if (kind !== "Hindi") expect(sureTokens(estimateTokens(text))).toBeLessThanOrEqual(tokens[tokenizer]);
    }
  });
});

describe("estimateTokens for a vocabulary that was learned from English", () => {
  it.each([
    ["smollm2", 49_152],
    ["mistral7b", 32_000],
  ] as const)(
    "%s: no text is more than 15 %% below its count, no kind more than a quarter above",
    (tokenizer, size) => {
      for (const kind of kinds) {
        const ratios = texts
          .filter((each) => each.kind === kind)
          .map(({ text, tokens }) => estimateTokens(text, size) / tokens[tokenizer])
          .toSorted((a, b) => a - b);
        expect([kind, ratios[0]]).toEqual([kind, expect.toSatisfy((least: number) => least > 0.85)]);
        expect([kind, ratios[1]]).toEqual([kind, expect.toSatisfy((middle: number) => middle < 1.25)]);
      }
    },
  );

  it("is the usual estimate where the size is not known, and for large ones", () => {
    for (const { text } of texts) expect(estimateTokens(text, 151_936)).toBe(estimateTokens(text));
  });
});

describe("estimateTokens, for all texts", () => {
  it("is an integer, 0 only for the empty text, and bounded", () => {
    expect(estimateTokens("")).toBe(0);
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 500 }), (text) => {
        const tokens = estimateTokens(text);
        expect(Number.isSafeInteger(tokens)).toBe(true);
        expect(tokens).toBeGreaterThan(0);
        expect(tokens).toBeLessThanOrEqual(2 * text.length + 1);
      }),
    );
  });

  it("is at least nine tenths of o200k for printable ASCII of words and signs", () => {
    const word = fc.constantFrom(
      ...english.split(" "),
      "const",
      "{",
      "}",
      "=>",
      "();",
      "12",
      "camelCaseName",
      "snake_case",
      "\n",
      "    ",
    );
    fc.assert(
      fc.property(fc.array(word, { minLength: 20, maxLength: 200 }), (words) => {
        const text = words.join(" ");
        expect(estimateTokens(text)).toBeGreaterThanOrEqual(0.9 * countTokens(text));
      }),
    );
  });

  it("is about additive for two parts", () => {
    fc.assert(
      fc.property(fc.nat(source.length), (at) => {
        const parts = estimateTokens(source.slice(0, at)) + estimateTokens(source.slice(at));
        expect(Math.abs(parts - estimateTokens(source))).toBeLessThanOrEqual(5);
      }),
    );
  });

  it.each([
    ["prose", english],
    ["program text", source],
    ["JSON", settings],
    [
      "a program, then prose, then a script without spaces",
      `${source.repeat(40)}${english.repeat(900)}${chinese.repeat(2_000)}`,
    ],
  ])("is within 3 %% of the whole for a megabyte of %s", (_what, part) => {
    const text = part.repeat(Math.ceil(1e6 / part.length)).slice(0, 1e6);
    const pieces = Array.from({ length: 10 }, (_unused, index) => text.slice(index * 100_000, (index + 1) * 100_000));
    const whole = pieces.reduce((sum, piece) => sum + estimateTokens(piece), 0);
    expect(Math.abs(estimateTokens(text) - whole)).toBeLessThan(0.03 * whole);
  });

  it("takes bounded time for megabytes without a word boundary", () => {
    expect(estimateTokens("a".repeat(4_000_000))).toBeGreaterThan(400_000);
    expect(estimateTokens(" ".repeat(4_000_000))).toBeGreaterThan(100_000);
    expect(estimateTokens("aB".repeat(2_000_000))).toBeGreaterThan(400_000);
  });
});
