import { readFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { resolve } from "node:path";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { smolLm2 } from "../test/support/weights.ts";
import { ask, model, withDaemon } from "./batch.ts";
import type { Bench } from "./bench.ts";
import { median, rounded } from "./support/statistics.ts";

const plain = "plain:latest";
const bars = { repeating: 1.5, free: 0.98 };
const people = [
  "Ada Lovelace wrote the first program and lived in London.",
  "Grace Hopper built the first compiler and lived in Arlington.",
  "Alan Turing broke ciphers and lived in Wilmslow.",
  "Edsger Dijkstra found shortest paths and lived in Nuenen.",
  "Barbara Liskov named a principle and lives in Cambridge.",
  "Donald Knuth writes about algorithms and lives in Stanford.",
  "Niklaus Wirth designed languages and lived in Zurich.",
  "Frances Allen optimized compilers and lived in Croton.",
];
const records = {
  type: "json_schema",
  json_schema: {
    name: "people",
    schema: {
      type: "object",
      required: ["people"],
      additionalProperties: false,
      properties: {
        people: {
          type: "array",
          minItems: people.length,
          maxItems: people.length,
          items: {
            type: "object",
            required: ["name", "town", "sentence"],
            additionalProperties: false,
            properties: { name: { type: "string" }, town: { type: "string" }, sentence: { type: "string" } },
          },
        },
      },
    },
  },
};

export const lookup: Bench = {
  name: "lookup",
  summary: `tokens that are guessed from the prompt, beside none: at least ${bars.repeating} × as many tokens/s where an answer quotes, extracts or edits, ${bars.free} in free text, the same text`,
  options: ["weights", "tokens", "rounds"],
  help: [
    "--weights FILE.gguf instead of SmolLM2-135M, --tokens N of an answer at most (320), --rounds N (3).",
    "The same weights as two models, one with draft_num_predict 0, are asked in turn at temperature 0.2. tokens_s: median, from the first token to",
    "the last. same: both write one text at temperature 0. quoting: a passage of the docs; extraction: JSON of a schema; edit: a file with one name",
    "changed; free: a story.",
  ].join("\n"),
  async run({ weights, tokens: most = "320", rounds: given = "3" }) {
    const [tokens, rounds] = [Number(most), Number(given)];
    if (![tokens, rounds].every((each) => Number.isSafeInteger(each) && each > 0))
      throw new InvalidRequest("--tokens and --rounds take numbers from 1");
    const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
    if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
    const tasks = await tasksOf();
    return withDaemon(file, 4_096, async (base, runCommand) => {
      await runCommand("create", plain, "--from", model, "--parameter", "draft_num_predict=0");
      const rows = [];
      for (const task of tasks) rows.push(await measured(base, task, tokens, rounds));
      const misses = rows.flatMap(({ what, ratio, same }) => [
        ...(ratio < (what === "free" ? bars.free : bars.repeating) ? [`${what} ${ratio} ×`] : []),
        ...(same === "yes" ? [] : [`${what}: another text`]),
      ]);
      const said = misses.length === 0 ? "all bars reached" : `missed: ${misses.join(", ")}`;
      return {
        rows,
        verdict: `${said}; the machine's load was ${rounded(loadavg()[0] ?? 0)}`,
        passed: misses.length === 0,
      };
    });
  },
};

async function tasksOf() {
  const passage = (await readFile(resolve("docs/decisions/0071-prompts-on-disk.md"), "utf8")).slice(0, 1_800);
  const code = (await readFile(resolve("src/orchestrator/util/timers.ts"), "utf8")).slice(0, 2_280);
  return [
    { what: "quoting", prompt: `${passage}\n\nRepeat the text above exactly, word by word, from its beginning.` },
    {
      what: "extraction",
      prompt: `${people.join("\n")}\n\nList all people of the text with name, town and the whole sentence, as JSON.`,
      more: { response_format: records },
    },
    {
      what: "edit",
      prompt: `\`\`\`ts\n${code}\n\`\`\`\n\nRename the type AbortSignal to StopSignal. Write the whole file again.`,
    },
    { what: "free", prompt: "Tell a long story about a fox, a dog and a river. Begin at once." },
  ];
}

async function measured(
  base: string,
  { what, prompt, more = {} }: { readonly what: string; readonly prompt: string; readonly more?: object },
  tokens: number,
  rounds: number,
) {
  const ways = [model, plain].map((name) => ({ name, speeds: [] as number[], texts: new Set<string>() }));
  let written = 0;
  for (let round = -1; round < rounds; round += 1) {
    // None is always the first.
    for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
      const temperature = round < 0 ? 0 : 0.2;
      const answer = await ask(base, prompt, tokens, undefined, [], { ...more, model: way.name, temperature });
      const ms = (answer.at.at(-1) ?? 0) - (answer.at[0] ?? 0);
      written = answer.completionTokens;
      // The first round loads.
      if (round < 0) way.texts.add(answer.text);
      else way.speeds.push((1_000 * (written - 1)) / ms);
    }
  }
  const [guessing = 0, none = 0] = ways.map(({ speeds }) => median(speeds));
  return {
    what,
    tokens: written,
    tokens_s: rounded(guessing),
    without_s: rounded(none),
    ratio: rounded(guessing / none, 2),
    same: new Set(ways.flatMap(({ texts }) => [...texts])).size === 1 ? "yes" : "no",
  };
}
