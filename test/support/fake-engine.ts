import type { Engine, LoadOptions, ResidentModel } from "../../src/orchestrator/engines/engine.ts";
import { embeddedLoadRules } from "../../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import { ollamaLoadRules } from "../../src/orchestrator/engines/ollama/index.ts";
import type { Generation, GenerationRequest, GenerationSink } from "../../src/orchestrator/engines/generation.ts";
import { Cancelled, LoadFailed, UnknownModel } from "../../src/orchestrator/api/errors.ts";
import type { InstalledModel } from "../../src/orchestrator/api/types.ts";

export interface FakeEngine extends Engine {
  /** All calls in order: `load a 4096`, `generate a`, `unload b`. */
  readonly calls: string[];
  readonly models: InstalledModel[];
  readonly resident: Map<string, ResidentModel>;
  /** Replaces the default answer. */
  answer: (request: GenerationRequest, sink: GenerationSink, signal: AbortSignal) => Promise<Partial<Generation>>;
  /** Called before a load succeeds. */
  beforeLoad: (model: string, options: LoadOptions, signal: AbortSignal) => Promise<void>;
  /** Called before loaded models are listed. */
  beforeLook: () => Promise<void>;
  /** Thrown by every call while set, as if the engine were down. */
  down: Error | undefined;
  /** Keep-alive of each loaded model in seconds, from its last load or generation that sets it, like Ollama. */
  readonly keepAlives: Map<string, number>;
}

export const gigabyte = 1_000_000_000;

export function fakeModel(name: string, sizeBytes: number, more: Partial<InstalledModel> = {}): InstalledModel {
  return {
    name,
    sizeBytes,
    digest: name,
    contextTokens: 32_768,
    capabilities: ["completion"],
    trust: "local",
    ...more,
  };
}

/** Creates an engine in this process, whose models take as much memory as their files. Its facts are those of its kind. */
export function createFakeEngine(
  id: string,
  models: readonly InstalledModel[],
  more: Partial<Engine> = {},
): FakeEngine {
  const isEmbedded = more.kind === "llama-cpp";
  const calls: string[] = [];
  const resident = new Map<string, ResidentModel>();
  const sizeOf = (name: string) => engine.models.find((model) => model.name === name)?.sizeBytes ?? 0;
  const loadInto = (name: string, contextTokens: number): ResidentModel => {
    const model = { name, sizeBytes: sizeOf(name), vramBytes: 0, mappedBytes: 0, contextTokens };
    resident.set(name, model);
    return model;
  };
  const keepFor = (name: string, seconds: number | undefined) => {
    if (seconds !== undefined) engine.keepAlives.set(name, seconds);
  };
  const engine: FakeEngine = {
    id,
    kind: "ollama",
    ...(isEmbedded ? { isPrivate: true as const } : { usesCards: true as const, parallelAnswers: 4 }),
    trust: "local",
    memoryDomain: "local",
    calls,
    models: [...models],
    resident,
    down: undefined,
    keepAlives: new Map(),
    answer: () => Promise.resolve({}),
    beforeLoad: () => Promise.resolve(),
    beforeLook: () => Promise.resolve(),
    health: () => Promise.resolve({ isReachable: engine.down === undefined }),
    list: () => (engine.down === undefined ? Promise.resolve([...engine.models]) : Promise.reject(engine.down)),
    describe(name) {
      const model = engine.models.find((candidate) => candidate.name === name);
      if (model === undefined) return Promise.reject(new UnknownModel(`no model ${name}`));
      return Promise.resolve({
        name,
        sizeBytes: model.sizeBytes,
        capabilities: model.capabilities ?? ["completion"],
        trust: model.trust,
      });
    },
    async generate(request, sink, signal) {
      calls.push(`generate ${request.model}`);
      if (engine.down !== undefined) throw engine.down;
      keepFor(request.model, request.keepAliveSeconds);
      if (!resident.has(request.model)) loadInto(request.model, request.contextTokens);
      const text = `${request.model} says hello`;
      const answered = await engine.answer(request, sink, signal);
      sink.text(answered.text ?? text);
      if (request.keepAliveSeconds === 0) resident.delete(request.model);
      const timing = { loadMs: 0, firstTokenMs: 1, prefillMs: 1, decodeMs: 10, totalMs: 11 };
      return { text, finishReason: "stop", promptTokens: 5, completionTokens: 3, ...timing, ...answered };
    },
    residency: {
      ...(isEmbedded ? embeddedLoadRules : ollamaLoadRules()),
      async loaded() {
        if (engine.down !== undefined) throw engine.down;
        const loaded = [...resident.values()];
        await engine.beforeLook();
        return loaded;
      },
      async load(name, options, _report, signal) {
        calls.push(`load ${name} ${options.contextTokens}`);
        if (engine.down !== undefined) throw engine.down;
        // Like Ollama, which treats such a load as an unload.
        if (options.keepAliveSeconds === 0) throw new LoadFailed(`loaded ${name}, and it is gone again`);
        keepFor(name, options.keepAliveSeconds);
        await engine.beforeLoad(name, options, signal);
        return loadInto(name, options.contextTokens);
      },
      unload(name) {
        calls.push(`unload ${name}`);
        resident.delete(name);
        return Promise.resolve();
      },
    },
    library: {
      async pull(name, report) {
        calls.push(`pull ${name}`);
        report({ message: `pulling ${name}`, completedBytes: 1, totalBytes: 2 });
        const wasAlreadyPresent = engine.models.some((model) => model.name === name);
        if (!wasAlreadyPresent) engine.models.push(fakeModel(name, gigabyte));
        return Promise.resolve({ name, sizeBytes: gigabyte, wasAlreadyPresent });
      },
      import(file, name) {
        calls.push(`import ${file} as ${name}`);
        engine.models.push(fakeModel(name, gigabyte));
        return Promise.resolve({ name, sizeBytes: gigabyte, wasAlreadyPresent: false });
      },
      remove(name) {
        calls.push(`remove ${name}`);
        engine.models.splice(
          engine.models.findIndex((model) => model.name === name),
          1,
        );
        return Promise.resolve({ freedBytes: sizeOf(name) });
      },
    },
    close: () => Promise.resolve(),
    ...more,
  };
  // Such a server says nothing about its memory.
  if (more.kind === "openai") Object.assign(engine, { residency: undefined });
  return engine;
}

/** A gate that opens on request and rejects with `Cancelled` on an abort. `entered` resolves when a caller waits. */
export function createGate(): { pass(signal?: AbortSignal): Promise<void>; open(): void; entered: Promise<void> } {
  let open: () => void = () => undefined;
  let enter: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const entered = new Promise<void>((resolve) => (enter = resolve));
  return {
    entered,
    open: () => open(),
    pass(signal) {
      enter();
      return new Promise((resolve, reject) => {
        void opened.then(resolve);
        signal?.addEventListener("abort", () => reject(new Cancelled("gate cancelled")), { once: true });
      });
    },
  };
}
