import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkEngines, checkModels, expectsOllama } from "../../src/cli/setup/check-engines.ts";
import type { DoctorWorld } from "../../src/cli/setup/check.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import { createKeptLearning } from "../../src/orchestrator/residency/kept-learning.ts";
import { createDocumentFiles } from "../../src/orchestrator/storage/document-files.ts";
import { silentIo } from "../support/silent-io.ts";

let folder: string;
let home: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-doctor-"));
  home = path.join(folder, "home");
  await mkdir(home, { mode: 0o700 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const signal = new AbortController().signal;

/** Not Linux, where the folders of system services count as traces of Ollama, too. */
const bareIo = (): CommandIo => ({ ...silentIo, platform: "darwin", userHome: folder, workingDirectory: folder });

const unanswered = (isOllamaExpected: boolean): DoctorWorld => ({
  io: bareIo(),
  home,
  build: "1.0.0+a",
  runtime: { nodeVersion: "v22.1.0", isElectron: false },
  daemon: {},
  settings: settingsSchema.parse({ model: { default: "coder:7b" }, store: { readOllama: false } }),
  isOllamaExpected,
  memory: () => Promise.reject(new Error("not asked here")),
  freeBytes: () => Promise.reject(new Error("not asked here")),
  get: () => Promise.reject(new Error("ECONNREFUSED")),
});

describe("an Ollama server that doesn't respond", () => {
  const names = async (isOllamaExpected: boolean) =>
    (await checkEngines(unanswered(isOllamaExpected), signal)).map(({ name, status }) => [name, status]);

  it("is a warning if it was configured, installed or seen, else not mentioned", async () => {
    expect(await names(true)).toContainEqual(["ollama", "warn"]);
    expect((await names(false)).flat()).not.toContain("ollama");
  });

  it("may have the models that settings name only if it is expected", async () => {
    const missing = async (isOllamaExpected: boolean) =>
      (await checkModels(unanswered(isOllamaExpected), signal)).map(({ message }) => message).join("\n");
    expect(await missing(true)).not.toContain("coder:7b");
    expect(await missing(false)).toContain("model.default names coder:7b, which is not installed");
  });

  it("is expected if it is configured, installed, or known to this home", async () => {
    const bare = bareIo();
    const given = (host?: string) => ({
      settings: settingsSchema.parse({ providers: { ollama: host === undefined ? {} : { host } } }),
      sources: new Map(host === undefined ? [] : [["providers.ollama.host", "OLLM_HOST"] as const]),
    });
    expect(await expectsOllama(home, given(), bare)).toBe(false);
    expect(await expectsOllama(home, given("127.0.0.1:11434"), bare)).toBe(true);
    expect(await readdir(home)).toEqual([]);
    const kept = createKeptLearning({ files: createDocumentFiles(home), log: createLog("silent", () => undefined) });
    kept.noteHost("ollama http://127.0.0.1:11434");
    await kept.close();
    expect(await expectsOllama(home, given(), bare)).toBe(true);
    await rm(path.join(home, "learned.json"), { force: true });
    await rm(path.join(home, "learned.journal"), { force: true });
    await mkdir(path.join(folder, ".ollama"));
    expect(await expectsOllama(home, given(), bare)).toBe(true);
  });
});

it("names the models of profiles and of the project that no engine has", async () => {
  const profiles = { mine: { models: ["first:1b"], fallback: ["last:1b"] }, yours: { fallback: "text" } };
  const settings = settingsSchema.parse({
    providers: { ollama: { enabled: false } },
    store: { readOllama: false },
    profiles,
  });
  const projectModels = [{ name: "wanted:3b", source: "/p/.ollm/project.yaml:1" }];
  const checks = await checkModels({ ...unanswered(false), projectModels, settings }, signal);
  expect(checks.map(({ message }) => message.replace(", which is not installed", ""))).toEqual([
    "none installed",
    "profiles.mine.models names first:1b",
    "profiles.mine.fallback names last:1b",
    "/p/.ollm/project.yaml:1 names wanted:3b",
  ]);
});
