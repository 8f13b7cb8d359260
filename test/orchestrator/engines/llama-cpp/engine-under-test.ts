import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { createLlamaCppEngine } from "../../../../src/orchestrator/engines/llama-cpp/index.ts";
import { createGgufInspector } from "../../../../src/orchestrator/engines/gguf/inspector.ts";
import { createLog } from "../../../../src/orchestrator/api/log.ts";
import { createModelStore } from "../../../../src/orchestrator/engines/llama-cpp/store/model-store.ts";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";

export type LlamaCppOptions = Parameters<typeof createLlamaCppEngine>[0];

export { isRunning } from "../../../support/is-running.ts";

/** A signal that never aborts. */
export const never = new AbortController().signal;

/** Starts the real engine with a real store in its own folder, which contains `files` (name → GGUF). */
export async function startEngine(
  modulePath: string | undefined,
  files: Readonly<Record<string, string>>,
  options: Partial<LlamaCppOptions> = {},
) {
  const home = await mkdtemp(join(tmpdir(), "ollm-engine-"));
  const warnings: string[] = [];
  const log = createLog("warn", (line) => warnings.push(line));
  const inspect = createGgufInspector({
    childEntry: resolve("dist/gguf-child.mjs"),
    nodeExecutable: process.execPath,
    timeoutMs: 60_000,
  });
  const store = createModelStore({
    folder: join(home, "models"),
    readOnlyFolders: [],
    registry: { defaultHost: "127.0.0.1:1", stallTimeoutMs: 1_000 },
    http: () => Promise.reject(new Error("this test has no network")),
    inspect,
    log,
  });
  const runFolder = join(home, "run");
  const engine = createLlamaCppEngine({
    store: () => store,
    inspect,
    installation: {
      isInstalled: async () => modulePath !== undefined,
      modulePath: async () => modulePath,
      downloadBytes: 0,
      install: async () => {},
    },
    childEntry: resolve("dist/engine-child.mjs"),
    nodeExecutable: process.execPath,
    runFolder,
    threads: 2,
    keepAliveSeconds: 600,
    promptsFolder: join(home, "prompts"),
    now: Date.now,
    log,
    ...options,
  });
  for (const [name, file] of Object.entries(files)) await store.import(file, name, () => {}, never);
  return {
    engine,
    store,
    home,
    warnings,
    runFolder,
    childPids: () => listedChildren(runFolder),
    async dispose() {
      await engine.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

export type EngineUnderTest = Awaited<ReturnType<typeof startEngine>>;

/** Models of `startPracticeEngine`: one answers `tinySentence`, the other one never stops. */
export const tiny = "practice:tiny";
export const endless = "endless:tiny";

/** Starts the installed engine with the two tiny models, each with a window of 8,192 tokens. */
export async function startPracticeEngine(options: Partial<LlamaCppOptions> = {}) {
  const folder = await mkdtemp(join(tmpdir(), "ollm-practice-"));
  const { modulePath } = await installedEngine();
  const tinyFile = join(folder, "tiny.gguf");
  const endlessFile = join(folder, "endless.gguf");
  await writeTinyGguf(tinyFile, { contextLength: 8_192 });
  await writeTinyGguf(endlessFile, { isEndless: true, says: "And so it goes on and on.", contextLength: 8_192 });
  const subject = await startEngine(modulePath, { [tiny]: tinyFile, [endless]: endlessFile }, options);
  const { residency } = subject.engine;
  if (residency === undefined) throw new Error("the engine has no residency");
  return {
    ...subject,
    modulePath,
    tinyFile,
    folder,
    residency,
    load: (model: string, contextTokens = 2_048, keepAliveSeconds?: number) =>
      residency.load(
        model,
        { contextTokens, ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }) },
        () => {},
        never,
      ),
    loadedNames: async () => (await residency.loaded(never)).map(({ name }) => name),
    /** Returns the pid of the child process that started during `work`. */
    async childOf(work: () => Promise<unknown>): Promise<number> {
      const before = await subject.childPids();
      await work();
      const pid = (await subject.childPids()).find((each) => !before.includes(each));
      if (pid === undefined) throw new Error("no child was started");
      return pid;
    },
    async dispose() {
      await subject.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type PracticeEngine = Awaited<ReturnType<typeof startPracticeEngine>>;

/** Timeout of a test that loads models: on a busy machine an engine starts in seconds. */
export const testLimitMs = 60_000;
export const setupLimitMs = engineLimitMs + testLimitMs;

/** Returns the pids in `children.json`, oldest first. */
export async function listedChildren(runFolder: string): Promise<readonly number[]> {
  const text = await readFile(join(runFolder, "children.json"), "utf8").catch(() => '{"children":[]}');
  return (JSON.parse(text) as { children: { pid: number }[] }).children.map(({ pid }) => pid);
}

/** Generates and records the stream. */
export async function ask(
  { engine }: Pick<EngineUnderTest, "engine">,
  request: Partial<GenerationRequest> & Pick<GenerationRequest, "model">,
  signal: AbortSignal = never,
  onText: (delta: string) => void = () => {},
) {
  const phases: string[] = [];
  const generation = await engine.generate(
    {
      messages: [{ role: "user", content: "Hello." }],
      maxTokens: 200,
      sampling: { temperature: 0 },
      contextTokens: 2_048,
      ...request,
    },
    { text: onText, thinking: () => {}, phase: (phase) => phases.push(phase) },
    signal,
  );
  return { ...generation, phases };
}

/** Polls a condition every 20 ms and returns the milliseconds until it was true. Throws after the limit. */
export async function until(holds: () => boolean | Promise<boolean>, limitMs: number): Promise<number> {
  const startedAt = performance.now();
  while (!(await holds())) {
    if (performance.now() - startedAt > limitMs) throw new Error(`not within ${limitMs} ms`);
    await delay(20);
  }
  return performance.now() - startedAt;
}
