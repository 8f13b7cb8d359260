import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { createLlamaCppEngine, type LlamaCppOptions } from "../../../../src/orchestrator/engines/llama-cpp/index.ts";
import { createGgufInspector } from "../../../../src/orchestrator/gguf/inspector.ts";
import { createLog } from "../../../../src/orchestrator/log.ts";
import { createModelStore } from "../../../../src/orchestrator/store/model-store.ts";

/** A signal that never aborts. */
export const never = new AbortController().signal;

/** The real engine over a real store in a folder of its own, holding `files` (name → GGUF). */
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
    registry: { defaultHost: "127.0.0.1:1", insecureHosts: ["127.0.0.1:1"], stallTimeoutMs: 1_000 },
    http: () => Promise.reject(new Error("this test has no network")),
    inspect,
    log,
  });
  const runFolder = join(home, "run");
  const engine = createLlamaCppEngine({
    store,
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

/** Pids in `children.json`, the oldest first. */
export async function listedChildren(runFolder: string): Promise<readonly number[]> {
  const text = await readFile(join(runFolder, "children.json"), "utf8").catch(() => '{"children":[]}');
  return (JSON.parse(text) as { children: { pid: number }[] }).children.map(({ pid }) => pid);
}

/** Asks and keeps what was streamed. */
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

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Looks every 20 ms until it holds; answers how long that took. Throws after the limit. */
export async function until(holds: () => boolean | Promise<boolean>, limitMs: number): Promise<number> {
  const startedAt = performance.now();
  while (!(await holds())) {
    if (performance.now() - startedAt > limitMs) throw new Error(`not within ${limitMs} ms`);
    await delay(20);
  }
  return performance.now() - startedAt;
}
