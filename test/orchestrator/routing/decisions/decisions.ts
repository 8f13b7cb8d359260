import { readFileSync } from "node:fs";
import { fallbackOf, findProfile, profileForTask } from "../../../../src/orchestrator/config/profiles.ts";
import type { Capability, Task } from "../../../../src/orchestrator/api/types.ts";
import type { Candidate } from "../../../../src/orchestrator/routing/candidate.ts";
import { chooseModel } from "../../../../src/orchestrator/routing/choose.ts";
import { describeFromDatabase } from "../../../../src/orchestrator/routing/database.ts";
import { activeBytesOf } from "../../../../src/orchestrator/routing/first-models.ts";
import { defined } from "../../../../src/orchestrator/util/values.ts";

/** A machine with its models, a request, and which of them a written expert would take. */
export interface Decision {
  readonly id: string;
  readonly machine: {
    readonly kind: string;
    readonly vramBytes?: number;
    readonly ramFreeBytes: number;
    readonly bandwidthGBps: number;
  };
  readonly installed: readonly {
    readonly name: string;
    readonly sizeBytes: number;
    readonly totalParameters: number;
    readonly contextTokens: number;
    readonly loaded: boolean;
    readonly vision?: boolean;
    readonly embedding?: boolean;
  }[];
  readonly task: string;
  readonly prompt: string;
  readonly promptTokens: number;
  readonly complexity: "low" | "normal" | "high";
  /** The acceptable models, best first. */
  readonly expected: readonly string[];
  readonly why: string;
}

const taskOf: Readonly<Record<string, Task>> = {
  summary: "summarization",
  math: "reasoning",
  chat: "general",
  "fast classification": "fast",
};
/** Context and buffers beside the weights. */
const extraBytes = 400e6;
const loadBytesPerSecond = 500e6;

export function readDecisions(half: "dev" | "judge"): readonly Decision[] {
  return readFileSync(new URL(`${half}.jsonl`, import.meta.url), "utf8")
    .trim()
    .split("\n")
    .map((line): Decision => JSON.parse(line));
}

/** The model that routing takes. */
export function decide({ machine, installed, complexity, promptTokens, ...asked }: Decision): string | undefined {
  const bytes = machine.vramBytes ?? machine.ramFreeBytes;
  const needed = ({ sizeBytes }: { readonly sizeBytes: number }): number => 1.05 * sizeBytes + extraBytes;
  const loadedBytes = installed.filter(({ loaded }) => loaded).reduce((sum, model) => sum + needed(model), 0);
  const candidates = installed.map((model): Candidate => {
    const capabilities: readonly Capability[] =
      model.embedding === true
        ? ["embedding"]
        : ["completion", ...(model.vision === true ? (["vision"] as const) : [])];
    const { family, entry, profiles, released } = describeFromDatabase(model.name, {
      contextTokens: model.contextTokens,
      capabilities,
    });
    const isFree = model.loaded || needed(model) + loadedBytes <= bytes;
    const activeBytes = activeBytesOf(model);
    return defined({
      model: model.name,
      engine: "ollama",
      sizeBytes: model.sizeBytes,
      trust: "local" as const,
      isLoaded: model.loaded,
      family,
      isKnown: entry !== undefined,
      parameterCount: model.totalParameters,
      contextTokens: model.contextTokens,
      capabilities,
      released,
      profiles,
      bytesPerSecond: machine.bandwidthGBps * 1e9,
      activeBytes: activeBytes === model.sizeBytes ? undefined : activeBytes,
      fits: isFree ? ("now" as const) : needed(model) <= bytes ? ("after_eviction" as const) : ("no" as const),
      expectedLoadSeconds: model.sizeBytes / loadBytesPerSecond,
    });
  });
  const task = taskOf[asked.task] ?? (asked.task as Task);
  const profile = findProfile(profileForTask(task, "general"));
  if (profile === undefined) throw new Error(`no profile for ${task}`);
  return chooseModel(
    defined({
      task,
      profile,
      fallback: fallbackOf(profile),
      promptTokens,
      outputTokens: 1024,
      needs: [],
      privacy: "local_only" as const,
      complexity: complexity === "normal" ? ("medium" as const) : complexity,
      maxSwitchSeconds: 60,
      images: task === "vision" ? 1 : undefined,
    }),
    candidates,
  ).chain[0]?.candidate.model;
}
