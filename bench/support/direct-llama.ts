/**
 * The other side of the bench `embedded`: a model driven in one process with nothing around it. Arguments: module,
 * weights, prompt, tokens, threads. Prints `{"msPerToken": …}`. A program of its own, so that nothing is shared.
 */
import { pathToFileURL } from "node:url";
import type { LlamaModel, NodeLlamaCpp } from "../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";

const [modulePath = "", weights = "", prompt = "", tokens = "", threads = ""] = process.argv.slice(2);
const library = (await import(pathToFileURL(modulePath).href)) as NodeLlamaCpp;
const llama = await library.getLlama({
  build: "never",
  skipDownload: true,
  progressLogs: false,
  logLevel: "warn",
  logger: () => undefined,
  maxThreads: Number(threads),
});
const model: LlamaModel = await llama.loadModel({ modelPath: weights, useMmap: false });
const context = await model.createContext({
  contextSize: 4_096,
  sequences: 1,
  batchSize: 512,
  threads: { ideal: Number(threads) },
  flashAttention: "auto",
  failedCreationRemedy: false,
});
const sequence = context.getSequence();
let [count, firstAt] = [0, 0];
for await (const _ of sequence.evaluate(model.tokenize(prompt, true), { temperature: 0 })) {
  if (count === 0) firstAt = performance.now();
  count += 1;
  if (count > Number(tokens)) break;
}
process.stdout.write(`${JSON.stringify({ msPerToken: (performance.now() - firstAt) / (count - 1) })}\n`);
process.exit(0);
