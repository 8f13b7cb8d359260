import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { factsFromHeader } from "../src/orchestrator/engines/gguf/header.ts";
import { simulatedMargin } from "../src/orchestrator/engines/llama-cpp/estimator.ts";
import type { LoadShape } from "../src/orchestrator/api/types.ts";
import { type ComputeCalibration, calibrate, unobserved } from "../src/orchestrator/memory/compute.ts";
import { type ModelDimensions, dimensionsOf } from "../src/orchestrator/memory/dimensions.ts";
import { computedEstimate } from "../src/orchestrator/memory/predict.ts";
import { computeObservation } from "../src/orchestrator/memory/reading.ts";
import { installedEngine } from "../test/support/engine.ts";
import { type Shape, fittedShapes, heldOutShapes, inventedShapes } from "../test/support/model-shapes.ts";
import { writeShape } from "../test/support/shape-gguf.ts";
import type { Bench } from "./bench.ts";
import { type AllocatorLoad, createAllocator } from "./support/fit-grid/allocator.ts";
import { type Comparison, errorsOf } from "./support/fit-grid/errors.ts";
import { filesIn, headerOf } from "./support/fit-grid/files.ts";
import { createSimulatedTier, engineLoads } from "./support/fit-grid/simulated.ts";

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

type Group = "fitted" | "held out" | "invented" | "folder";

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
  help: `Without --folder, headers of published and invented shapes are written over empty files and measured.
  --folder DIR  the GGUF files in DIR, whole or only their headers
Errors are percentages of what the allocator reserves for weights and context; margin_pct is the widest that an answer
states; a false fit is a load that takes more than prediction and margin. "One size observed": calibrated as a server is
whose first load was the first of the grid; the bar of the error is that of the formula alone, the one of false fits is
that of all.
--json prints { bench, computed_p50_pct, computed_p95_pct, computed_worst_under_pct, computed_worst_over_pct,
computed_observed_p95_pct, simulated_p95_pct, false_fits, loads, rows, verdict, passed }.`,
  async run({ folder }) {
    const { modulePath } = await installedEngine();
    const own = folder === undefined ? await mkdtemp(join(tmpdir(), "ollm-fit-grid-")) : undefined;
    const allocator = createAllocator(modulePath);
    const simulatedTier = createSimulatedTier(modulePath);
    try {
      const outcomes: Outcome[] = [];
      for (const subject of own === undefined ? await folderSubjects(folder ?? "") : await writeGrid(own)) {
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
      const file = join(folder, `${shape.name.replaceAll(/[ ,]+/g, "-")}.gguf`);
      await writeShape(file, shape);
      subjects.push({ name: shape.name, group, file });
    }
    return subjects;
  };
  return [
    ...(await write(fittedShapes, "fitted")),
    ...(await write(heldOutShapes, "held out")),
    ...(await write(inventedShapes, "invented")),
  ];
}

async function folderSubjects(folder: string): Promise<readonly Subject[]> {
  return (await filesIn(folder)).map((name) => ({ name, group: "folder", file: join(folder, name) }));
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
  const loads = (model?.recurrent?.state ?? 0) === 0 ? grid : recurrentGrid;
  const { weightsBytes, bytes, failure } = await read({ file, loads: [...engineLoads, ...loads] });
  const base = { subject, architecture: header.architecture, weightsBytes: header.weightsBytes };
  if (weightsBytes === undefined)
    return { ...base, readings: [], simulated: [], note: `the allocator can't: ${failure ?? "no answer"}` };
  const simulated: Comparison[] = [];
  let unsimulated = 0;
  // The engine's own loads, and both ends of the grid.
  for (const index of [...engineLoads.keys(), engineLoads.length, engineLoads.length + loads.length - 1]) {
    const [load, reserved] = [[...engineLoads, ...loads][index], bytes[index]];
    if (load === undefined || reserved === undefined) continue;
    const predictedBytes = await predict(file, load);
    if (predictedBytes === undefined) unsimulated += 1;
    else simulated.push({ predictedBytes, margin: simulatedMargin, actualBytes: weightsBytes + reserved });
  }
  const readings = loads.flatMap((load, index) => {
    const reserved = bytes[engineLoads.length + index];
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
      ...(unsimulated > 0 ? [`${unsimulated} loads the engine's child can't simulate`] : []),
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
    ...groups
      .filter(([group]) => group === "folder")
      .flatMap(([, part]) => part.filter((outcome) => outcome.simulated.length > 0))
      .map((outcome) =>
        row("simulated", `${outcome.subject.name} (${outcome.architecture})`, [outcome], outcome.simulated),
      ),
    ...groups.map(([group, part]) =>
      row(
        "simulated",
        `all ${group}, by the engine's own child`,
        part.filter((outcome) => outcome.simulated.length > 0),
        part.flatMap((outcome) => outcome.simulated),
        "the allocator is its own reference",
      ),
    ),
  ];
  const [open, closed, reference] = [errorsOf(all), errorsOf(calibrated), errorsOf(simulated)];
  const readable = outcomes.filter(({ readings }) => readings.length > 0).length;
  const falseFits = open.false_fits + closed.false_fits + reference.false_fits;
  return {
    rows,
    totals: {
      computed_p50_pct: open.p50_pct,
      computed_p95_pct: open.p95_pct,
      computed_worst_under_pct: open.worst_under_pct,
      computed_worst_over_pct: open.worst_over_pct,
      computed_observed_p95_pct: closed.p95_pct,
      simulated_p95_pct: reference.p95_pct,
      false_fits: falseFits,
      loads: open.loads,
    },
    verdict:
      open.loads === 0
        ? "nothing could be compared; the notes say why"
        : `computed: p95 ${open.p95_pct} % over ${open.loads} loads of ${readable} models, ` +
          `worst ${open.worst_under_pct} % and +${open.worst_over_pct} % (p95 ${closed.p95_pct} % once one size was ` +
          `observed); simulated: p95 ${reference.p95_pct} % over ${reference.loads}; ${falseFits} false fits; ` +
          `bar ${barPercent} % and none`,
    passed:
      open.loads > 0 &&
      reference.loads > 0 &&
      open.p95_pct <= barPercent &&
      reference.p95_pct <= barPercent &&
      falseFits === 0,
  };
}
