import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DamagedGguf } from "../src/orchestrator/gguf/cursor.ts";
import { factsFromHeader } from "../src/orchestrator/gguf/facts.ts";
import type { GgufHeader } from "../src/orchestrator/gguf/inspect.ts";
import { readHeader } from "../src/orchestrator/gguf/read-header.ts";
import { simulatedMargin } from "../src/orchestrator/engines/llama-cpp/estimator.ts";
import type { LoadShape } from "../src/orchestrator/memory/cache.ts";
import { calibrate, type ComputeCalibration, unobserved } from "../src/orchestrator/memory/calibration.ts";
import { dimensionsOf, type ModelDimensions } from "../src/orchestrator/memory/dimensions.ts";
import { computedEstimate } from "../src/orchestrator/memory/predict.ts";
import { computeObservation } from "../src/orchestrator/memory/reading.ts";
import { installedEngine } from "../test/support/engine.ts";
import { fittedShapes, heldOutShapes, type Shape } from "../test/support/model-shapes.ts";
import { writeShape } from "../test/support/shape-gguf.ts";
import type { Bench } from "./bench.ts";
import { type AllocatorLoad, createAllocator } from "./support/fit-grid/allocator.ts";
import { type Comparison, errorsOf } from "./support/fit-grid/errors.ts";
import { createSimulatedTier, ownLoads } from "./support/fit-grid/simulated.ts";

/** 95 of 100 predictions are no further off, and none of them with its margin is too small. */
const barPercent = 2;

const grid: readonly AllocatorLoad[] = (["f16", "q8_0"] as const).flatMap((cacheType) =>
  [1, 4].flatMap((parallel) =>
    [512, 2_048].flatMap((batchTokens) =>
      [2_048, 8_192, 32_768].map((contextTokens) => ({ contextTokens, batchTokens, parallel, cacheType })),
    ),
  ),
);
/** A graph with a scan takes the allocator half a second, and the cache's type touches little of such a model. */
const recurrentGrid = grid.filter(
  ({ contextTokens, batchTokens, parallel, cacheType }) =>
    contextTokens !== 8_192 && cacheType === "f16" && (parallel === 1) === (batchTokens === 512),
);

/** Writing one out and reading it takes seconds, so that the simulated tier is tried on one of each kind. */
const withVocabulary: ReadonlySet<string> = new Set([
  "Llama 3.2 1B",
  "Mistral 7B",
  "Qwen 3 30B-A3B",
  "Gemma 3 4B",
  "gpt-oss 20B",
  "LFM2 1.2B",
]);

type Group = "fitted" | "held out" | "folder";

interface Subject {
  readonly name: string;
  readonly group: Group;
  readonly file: string;
}

/** Everything known of one file after both sides were asked. */
interface Outcome {
  readonly subject: Subject;
  readonly architecture: string;
  readonly readings: readonly { readonly load: LoadShape; readonly actualBytes: number }[];
  readonly model?: ModelDimensions;
  readonly weightsBytes: number;
  readonly simulated: readonly Comparison[];
  readonly note: string;
}

export const fitGrid: Bench = {
  name: "fit-grid",
  summary: `memory predicted from metadata ÷ llama.cpp's allocator, shapes × loads: p95 within ${barPercent} %, nothing said to fit that doesn't (--folder DIR: your GGUF files)`,
  options: ["folder"],
  async run({ folder }) {
    const { modulePath } = await installedEngine();
    const own = folder === undefined ? await mkdtemp(join(tmpdir(), "ollm-fit-grid-")) : undefined;
    const allocator = createAllocator(modulePath);
    const simulatedTier = createSimulatedTier(modulePath);
    try {
      const outcomes: Outcome[] = [];
      for (const subject of own === undefined ? await filesIn(folder ?? "") : await writeGrid(own)) {
        outcomes.push(await examine(subject, allocator.read, simulatedTier.predict));
      }
      return summarise(outcomes);
    } finally {
      allocator.close();
      await simulatedTier.close();
      if (own !== undefined) await rm(own, { recursive: true, force: true });
    }
  },
};

async function writeGrid(folder: string): Promise<readonly Subject[]> {
  const write = async (shapes: readonly Shape[], group: Group): Promise<Subject[]> => {
    const subjects: Subject[] = [];
    for (const shape of shapes) {
      const file = join(folder, `${shape.name.replaceAll(" ", "-")}.gguf`);
      await writeShape(file, shape, withVocabulary.has(shape.name));
      subjects.push({ name: shape.name, group, file });
    }
    return subjects;
  };
  return [...(await write(fittedShapes, "fitted")), ...(await write(heldOutShapes, "held out"))];
}

async function filesIn(folder: string): Promise<readonly Subject[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".gguf")).toSorted();
  if (names.length === 0) throw new Error(`no file in ${folder} ends in .gguf`);
  return names.map((name) => ({ name, group: "folder", file: join(folder, name) }));
}

async function examine(
  subject: Subject,
  read: ReturnType<typeof createAllocator>["read"],
  predict: ReturnType<typeof createSimulatedTier>["predict"],
): Promise<Outcome> {
  const { file } = subject;
  const header = headerOf(file);
  if (typeof header === "string")
    return { subject, architecture: "unknown", readings: [], weightsBytes: 0, simulated: [], note: header };
  const facts = factsFromHeader(header);
  const model = dimensionsOf(facts);
  const loads = model?.recurrent === undefined ? grid : recurrentGrid;
  const { weightsBytes, bytes, failure } = await read({ file, loads: [...ownLoads, ...loads] });
  const base = { subject, architecture: header.architecture, weightsBytes: header.weightsBytes };
  if (weightsBytes === undefined)
    return { ...base, readings: [], simulated: [], note: `the allocator can't: ${failure ?? "no answer"}` };
  const simulated: Comparison[] = [];
  // Without words llama.cpp has no tokenizer, which the engine's estimate looks at too.
  const isComplete = header.vocabularySize !== undefined;
  for (const [index, load] of isComplete ? ownLoads.entries() : []) {
    const reserved = bytes[index];
    const predictedBytes = reserved === undefined ? undefined : await predict(file, load);
    if (reserved === undefined || predictedBytes === undefined) continue;
    simulated.push({ predictedBytes, margin: simulatedMargin, actualBytes: weightsBytes + reserved });
  }
  const readings = loads.flatMap((load, index) => {
    const reserved = bytes[ownLoads.length + index];
    if (reserved === undefined) return [];
    return [{ load: shapeOf(load, model), actualBytes: weightsBytes + reserved }];
  });
  const missing = loads.length - readings.length;
  return {
    ...base,
    ...(model === undefined ? {} : { model }),
    readings,
    simulated,
    note: [
      ...(missing > 0 ? [`${missing} loads the allocator can't: ${failure ?? "no answer"}`] : []),
      ...(model === undefined ? ["its metadata says too little for the formula"] : []),
    ].join("; "),
  };
}

/** node-llama-cpp computes one token more at once where a window slides. */
function shapeOf(load: AllocatorLoad, model: ModelDimensions | undefined): LoadShape {
  const extra = (model?.window ?? 0) > 0 ? 1 : 0;
  return { ...load, batchTokens: Math.max(load.batchTokens, load.parallel) + extra, hasFlashAttention: true };
}

/** Or what is wrong with the file. */
function headerOf(file: string): GgufHeader | string {
  const descriptor = openSync(file, "r");
  try {
    return readHeader({
      sizeBytes: fstatSync(descriptor).size,
      read(position, length) {
        const buffer = Buffer.allocUnsafe(length);
        return buffer.subarray(0, readSync(descriptor, buffer, 0, length, position));
      },
    });
  } catch (error) {
    if (error instanceof DamagedGguf) return error.message;
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

function computed({ model, readings, weightsBytes }: Outcome, calibration: ComputeCalibration): readonly Comparison[] {
  if (model === undefined) return [];
  return readings.map(({ load, actualBytes }) => {
    const { predictedBytes, margin } = computedEstimate(model, load, { weightsBytes }, calibration);
    return { predictedBytes, margin, actualBytes };
  });
}

function summarise(outcomes: readonly Outcome[]): Awaited<ReturnType<Bench["run"]>> {
  const [first] = outcomes.filter(({ model, readings }) => model !== undefined && readings.length > 0);
  const seen = first?.readings[0];
  const observed =
    first?.model === undefined || seen === undefined
      ? unobserved
      : calibrate([computeObservation(first.model, seen.load, { weightsBytes: first.weightsBytes }, seen.actualBytes)]);
  const row = (
    tier: string,
    what: string,
    part: readonly Outcome[],
    comparisons: readonly Comparison[],
    note = "",
  ) => ({
    tier,
    what,
    models: part.length,
    ...errorsOf(comparisons),
    note,
  });
  const groups = [...new Set(outcomes.map(({ subject }) => subject.group))].map(
    (group) => [group, outcomes.filter(({ subject }) => subject.group === group)] as const,
  );
  const all = outcomes.flatMap((outcome) => computed(outcome, unobserved));
  const calibrated = outcomes.flatMap((outcome) => computed(outcome, observed));
  const simulated = outcomes.flatMap((outcome) => outcome.simulated);
  const rows = [
    ...outcomes.map((outcome) =>
      row(
        "computed",
        `${outcome.subject.name} (${outcome.architecture}, ${outcome.subject.group})`,
        [outcome],
        computed(outcome, unobserved),
        outcome.note,
      ),
    ),
    ...groups.map(([group, part]) =>
      row(
        "computed",
        `all ${group}, nothing observed`,
        part,
        part.flatMap((outcome) => computed(outcome, unobserved)),
      ),
    ),
    ...groups.map(([group, part]) =>
      row(
        "computed",
        `all ${group}, one size observed`,
        part,
        part.flatMap((outcome) => computed(outcome, observed)),
      ),
    ),
    row(
      "simulated",
      "with a vocabulary, as the embedded engine loads them",
      outcomes.filter((outcome) => outcome.simulated.length > 0),
      simulated,
      "the allocator is its own reference",
    ),
  ];
  const [open, closed, reference] = [errorsOf(all), errorsOf(calibrated), errorsOf(simulated)];
  const falseFits = open.false_fits + closed.false_fits + reference.false_fits;
  return {
    rows,
    totals: {
      computed_p50_pct: open.p50_pct,
      computed_p95_pct: open.p95_pct,
      computed_worst_under_pct: open.worst_under_pct,
      computed_worst_over_pct: open.worst_over_pct,
      simulated_p95_pct: reference.p95_pct,
      false_fits: falseFits,
      loads: open.loads,
    },
    verdict:
      `computed: p95 ${open.p95_pct} % over ${open.loads} loads of ${outcomes.length} models, ` +
      `worst ${open.worst_under_pct} % and +${open.worst_over_pct} %; simulated: p95 ${reference.p95_pct} % over ` +
      `${reference.loads}; ${falseFits} false fits; bar ${barPercent} % and none`,
    passed: open.loads > 0 && open.p95_pct <= barPercent && reference.p95_pct <= barPercent && falseFits === 0,
  };
}
