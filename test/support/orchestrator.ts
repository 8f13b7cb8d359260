import { resolve } from "node:path";
import type { GenerateRequest, GenerateResult, Orchestrator } from "../../src/orchestrator/api/facade.ts";
import type { CallerContext } from "../../src/orchestrator/api/types.ts";
import type { LiveSettings } from "../../src/orchestrator/config/live.ts";
import { fixedSettings } from "./hand-settings.ts";
import { callerSettings } from "../../src/orchestrator/config/load.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import type { JobFiles } from "../../src/orchestrator/jobs/record.ts";
import type { MemorySample } from "../../src/orchestrator/memory/measure/system-probe.ts";
import { createOrchestrator } from "../../src/orchestrator/orchestrator.ts";
import type { DocumentFiles } from "../../src/orchestrator/storage/document-files.ts";
import type { World } from "../../src/orchestrator/world.ts";
import { gigabyte } from "./fake-engine.ts";

export interface TestOrchestrator {
  readonly orchestrator: Orchestrator;
  caller(more?: Partial<CallerContext>): CallerContext;
  generate(request: Partial<GenerateRequest>, caller?: CallerContext): Promise<GenerateResult>;
}

/** The real orchestrator with the given engines, on a machine whose free memory depends on their loaded models. */
export function createTestOrchestrator(
  engines: readonly (Engine & { resident?: ReadonlyMap<string, { sizeBytes: number }> })[],
  options: {
    readonly memoryBytes?: number;
    readonly settings?: object;
    readonly now?: () => number;
    readonly jobFiles?: JobFiles;
    readonly documentFiles?: DocumentFiles;
    /** Settings that can change; replaces `settings`. */
    readonly live?: LiveSettings;
    readonly remakeEngines?: World["remakeEngines"];
    readonly timers?: World["timers"];
    readonly random?: World["random"];
    readonly events?: World["events"];
    /** Memory that other programs use. */
    readonly usedElsewhereBytes?: () => number;
    readonly steady?: () => number;
    /** Overrides fields of the memory sample. */
    readonly sample?: () => Partial<MemorySample>;
    readonly ramBandwidth?: World["ramBandwidth"];
    readonly checkWorker?: string;
    readonly templatesFolder?: string;
  } = {},
): TestOrchestrator {
  const totalBytes = options.memoryBytes ?? 32 * gigabyte;
  const settings =
    options.live?.current() ?? settingsSchema.parse({ memory: { bufferBytes: 2 * gigabyte }, ...options.settings });
  const usedBytes = () =>
    engines
      .flatMap((engine) => [...(engine.resident?.values() ?? [])])
      .reduce((sum, model) => sum + model.sizeBytes, 0);
  const sample = (): MemorySample => ({
    totalBytes,
    availableBytes: totalBytes - usedBytes() - (options.usedElsewhereBytes?.() ?? 0),
    swapTotalBytes: 0,
    swapUsedBytes: 0,
    gpus: [],
    sampledAtMs: 0,
    ...options.sample?.(),
  });
  const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const orchestrator = createOrchestrator({
    now: options.now ?? (() => performance.now()),
    engines,
    probe: { sample: () => Promise.resolve(sample()), cores: () => 2 },
    log: silent,
    get checkWorker() {
      return options.checkWorker ?? resolve("dist/check-worker.mjs");
    },
    version: "0.0.0-test",
    home: "/home/test/.ollm",
    settings: options.live ?? fixedSettings(settings),
    ...(options.ramBandwidth === undefined ? {} : { ramBandwidth: options.ramBandwidth }),
    ...(options.templatesFolder === undefined ? {} : { templatesFolder: options.templatesFolder }),
    ...(options.steady === undefined ? {} : { steady: options.steady }),
    ...(options.timers === undefined ? {} : { timers: options.timers }),
    ...(options.random === undefined ? {} : { random: options.random }),
    ...(options.events === undefined ? {} : { events: options.events }),
    ...(options.remakeEngines === undefined ? {} : { remakeEngines: options.remakeEngines }),
    ...(options.jobFiles === undefined ? {} : { jobFiles: options.jobFiles }),
    ...(options.documentFiles === undefined ? {} : { documentFiles: options.documentFiles }),
  });
  const caller = (more: Partial<CallerContext> = {}): CallerContext => ({
    id: "caller-1",
    client: "test",
    roots: [],
    settings: callerSettings(settings),
    signal: new AbortController().signal,
    ...more,
  });
  return {
    orchestrator,
    caller,
    async generate(request, asking = caller()) {
      const operation = await orchestrator.generate(asking, { prompt: "hello", ...request });
      return operation.follow(asking.signal);
    },
  };
}
