import type { DatabaseEntry } from "../../src/orchestrator/api/facade-route.ts";
import { InvalidRequest, UnknownModel } from "../../src/orchestrator/api/errors.ts";
import type {
  GenerateResult,
  Jobs,
  ListedModel,
  LoadResult,
  ModelDescription,
  Orchestrator,
  PullResult,
  RoutePlan,
} from "../../src/orchestrator/api/facade.ts";
import type { RamStatus, SystemStatus, LoadPlan } from "../../src/orchestrator/api/facade-status.ts";
import type { Memories } from "../../src/orchestrator/api/facade-recall.ts";
import { StoredMemories } from "../../src/orchestrator/recall/memories.ts";
import { profileNames, shownProfile } from "../../src/orchestrator/config/profiles.ts";
import { KeptJobs } from "../../src/orchestrator/jobs/jobs.ts";
import type { CallerContext, Operation, Progress } from "../../src/orchestrator/api/types.ts";

/** A call that the fake received: `["generate", request]`. */
export type Asked = readonly [method: keyof Orchestrator, request: unknown];

/** An operation that tests drive by hand. */
export interface DrivenOperation<Result> extends Operation<Result> {
  report(progress: Progress): void;
  succeed(result: Result): void;
  fail(error: Error): void;
  /** Reasons with which followers' signals were aborted. */
  readonly ends: unknown[];
  /** Calls that have followed it so far. */
  followers(): number;
}

export function drivenOperation<Result>(title = "generate with smollm2:135m"): DrivenOperation<Result> {
  const listeners = new Set<(progress: Progress) => void>();
  const ends: unknown[] = [];
  let resolve!: (result: Result) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<Result>((succeed, fail) => {
    resolve = succeed;
    reject = fail;
  });
  promise.catch(() => undefined);
  let newest: Progress | undefined;
  let followers = 0;
  return {
    id: "generate-1",
    kind: "generate",
    title,
    startedAtMs: 0,
    ends,
    followers: () => followers,
    state: () => "running",
    isAborted: () => false,
    progress: () => newest,
    partial: () => undefined,
    follow(signal, onProgress) {
      followers += 1;
      if (newest !== undefined) onProgress?.(newest);
      if (onProgress !== undefined) listeners.add(onProgress);
      const end = () => {
        ends.push(signal.reason);
        reject(new InvalidRequest("the call ended"));
      };
      if (signal.aborted) end();
      signal.addEventListener("abort", end);
      return promise;
    },
    detach() {},
    cancel() {},
    report(progress) {
      newest = progress;
      for (const listener of listeners) listener(progress);
    },
    succeed: (result) => resolve(result),
    fail: (error) => reject(error),
  };
}

/** An operation that has its result already. */
export function doneOperation<Result>(result: Result): Operation<Result> {
  const operation = drivenOperation<Result>();
  operation.succeed(result);
  return operation;
}

const gigabyte = 1_000_000_000;

export const qwen: ListedModel = {
  name: "qwen2.5-coder:7b",
  engine: "ollama",
  sizeBytes: 4_683_087_332,
  isLoaded: false,
  fits: true,
  status: "installed",
  trust: "local",
  family: "qwen2",
  quantization: "Q4_K_M",
  parameterSize: "7.6B",
  contextTokens: 32_768,
  capabilities: ["completion", "tools", "insert"],
  profiles: ["code"],
  modifiedAt: "2026-11-01T10:00:00Z",
  fit: {
    predictedBytes: 5.1 * gigabyte,
    neededBytes: 7.4 * gigabyte,
    freeBytes: 9.2 * gigabyte,
    method: "computed",
    margin: 0.05,
  },
  tokensPerSecond: 18.42,
};

export const smollm: ListedModel = {
  name: "smollm2:135m",
  engine: "llama-cpp",
  sizeBytes: 270_898_672,
  isLoaded: true,
  fits: true,
  status: "loaded",
  trust: "local",
};

export const plan: LoadPlan = {
  model: "qwen2.5-coder:7b",
  engine: "ollama",
  contextTokens: 8192,
  isLoaded: false,
  fits: true,
  estimate: {
    method: "computed",
    predictedBytes: 5.1 * gigabyte,
    margin: 0.05,
    parts: { weightsBytes: 4.4 * gigabyte, cacheBytes: 0.4 * gigabyte, computeBytes: 0.3 * gigabyte, otherBytes: 0 },
    processBytes: 100_000_000,
  },
  neededBytes: 7.4 * gigabyte,
  freeBytes: 6.9 * gigabyte,
  evict: [{ name: "smollm2:135m", engine: "llama-cpp", bytes: 700_000_000 }],
  steps: [
    "available 6.9 GB, loaded smollm2:135m 700.0 MB",
    "needed 7.4 GB: predicted 5.1 GB (computed) + margin 255.0 MB + buffer 2.0 GB",
    "unload smollm2:135m (700.0 MB)",
    "7.6 GB free",
    "load qwen2.5-coder:7b",
  ],
};

export const generated: GenerateResult = {
  text: "The capital of France is Paris.",
  thinking: "France. Capital. Paris.",
  model: "smollm2:135m",
  engine: "llama-cpp",
  finishReason: "stop",
  reason: "already loaded, fits task general",
  promptTokens: 41,
  completionTokens: 8,
  tokensPerSecond: 92.3456,
  totalMs: 143.7,
  timing: { queueMs: 0.4, loadMs: 0, firstTokenMs: 55.5 },
  route: {
    task: "general",
    because: "nothing points to another task",
    profile: "general",
    considered: [
      {
        model: "smollm2:135m",
        engine: "llama-cpp",
        expectedSeconds: 3.31234,
        terms: {
          step: "loaded",
          profile: "own",
          room: "loaded",
          merit: 4.1,
          parameters: 0.1345,
          loadSeconds: 0,
          promptSeconds: 0.0512,
          answerSeconds: 3.26114,
          isMeasured: true,
        },
      },
      { model: "nomic-embed-text", engine: "ollama", rejected: "no completion" },
    ],
    options: [{ name: "maxTokens", value: 100, from: "models.smollm2*" }],
    attempts: [{ model: "smollm2:135m", engine: "llama-cpp", outcome: "answered" }],
  },
  notes: [],
};

export const routePlan: RoutePlan = {
  model: "qwen2.5-coder:7b",
  engine: "ollama",
  reason: "code model that fits",
  route: generated.route,
  plan,
  notes: [],
};

const ram: RamStatus = {
  totalBytes: 16 * gigabyte,
  availableBytes: 9.2 * gigabyte,
  swapTotalBytes: 2 * gigabyte,
  swapUsedBytes: 0.5 * gigabyte,
  warning: "swap is in use: 500 MB",
  gpus: [{ name: "Test GPU", totalBytes: 8 * gigabyte, freeBytes: 6 * gigabyte }],
  loaded: [{ name: "smollm2:135m", engine: "llama-cpp", bytes: 700_000_000 }],
  sampledAt: "2026-11-21T12:00:00.000Z",
};

const database: readonly DatabaseEntry[] = [
  {
    pattern: "llama3.1:*",
    family: "llama",
    contextTokens: 128_000,
    outputTokens: 4096,
    capabilities: ["completion", "tools"],
    profiles: ["general", "code"],
    source: "https://ollama.com/library/llama3.1",
  },
];

const description: ModelDescription = {
  model: qwen,
  facts: {
    name: qwen.name,
    digest: "dae161e27b0e90dd1856c8bb3209201fd6736d8eb66298e75ed87571486f4364",
    sizeBytes: qwen.sizeBytes,
    architecture: "qwen2",
    parameterSize: "7.6B",
    quantization: "Q4_K_M",
    contextTokens: 32_768,
    layerCount: 28,
    capabilities: ["completion", "tools", "insert"],
    trust: "local",
    system: "You are a helpful assistant.",
  },
};

const status: SystemStatus = {
  version: "0.1.0",
  home: "/home/user/.ollm",
  privacy: "local_only",
  ram,
  engines: [
    {
      id: "ollama",
      kind: "ollama",
      trust: "local",
      health: "ok",
      version: "0.13.5",
      modelCount: 1,
      connections: {
        control: { open: 2, limit: 10, running: 0, queued: 0 },
        generation: { open: 1, running: 1, queued: 0 },
        requests: 40,
        opened: 3,
        most: 2,
      },
    },
    {
      id: "llama-cpp",
      kind: "llama-cpp",
      trust: "local",
      health: "not_installed",
      message: "not installed yet",
      modelCount: 0,
    },
  ],
  queue: [{ model: "smollm2:135m", running: 1, waiting: 2 }],
  operations: [{ id: "pull-1", title: "pull qwen3:4b", message: "downloading", isJob: false }],
  remoteRequests: 0,
  remoteText: "No prompt has left this machine since 1 November 2026",
  warnings: ["OLLM_MODLE is not a setting; did you mean OLLM_MODEL?"],
  breaches: [],
};

export function createFakeJobs(): Jobs {
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  return new KeptJobs({ now: Date.now, log, keepHours: 24, maxBytes: 1e9, emit: () => undefined });
}

/** The real implementation of memories, in memory, without an embedding model. */
export function createFakeMemories(): Memories {
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  return new StoredMemories({ now: Date.now, log, emit: () => undefined, embed: () => Promise.resolve(undefined) });
}

/** A group of methods of which only `methods` are implemented; all others reject. */
function unused(name: string, methods: object = {}): never {
  const others = {
    get: (group: object, method: string | symbol) =>
      Reflect.get(group, method) ?? (() => Promise.reject(new Error(`${name}.${String(method)} is not faked`))),
  };
  return new Proxy(methods, others) as never;
}

/** An orchestrator that returns fixed data and records its calls; `replace` overrides single methods. */
export function createFakeOrchestrator(replace: Partial<Orchestrator> = {}): Orchestrator & {
  readonly asked: Asked[];
  readonly callers: CallerContext[];
} {
  const asked: Asked[] = [];
  const callers: CallerContext[] = [];
  const pulled: PullResult = {
    name: "smollm2:135m",
    engine: "llama-cpp",
    sizeBytes: smollm.sizeBytes,
    digest: "f535f83ec568d040f88ddc04a199fa6da90923bbb41d4dcaed02caa924d6ef57",
    wasAlreadyPresent: false,
  };
  const loaded: LoadResult = { model: plan.model, engine: "ollama", loadMs: 812.4, wasLoaded: false, plan };
  const note = (method: keyof Orchestrator, caller: CallerContext, request: unknown): void => {
    asked.push([method, request]);
    callers.push(caller);
  };
  const next = { next: { step: "listModels" } } as const;
  const refuseUnknown = (name: string): void => {
    if (qwen.name !== name && smollm.name !== name) throw new UnknownModel(`no model ${name}`, next);
  };
  return {
    asked,
    callers,
    async listModels(caller, request) {
      note("listModels", caller, request);
      return { models: [qwen, smollm], total: 2, stale: [] };
    },
    async describeModel(caller, name) {
      note("describeModel", caller, name);
      refuseUnknown(name);
      return description;
    },
    async pullModel(caller, request) {
      note("pullModel", caller, request);
      return doneOperation(pulled);
    },
    async planLoad(caller, request) {
      note("planLoad", caller, request);
      return plan;
    },
    async loadModel(caller, request) {
      note("loadModel", caller, request);
      return doneOperation(loaded);
    },
    async planGeneration(caller, request) {
      note("planGeneration", caller, request);
      return routePlan;
    },
    async generate(caller, request) {
      note("generate", caller, request);
      return doneOperation(generated);
    },
    embed: () => Promise.reject(new Error("embed is not faked")),
    async unloadModels(caller, name) {
      note("unloadModels", caller, name);
      return [{ name: name ?? smollm.name, engine: "llama-cpp", bytes: 700_000_000, wasPinned: false }];
    },
    async createModel(caller, request) {
      note("createModel", caller, request);
      return { name: `${request.name}:latest`, engine: "ollama", sizeBytes: qwen.sizeBytes };
    },
    async deleteModel(caller, name) {
      note("deleteModel", caller, name);
      return { name, engine: "ollama", freedBytes: qwen.sizeBytes };
    },
    database: () => database,
    async ramStatus(caller) {
      note("ramStatus", caller, undefined);
      return ram;
    },
    async systemStatus(caller) {
      note("systemStatus", caller, undefined);
      return status;
    },
    jobs: createFakeJobs(),
    setPinned: async (_caller, name) => name,
    memories: createFakeMemories(),
    templates: unused("templates", { list: async () => ({ templates: [], problems: [] }) }),
    projects: unused("projects"),
    profiles: {
      list: (caller) => profileNames(caller.settings.profiles).map((name) => shownProfile(name, caller)),
      get: (caller, name) => shownProfile(name, caller),
    },
    decisions: () => [],
    batches: unused("batches"),
    workers: unused("workers"),
    comparisons: unused("comparisons", { list: async () => [], learned: async () => [], evals: async () => [] }),
    metrics: unused("metrics", { breaches: async () => [], noteRead: () => undefined }),
    live: unused("live"),
    settings: unused("settings"),
    resume: async () => undefined,
    wokeUp: async () => undefined,
    onChange: () => () => undefined,
    watch: () => () => undefined,
    problems: () => [],
    activity: () => ({ operations: [], pinned: 0 }),
    fileLimits: { maxFileBytes: 2_000_000, maxTotalBytes: 3_000_000 },
    async close() {},
    ...replace,
  };
}
