/**
 * Asks llama.cpp's allocator, which allocates nothing, what loads of one file would take. Argument: module. Messages in:
 * `AllocatorRequest`; out: `AllocatorReply`, one after the other. A program of its own, because some files end it.
 */
import { pathToFileURL } from "node:url";
import type { NodeLlamaCpp } from "../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import type { AllocatorReply, AllocatorRequest } from "./allocator.ts";

type GgufInsights = Awaited<ReturnType<NodeLlamaCpp["GgufInsights"]["from"]>>;

/** Beyond the part that the child uses: numbers of `ggml_type`. */
type Simulate = (
  options: Parameters<GgufInsights["estimateContextResourceRequirementsV2"]>[0] & {
    readonly kvCacheKeyType: number;
    readonly kvCacheValueType: number;
  },
) => ReturnType<GgufInsights["estimateContextResourceRequirementsV2"]>;

const cacheTypes = { f16: 1, q4_0: 2, q8_0: 8 };
const library = (await import(pathToFileURL(process.argv[2] ?? "").href)) as NodeLlamaCpp;
const warnings: string[] = [];
const llama = await library.getLlama({
  build: "never",
  skipDownload: true,
  progressLogs: false,
  logLevel: "warn",
  logger: (_level, message) => void warnings.push(message),
  maxThreads: 1,
});

async function answer({ file, loads }: AllocatorRequest): Promise<void> {
  warnings.length = 0;
  const info = await library.readGgufFileInfo(file, { logWarnings: false, sourceType: "filesystem" });
  const insights = await library.GgufInsights.from(info, llama);
  const weightsBytes = (await insights.estimateModelResourceRequirementsV2({ gpuLayers: 0, useMmap: false })).cpuRam;
  if (hasFallenBack()) {
    send({ kind: "failed", message: reason() });
    return send({ kind: "done" });
  }
  send({ kind: "weights", bytes: weightsBytes });
  const simulate: Simulate = insights.estimateContextResourceRequirementsV2.bind(insights);
  for (const load of loads) {
    const type = cacheTypes[load.cacheType];
    const { cpuRam } = await simulate({
      contextSize: load.contextTokens,
      modelGpuLayers: 0,
      batchSize: load.batchTokens,
      sequences: load.parallel,
      isEmbeddingContext: false,
      flashAttention: "auto",
      useMmap: false,
      kvCacheKeyType: type,
      kvCacheValueType: type,
    });
    send(hasFallenBack() ? { kind: "failed", message: reason() } : { kind: "load", bytes: cpuRam });
    warnings.length = 0;
  }
  send({ kind: "done" });
}

/** The library then answers with heuristics of its own, which are no reading. */
function hasFallenBack(): boolean {
  return warnings.some((line) => line.includes("Falling back to estimation heuristic"));
}

function reason(): string {
  return (warnings.find((line) => line.includes("error loading model")) ?? warnings[0] ?? "").trim();
}

function send(reply: AllocatorReply): void {
  process.send?.(reply);
}

process.on("message", (request: AllocatorRequest) => {
  answer(request).catch((error: unknown) => {
    send({ kind: "failed", message: String(error) });
    send({ kind: "done" });
  });
});
