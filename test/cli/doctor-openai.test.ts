import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkEngines, checkModels } from "../../src/cli/setup/check-engines.ts";
import type { DoctorWorld } from "../../src/cli/setup/check.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../support/fake-openai.ts";
import { silentIo } from "../support/silent-io.ts";

const key = "test-key-of-the-doctor";

let folder: string;
let fake: FakeOpenAi;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-doctor-"));
  fake = await startFakeOpenAi({ dialect: "cloud", apiKey: key });
});
afterEach(async () => {
  await fake.close();
  await rm(folder, { recursive: true, force: true });
});

const signal = new AbortController().signal;

function worldWith(entry: object, more: object = {}): DoctorWorld {
  return {
    io: { ...silentIo, userHome: folder, environment: { OLLM_HOUSE_KEY: key } },
    home: folder,
    build: "1.0.0+a",
    runtime: { nodeVersion: "v22.1.0", isElectron: false },
    daemon: {},
    settings: settingsSchema.parse({
      ...more,
      providers: {
        ollama: { enabled: false },
        openai: [{ id: "house", kind: "cluster", baseUrl: fake.baseUrl, ...entry }],
      },
    }),
    isOllamaExpected: false,
    memory: () => Promise.reject(new Error("not asked here")),
    freeBytes: () => Promise.reject(new Error("not asked here")),
    async get(url, bound, bearer) {
      const response = await fetch(url, {
        signal: bound,
        redirect: "manual",
        // A connection that is kept would end as a reset of the stopped server, instead of as a refusal.
        headers: { connection: "close", ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) },
      });
      return { status: response.status, body: await response.text() };
    },
  };
}

async function checked(entry: object, more: object = {}): Promise<string> {
  const check = (await checkEngines(worldWith(entry, more), signal)).find(({ name }) => name === "house");
  return `${check?.status}: ${check?.message}${check?.hint === undefined ? "" : ` → ${check.hint}`}`;
}

describe("the doctor, about a server of providers.openai", () => {
  it("counts its models, with the key from a variable or a file, and with or without /v1", async () => {
    const { host } = new URL(fake.baseUrl);
    const models = `ok: 1 model at ${host}`;
    expect(await checked({ apiKeyEnv: "OLLM_HOUSE_KEY" })).toBe(models);
    const file = path.join(folder, "house.key");
    await writeFile(file, `${key}\n`, { mode: 0o600 });
    expect(await checked({ apiKeyFile: file, baseUrl: fake.baseUrl.replace(/\/v1$/, "") })).toBe(models);
  });

  it("says what is wrong with the key, and never shows it", async () => {
    const file = path.join(folder, "house.key");
    await writeFile(file, "another-key", { mode: 0o600 });
    const refused = await checked({ apiKeyFile: file });
    expect(refused).toMatch(/^fail: 127\.0\.0\.1:\d+ refuses the key in .*house\.key \(HTTP 401\) → put a valid key/i);
    expect(refused).not.toContain("another-key");
    expect(await checked({})).toMatch(/^fail: .* needs a key/);
    expect(await checked({ apiKeyEnv: "OLLM_ABSENT" })).toMatch(/^fail: the variable OLLM_ABSENT .* is not set/);
    if (process.platform === "win32") return;
    await chmod(file, 0o644);
    expect(await checked({ apiKeyFile: file })).toMatch(
      /^fail: .*can be read by other users \(mode 0644\) → .*chmod 600/i,
    );
  });

  it("asks nothing of one that isn't local under local_only", async () => {
    const entry = { trust: "remote", apiKeyEnv: "OLLM_HOUSE_KEY" };
    expect(await checked(entry)).toMatch(/^ok: not contacted: .*local_only/);
    expect(fake.requests).toEqual([]);
    expect(await checked(entry, { privacy: "allow_remote" })).toMatch(/^ok: 1 model/);
  });

  it("misses no model that it may have", async () => {
    const world = worldWith({}, { model: { default: "smollm2" }, store: { readOllama: false } });
    const [check, ...more] = await checkModels(world, signal);
    expect(check).toMatchObject({ status: "ok", message: expect.stringContaining("ollm list") as string });
    expect(more).toEqual([]);
  });

  it("fails for one that does not respond, or that has no list of models", async () => {
    fake.misbehave({ kind: "status", status: 200, on: "/v1/models", body: "<html>Sign in</html>" });
    expect(await checked({ apiKeyEnv: "OLLM_HOUSE_KEY" })).toMatch(/^fail: .* has no list of models \(HTTP 200\)/);
    await fake.stop();
    expect(await checked({ apiKeyEnv: "OLLM_HOUSE_KEY" })).toMatch(/^fail: no response from .* \(ECONNREFUSED\)/);
  });
});
