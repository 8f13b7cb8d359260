import { readFile } from "node:fs/promises";
import { availableParallelism, loadavg } from "node:os";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import type {
  ContextSequence,
  Llama,
  LlamaModel,
  NodeLlamaCpp,
  Token,
} from "../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import { batchTokens } from "../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench } from "./bench.ts";
import { median, rounded } from "./support/statistics.ts";

/** How a context computes. */
interface Variant {
  readonly flashAttention: "auto" | false;
  readonly batch: number;
  readonly cache: "F16" | "Q8_0";
}

type CreateContext = (
  options: Readonly<Record<string, unknown>>,
) => Promise<{ getSequence(): ContextSequence; dispose(): Promise<void> }>;

const ours: Variant = { flashAttention: "auto", batch: batchTokens, cache: "F16" };
/** What llama.cpp's own programs compute with: a physical batch of 512. */
const theirs: Variant = { ...ours, batch: 512 };
const quantized: Variant = { ...ours, cache: "Q8_0" };
const variants: readonly Variant[] = [
  ours,
  theirs,
  { ...ours, batch: 64 },
  { ...ours, batch: 256 },
  { ...ours, flashAttention: false },
  quantized,
];
const bar = 0.95;
const answerTokens = 32;
const documents = 10;
const places = 40;
/** Of each document: 100 questions. */
const asked = 10;

export const defaults: Bench = {
  name: "defaults",
  summary: `flash attention, batch and cache type of the embedded engine beside others: at least ${bar} of the speeds with llama.cpp's own batch of 512`,
  options: ["weights", "prompt", "rounds", "questions"],
  help: [
    "--weights FILE.gguf (of a model with ChatML) instead of SmolLM2-135M, --prompt N: tokens read (1000), --rounds N (5), --questions N (100).",
    "In turn, all threads, nothing between library and bench. reads, writes: tokens/s, medians; _ratio: ÷ those of the default (first row), the",
    "median of rounds. right: of own questions about ten lists, answered at temperature 0 with 16 bits and with q8_0; other: answers with another text.",
  ].join("\n"),
  runsSources: true,
  async run({ weights, prompt = "1000", rounds: given = "5", questions: most = `${documents * asked}` }) {
    const [depth, rounds, questions] = [Number(prompt), Number(given), Number(most)];
    if (![depth, rounds, questions].every((each) => Number.isSafeInteger(each) && each > 0))
      throw new InvalidRequest("--prompt, --rounds and --questions take numbers from 1");
    const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
    if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
    const { llama, model } = await loaded(file);
    const speeds = await speedsOf(llama, model, depth, rounds);
    const plain = await answersOf(llama, model, ours, questions);
    const packed = await answersOf(llama, model, quantized, questions);
    const other = plain.filter(({ answer }, index) => packed[index]?.answer !== answer).length;
    const rightOf = (answers: typeof plain) => answers.filter(({ isRight }) => isRight).length;
    const lost = plain.filter(({ isRight }, index) => isRight && packed[index]?.isRight !== true).length;
    const rows = speeds.map((row) => ({
      ...row,
      right: row.variant === nameOf(ours) ? rightOf(plain) : row.variant === nameOf(quantized) ? rightOf(packed) : "",
      other: row.variant === nameOf(quantized) ? other : "",
    }));
    // The row has theirs ÷ ours.
    const beside = speeds.find(({ variant }) => variant === nameOf(theirs));
    const [reads, writes] = [1 / (beside?.reads_ratio ?? 0), 1 / (beside?.writes_ratio ?? 0)];
    return {
      rows,
      verdict:
        `${basename(file)}, ${depth} tokens: reads at ${reads.toFixed(2)}, writes at ${writes.toFixed(2)} of the speeds with llama.cpp's batch, bar ${bar}; ` +
        `q8_0 answered ${rightOf(packed)} of ${plain.length} right, 16 bits ${rightOf(plain)}; ${lost} right ones became wrong; ` +
        `the machine's load was ${rounded(loadavg()[0] ?? 0)}`,
      passed: Math.min(reads, writes) >= bar,
    };
  },
};

const nameOf = ({ flashAttention, batch, cache }: Variant): string =>
  `batch ${batch}, ${cache}${flashAttention === false ? ", no flash attention" : ""}`;

async function loaded(file: string): Promise<{ readonly llama: Llama; readonly model: LlamaModel }> {
  const { modulePath } = await installedEngine();
  const library = (await import(pathToFileURL(modulePath).href)) as NodeLlamaCpp;
  const llama = await library.getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: "warn",
    logger: () => undefined,
    maxThreads: availableParallelism(),
  });
  return { llama, model: await llama.loadModel({ modelPath: file, useMmap: false }) };
}

/** Runs `work` with a context of `variant`. */
async function withContext<Result>(
  { llama, model }: { readonly llama: Llama; readonly model: LlamaModel },
  { flashAttention, batch, cache }: Variant,
  contextSize: number,
  work: (sequence: ContextSequence) => Promise<Result>,
): Promise<Result> {
  const create = model.createContext.bind(model) as unknown as CreateContext;
  const context = await create({
    contextSize,
    sequences: 1,
    batchSize: batch,
    threads: { ideal: availableParallelism() },
    flashAttention,
    failedCreationRemedy: false,
    experimentalKvCacheKeyType: cache,
    experimentalKvCacheValueType: cache,
  });
  llama.maxThreads = availableParallelism();
  try {
    return await work(context.getSequence());
  } finally {
    await context.dispose();
  }
}

/** One of each in turn, so that a busy moment of the machine touches all; the first round warms up. */
async function speedsOf(llama: Llama, model: LlamaModel, depth: number, rounds: number) {
  const text = (await readFile("docs/how-it-decides.md", "utf8")).repeat(Math.ceil(depth / 1_000));
  const tokens = model.tokenize(text).slice(0, depth);
  const [last] = tokens.slice(-1);
  if (last === undefined || tokens.length < depth) throw new Error(`a text of ${depth} tokens`);
  const measured = variants.map((variant) => ({ variant, reads: [] as number[], writes: [] as number[] }));
  for (let round = 0; round <= rounds; round += 1) {
    for (const { variant, reads, writes } of measured) {
      await withContext({ llama, model }, variant, depth + answerTokens + 8, async (sequence) => {
        const startedAt = performance.now();
        await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, -1));
        const read = (depth - 1) / (performance.now() - startedAt);
        let [count, firstAt] = [0, 0];
        for await (const _ of sequence.evaluate([last], { temperature: 0, yieldEogToken: true })) {
          if (count === 0) firstAt = performance.now();
          count += 1;
          if (count > answerTokens) break;
        }
        if (round === 0) return;
        reads.push(1_000 * read);
        writes.push((1_000 * (count - 1)) / (performance.now() - firstAt));
      });
    }
  }
  const [base] = measured;
  const ratio = (own: readonly number[], ofBase: readonly number[] = []) =>
    rounded(median(own.map((value, round) => value / (ofBase[round] ?? 0))), 2);
  return measured.map(({ variant, reads, writes }) => ({
    variant: nameOf(variant),
    reads_per_s: rounded(median(reads), 0),
    reads_ratio: ratio(reads, base?.reads),
    writes_per_s: rounded(median(writes), 1),
    writes_ratio: ratio(writes, base?.writes),
  }));
}

/** A list of services, and questions with one right answer each; the same in each run. */
function listOf(number: number) {
  const teams = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath"];
  const value = (place: number, factor: number, range: number) => ((number + 3) * (place + 7) * factor) % range;
  const services = Array.from({ length: places }, (_, place) => ({
    name: `svc-${number}${String.fromCharCode(97 + (place % 26))}${place}`,
    port: `${2_000 + value(place, 7_919, 7_993)}`,
    team: teams[value(place, 5, teams.length)] ?? "",
    minutes: `${11 + value(place, 31, 83)}`,
  }));
  const text = services
    .map(
      ({ name, port, team, minutes }) =>
        `${name} listens on port ${port}, is run by team ${team}, restarts every ${minutes} minutes.`,
    )
    .join("\n");
  const questions = Array.from({ length: asked }, (_, index) => {
    const service = services[(index * 17 + number) % places];
    if (service === undefined) throw new Error("a service of the list");
    const { name, port, team, minutes } = service;
    const kinds = [
      { text: `Which port does ${name} listen on? Answer with the number alone.`, right: port },
      { text: `Which team runs ${name}? Answer with its name alone.`, right: team },
      { text: `Every how many minutes does ${name} restart? Answer with the number alone.`, right: minutes },
    ];
    const kind = kinds[index % kinds.length];
    if (kind === undefined) throw new Error("a kind of question");
    return kind;
  });
  return { text, questions };
}

async function answersOf(llama: Llama, model: LlamaModel, variant: Variant, most: number) {
  return await withContext({ llama, model }, variant, 4_096, async (sequence) => {
    const answers: { readonly answer: string; readonly isRight: boolean }[] = [];
    for (let number = 0; number < documents; number += 1) {
      const { text, questions } = listOf(number);
      for (const question of questions) {
        if (answers.length === most) return answers;
        const rendered = `<|im_start|>system\nYou answer from the list.<|im_end|>\n<|im_start|>user\n${text}\n\n${question.text}<|im_end|>\n<|im_start|>assistant\n`;
        const answer = await answerTo(model, sequence, model.tokenize(rendered, true));
        answers.push({ answer, isRight: new RegExp(`\\b${question.right}\\b`, "i").test(answer) });
      }
    }
    return answers;
  });
}

async function answerTo(model: LlamaModel, sequence: ContextSequence, tokens: Token[]): Promise<string> {
  // What stays the same is not read again, as in a conversation.
  const { firstDifferentIndex } = sequence.compareContextTokens(tokens);
  const kept = Math.min(firstDifferentIndex, tokens.length - 1);
  await sequence.adaptStateToTokens(tokens.slice(0, kept), false);
  const written: Token[] = [];
  for await (const token of sequence.evaluate(tokens.slice(kept), { temperature: 0, yieldEogToken: true })) {
    if (model.isEogToken(token) || written.length === 24) break;
    written.push(token);
  }
  return model.detokenize(written).trim();
}
