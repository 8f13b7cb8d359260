import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isOllamaOptional } from "../../../src/orchestrator/config/ollama-servers.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { isOllamaInstalled } from "../../../src/orchestrator/engines/ollama/installed.ts";
import { EngineUnreachable, OrchestratorError } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const refused = new EngineUnreachable("Ollama does not answer at 127.0.0.1:11434 (ECONNREFUSED)");

/** A stopped Ollama beside an embedded engine with one model, or none. */
function setup({
  isOptional = true,
  hasModel = false,
  texts = new Map<string, string>(),
}: {
  readonly isOptional?: boolean;
  readonly hasModel?: boolean;
  readonly texts?: Map<string, string>;
} = {}) {
  const ollama = createFakeEngine("ollama", [], {
    address: "http://127.0.0.1:11434",
    isOptional: () => Promise.resolve(isOptional),
  });
  ollama.down = refused;
  const models = hasModel ? [fakeModel("mine:1b", gigabyte)] : [];
  const embedded = createFakeEngine("llama-cpp", models, { kind: "llama-cpp", address: "embedded" });
  const test = createTestOrchestrator([ollama, embedded], { documentFiles: createMemoryDocumentFiles(texts) });
  const { orchestrator, caller, generate } = test;
  /** Everything that a user reads about missing models and engines. */
  async function said(): Promise<string> {
    const failures = await Promise.all(
      [generate({}), generate({ model: "nosuch" }), orchestrator.describeModel(caller(), "nosuch")].map((call) =>
        call.then(
          () => "",
          (error: unknown) => (error instanceof OrchestratorError ? error.message + JSON.stringify(error.next) : ""),
        ),
      ),
    );
    const list = await orchestrator.listModels(caller(), {});
    const status = await orchestrator.systemStatus(caller());
    return JSON.stringify([failures, list, status.engines, status.warnings]);
  }
  return { ollama, said, ...test };
}

describe("an optional engine that has never responded", () => {
  it.each([false, true])("is mentioned nowhere (another engine has a model: %s)", async (hasModel) => {
    const { said } = setup({ hasModel });
    const text = await said();
    expect(text).toContain("no model nosuch");
    expect(text).not.toMatch(/ollama|ECONNREFUSED|no engine responds/i);
  });

  it("is used as soon as it responds, and mentioned from then on, also by later daemons", async () => {
    const texts = new Map<string, string>();
    const { ollama, said, orchestrator, caller } = setup({ texts });
    ollama.down = undefined;
    expect((await orchestrator.systemStatus(caller())).engines.map(({ id }) => id)).toEqual(["ollama", "llama-cpp"]);
    ollama.down = refused;
    await orchestrator.wokeUp();
    expect(await said()).toContain("ECONNREFUSED");
    await orchestrator.close();
    const later = setup({ texts });
    expect(await later.said()).toContain("ECONNREFUSED");
  });
});

it("an engine that is configured or installed is mentioned although it has never responded", async () => {
  const { said, orchestrator, caller } = setup({ isOptional: false });
  expect(await said()).toContain("ECONNREFUSED");
  const { engines } = await orchestrator.systemStatus(caller());
  expect(engines.map(({ id, health }) => [id, health])).toEqual([
    ["ollama", "unreachable"],
    ["llama-cpp", "ok"],
  ]);
});

it("Ollama is optional unless a server is named or the embedded engine is off", () => {
  const providers = (given: object) => settingsSchema.parse({ providers: given }).providers;
  const none = new Map<string, string>();
  expect(isOllamaOptional(providers({}), none)).toBe(true);
  // Its source counts, not its value.
  expect(isOllamaOptional(providers({}), new Map([["providers.ollama.host", "OLLAMA_HOST"]]))).toBe(false);
  expect(isOllamaOptional(providers({ ollama: { hosts: ["box:11434"] } }), none)).toBe(false);
  expect(isOllamaOptional(providers({ llamaCpp: { enabled: false } }), none)).toBe(false);
});

describe("traces of Ollama on the disk", () => {
  let userHome: string;
  beforeEach(async () => {
    userHome = await mkdtemp(path.join(tmpdir(), "ollm-traces-"));
  });
  afterEach(() => rm(userHome, { recursive: true, force: true }));
  // Not Linux, where the folders of system services count, too.
  const isInstalled = (environment: Record<string, string>) =>
    isOllamaInstalled({ environment, platform: "darwin", userHome });

  it("are its folder, its models and its program", async () => {
    const bin = path.join(userHome, "bin");
    const models = path.join(userHome, "models");
    const environment = { PATH: `relative::/no/such:${bin}`, OLLAMA_MODELS: models };
    await mkdir(bin);
    expect(await isInstalled(environment)).toBe(false);
    await writeFile(path.join(bin, "ollama"), "");
    await chmod(path.join(bin, "ollama"), 0o755);
    expect(await isInstalled(environment)).toBe(true);
    expect(await isInstalled({})).toBe(false);
    await mkdir(models);
    expect(await isInstalled({ OLLAMA_MODELS: models })).toBe(true);
    await mkdir(path.join(userHome, ".ollama"));
    expect(await isInstalled({})).toBe(true);
  });
});
