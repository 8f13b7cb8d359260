import { appendFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** What the driver of the fake card does; absent: it works. */
export interface FakeCard {
  readonly start?: "no driver" | "no card" | "hangs" | "crashes";
  /** `old driver`: as driver 580 (CUDA 13.0) on an H200, with kernels of CUDA 13.1. */
  readonly load?: "full" | "hangs" | "crashes" | "old driver";
  /** When an answer is computed. */
  readonly answer?: "crashes";
}

/**
 * Writes a module that is node-llama-cpp with a CUDA card: the real library, which computes on the processor, and what a
 * card's driver answers. Layers are of one size. `loads` are the numbers of layers that were to be loaded on it.
 */
export async function writeFakeCard(folder: string, modulePath: string, card: FakeCard) {
  const file = join(folder, "fake-card.mjs");
  const record = join(folder, "loads.txt");
  appendFileSync(record, "");
  const real = JSON.stringify(pathToFileURL(modulePath).href);
  await writeFile(
    file,
    `import * as library from ${real};
export * from ${real};
import { appendFileSync } from "node:fs";
const card = ${JSON.stringify(card)};
const hang = () => new Promise(() => setInterval(() => 0, 1_000));
const realOf = new WeakMap();
let isOnCard = false;
export async function getLlama({ gpu, ...options }) {
  const real = () => library.getLlama({ ...options, gpu: false });
  if (gpu !== "cuda") return await real();
  if (card.start === "no driver") throw new Error("NoBinaryFoundError");
  if (card.start === "crashes") process.exit(9);
  if (card.start === "hangs") await hang();
  if (card.start === "no card") return { gpu, getVramState: async () => ({ total: 0 }) };
  const llama = await real();
  const loadModel = async ({ gpuLayers = 0, ...more }) => {
    if (more.vocabOnly) return await llama.loadModel(more);
    appendFileSync(${JSON.stringify(record)}, gpuLayers + "\\n");
    if (card.load === "full") {
      options.logger("error", "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 512.00 MiB on device 0: cudaMalloc failed: out of memory");
      throw new Error("Failed to load model");
    }
    if (card.load === "crashes") process.exit(9);
    if (card.load === "old driver") {
      options.logger("error", "CUDA error: the provided PTX was compiled with an unsupported toolchain.");
      options.logger("error", "  current device: 0, in function ggml_cuda_kernel_can_use_pdl at /llama.cpp/ggml/src/ggml-cuda/common.cuh:1640");
      options.logger("error", "  cudaFuncGetAttributes(&attr, kernel)");
      process.abort();
    }
    if (card.load === "hangs") await hang();
    isOnCard = true;
    return await llama.loadModel({ ...more, gpuLayers: 0 });
  };
  const answers = {
    gpu: "cuda",
    loadModel,
    getVramState: async () => ({ total: 8_000_000_000 }),
  };
  const proxy = new Proxy(llama, {
    get(target, key) {
      if (key in answers) return answers[key];
      const value = target[key];
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value),
  });
  realOf.set(proxy, llama);
  return proxy;
}
export const GgufInsights = {
  async from(info, llama) {
    const insights = await library.GgufInsights.from(info, realOf.get(llama) ?? llama);
    if (!realOf.has(llama)) return insights;
    const all = insights.totalLayers;
    const split = ({ cpuRam, gpuVram }, layers) => {
      const onCard = Math.round(((cpuRam + gpuVram) * Math.min(layers, all)) / all);
      return { gpuVram: onCard, cpuRam: cpuRam + gpuVram - onCard };
    };
    return {
      totalLayers: all,
      estimateModelResourceRequirements: ({ gpuLayers, ...more }) =>
        split(insights.estimateModelResourceRequirements({ ...more, gpuLayers: 0 }), gpuLayers),
      estimateModelResourceRequirementsV2: async ({ gpuLayers, ...more }) =>
        split(await insights.estimateModelResourceRequirementsV2({ ...more, gpuLayers: 0 }), gpuLayers),
      estimateContextResourceRequirementsV2: async ({ modelGpuLayers, ...more }) =>
        split(await insights.estimateContextResourceRequirementsV2({ ...more, modelGpuLayers: 0 }), modelGpuLayers),
    };
  },
};
export function resolveChatWrapper(model, options) {
  if (isOnCard && card.answer === "crashes") process.exit(9);
  return library.resolveChatWrapper(model, options);
}
`,
  );
  return {
    modulePath: file,
    loads: async () => (await readFile(record, "utf8")).split("\n").filter(Boolean).map(Number),
  };
}
