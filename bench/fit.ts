import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { basename } from "node:path";
import { readProcessMemory } from "../src/orchestrator/engines/llama-cpp/child/children-list.ts";
import { dimensionsOf } from "../src/orchestrator/memory/dimensions.ts";
import { residentPart } from "../src/orchestrator/memory/predict.ts";
import {
  type EngineUnderTest,
  ask,
  never,
  startEngine,
} from "../test/orchestrator/engines/llama-cpp/engine-under-test.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench } from "./bench.ts";
import { median, rounded } from "./support/statistics.ts";

const contexts = [2_048, 4_096, 8_192];
const runs = 3;
/** Largest distance of predicted ÷ resident from 1. */
const bar = 0.05;
/** Resident memory ÷ that of Ollama's runner for the same weights, at this context. */
const ollamaBar = 1.3;
const ollamaContext = 8_192;
const ollamaVariable = "OLLM_TEST_OLLAMA_URL";
const model = "smollm2:135m";
const ollamaModel = "ollm-bench-fit:latest";
const prompt = "The quick brown fox jumps over the lazy dog. ".repeat(40);
const megabytes = (bytes: number) => rounded(bytes / 1_000_000);

export const fit: Bench = {
  name: "fit",
  summary: `predicted ÷ resident memory of SmolLM2 at 2k, 4k and 8k of context: within ±${bar * 100} %; ≤ ${ollamaBar} × Ollama's`,
  help: `Resident is the resident set (Linux: RssAnon + RssFile) of the engine's whole process after a prompt and an answer.
${ollamaVariable}=http://127.0.0.1:PORT loads the same weights into that Ollama on this machine (as ${ollamaModel},
deleted afterwards) and compares the resident set of its runner, without that of \`ollama serve\`; api_ps_mb is what its
/api/ps says. Without it nothing is compared with Ollama.`,
  async run() {
    const weights = await smolLm2();
    if (weights.file === undefined) throw new Error(`no weights to measure: ${weights.reason}`);
    const { modulePath } = await installedEngine();
    const subject = await startEngine(modulePath, { [model]: weights.file });
    const url = process.env[ollamaVariable];
    const ollama = url === undefined || url === "" ? undefined : await startComparison(url, weights.file);
    try {
      const rows = [];
      for (const contextTokens of contexts) {
        const own = await measureOwn(subject, contextTokens);
        const theirs = await ollama?.measure(contextTokens);
        rows.push({
          context_tokens: contextTokens,
          weights_mb: megabytes(own.weightsBytes),
          cache_mb: megabytes(own.cacheBytes),
          compute_mb: megabytes(own.computeBytes),
          other_mb: megabytes(own.otherBytes),
          process_mb: megabytes(own.processBytes),
          predicted_mb: megabytes(own.predictedBytes),
          resident_mb: megabytes(own.residentBytes),
          ratio: rounded(own.predictedBytes / own.residentBytes, 3),
          ollama_resident_mb: theirs === undefined ? "" : megabytes(theirs.residentBytes),
          ollama_api_ps_mb: theirs === undefined ? "" : megabytes(theirs.reportedBytes),
          to_ollama: theirs === undefined ? "" : rounded(own.residentBytes / theirs.residentBytes, 2),
        });
      }
      const worst = Math.max(...rows.map(({ ratio }) => Math.abs(ratio - 1)));
      const compared = rows.find((row) => row.context_tokens === ollamaContext)?.to_ollama;
      const hasComparison = typeof compared === "number";
      return {
        rows,
        totals: { worst_pct: rounded(worst * 100), ...(hasComparison ? { to_ollama: compared } : {}) },
        verdict:
          `worst ${rounded(worst * 100)} % off, bar ${bar * 100} %, medians of ${runs} loads; ` +
          (hasComparison
            ? `${compared} × the resident set of Ollama's runner at ${ollamaContext}, bar ${ollamaBar}`
            : `not compared with Ollama (bar ${ollamaBar} × at ${ollamaContext}): ${ollamaVariable} is not set`),
        passed: worst <= bar && (!hasComparison || compared <= ollamaBar),
      };
    } finally {
      await subject.dispose();
      await ollama?.remove();
    }
  },
};

async function measureOwn(subject: EngineUnderTest, contextTokens: number) {
  const { estimation, residency } = subject.engine;
  const facts = await subject.engine.describe(model, never);
  const load = residency?.loadShape(facts, contextTokens);
  const reserved = await estimation?.estimate(model, { contextTokens }, never);
  const estimate = load && reserved && residentPart(reserved, load, dimensionsOf(facts));
  if (estimate?.parts === undefined) throw new Error(`no estimate at ${contextTokens}`);
  const measured: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await residency?.unload(model, never);
    // Buffers are there when they are touched: a prompt and an answer do.
    await ask(subject, { model, messages: [{ role: "user", content: prompt }], maxTokens: 16, contextTokens });
    measured.push((await residency?.loaded(never))?.[0]?.sizeBytes ?? 0);
  }
  await residency?.unload(model, never);
  const { processBytes } = estimate;
  const predictedBytes = estimate.predictedBytes + processBytes;
  return { ...estimate.parts, processBytes, predictedBytes, residentBytes: median(measured) };
}

/** The same weights in an Ollama of this machine, under a name of the bench's own. */
async function startComparison(url: string, file: string) {
  const call = async (path: string, body: object | undefined, method = "POST"): Promise<unknown> => {
    const response = await fetch(new URL(path, url), {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(120_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${url}${path}: ${response.status} ${text.slice(0, 200)}`);
    return text === "" ? undefined : JSON.parse(text);
  };
  const digest = `sha256:${await sha256Of(file)}`;
  await fetch(new URL(`/api/blobs/${digest}`, url), { method: "POST", body: await readFile(file) });
  const name = basename(file);
  await call("/api/create", { model: ollamaModel, files: { [name]: digest }, stream: false });
  // Ollama rewrites the file, so its blob has another digest.
  const { modelfile } = (await call("/api/show", { model: ollamaModel })) as { modelfile: string };
  const blob = /^FROM (.+)$/m.exec(modelfile)?.[1] ?? digest.replace(":", "-");
  return {
    async measure(contextTokens: number) {
      await call("/api/generate", {
        model: ollamaModel,
        prompt,
        stream: false,
        options: { num_ctx: contextTokens, num_predict: 16 },
      });
      const { models } = (await call("/api/ps", undefined, "GET")) as { models: { name: string; size: number }[] };
      const reportedBytes = models.find(({ name: listed }) => listed === ollamaModel)?.size ?? 0;
      const pid = await runnerWith(blob);
      const memory = pid === undefined ? undefined : await readProcessMemory(pid);
      if (memory === undefined) throw new Error(`no process of ${url} has ${blob} loaded: is it on this machine?`);
      return { reportedBytes, residentBytes: memory.anonymousBytes + memory.mappedBytes };
    },
    async remove() {
      await call("/api/generate", { model: ollamaModel, keep_alive: 0 });
      await call("/api/delete", { model: ollamaModel }, "DELETE");
    },
  };
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file)) hash.update(part as Buffer);
  return hash.digest("hex");
}

/** The latest process whose command names the blob; Ollama has one runner for each file of weights. */
async function runnerWith(blob: string): Promise<number | undefined> {
  const pids = (await readdir("/proc").catch(() => [])).map(Number).filter((pid) => pid > 0);
  let found: number | undefined;
  for (const pid of pids) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (line.includes(blob) && pid !== process.pid) found = Math.max(found ?? 0, pid);
  }
  return found;
}
