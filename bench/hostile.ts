import { randomBytes } from "node:crypto";
import { link, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import { ended, type Peak, type Target, underAttack } from "./support/hostile/daemon.ts";
import { endless, type Misdeed, reply, withHostileOllama } from "./support/hostile/ollama.ts";
import { plantModels, writeKeys, writeTexts } from "./support/hostile/store.ts";
import { onlyEngine } from "./support/programs.ts";

const barBytes = 400_000_000;

/** One attack, against a daemon of its own. */
interface Attack {
  readonly name: string;
  /** What the engine answers with, by path; an honest one unless given. */
  readonly misdeeds?: Readonly<Record<string, Misdeed>>;
  readonly models?: number;
  /** Settings of the daemon. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Makes the embedded engine's store, or a project, before the daemon starts. */
  readonly prepare?: (home: string, folder: string) => Promise<void>;
  run(target: Target): Promise<string>;
}

const ndjson = { type: "application/x-ndjson" };
const token = `${JSON.stringify({ model: "model0:1b", message: { role: "assistant", content: "word ".repeat(200) }, done: false })}\n`;
/** Never the same, so that an answer made of it goes on to its bound: 4 kB. */
const freshToken = (): string =>
  `${JSON.stringify({ model: "model0:1b", message: { role: "assistant", content: randomBytes(3_000).toString("base64") }, done: false })}\n`;
/** An honest answer, for attacks that come from the client. */
const answer = reply(
  `${JSON.stringify({ model: "model0:1b", message: { role: "assistant", content: '"a"' }, done: true, done_reason: "stop" })}\n`,
  ndjson.type,
);
const ask = { prompt: "Hello", model: "model0:1b" };
const verbose = { verbose: true };
const megabytes = (count: number, text: string): string => text.repeat(Math.ceil((count * 1_000_000) / text.length));

/** Sizes just below a reply's bound are the ones that are read whole. */
const showOfKeys = JSON.stringify({
  details: {},
  model_info: {
    "general.architecture": "llama",
    ...Object.fromEntries(Array.from({ length: 40_000 }, (_, index) => [`llama.key.${index}`, index])),
  },
  capabilities: ["completion"],
});
const showOfTexts = JSON.stringify({
  details: {},
  template: megabytes(0.2, "{{ x }}"),
  system: megabytes(0.3, "You are. "),
  parameters: megabytes(0.2, "stop x\n"),
  model_info: { "general.architecture": "llama", "llama.name": megabytes(0.2, "n") },
  capabilities: ["completion"],
});

const attacks: readonly Attack[] = [
  {
    name: "GGUF: 25 headers of 189 MB of texts",
    // One file under 25 names: they take no disk space, and each is read separately.
    async prepare(home) {
      let first: { readonly file: string; readonly size: number } | undefined;
      await plantModels(home, 25, async (file) => {
        if (first === undefined) first = { file, size: await writeTexts(file, 12) };
        else await link(first.file, file);
        return first.size;
      });
    },
    run: async ({ call }) => {
      const answers = [await call("list_models", verbose, 60_000), await call("list_models", verbose, 60_000)];
      return answers.at(-1) ?? "";
    },
  },
  {
    name: "GGUF: 20 headers of 100,000 keys, one of 2,000,000",
    prepare: async (home) => {
      let index = 0;
      await plantModels(home, 21, (file) => writeKeys(file, (index += 1) === 1 ? 2_000_000 : 100_000));
    },
    run: ({ call }) => call("list_models", verbose, 60_000),
  },
  {
    name: "engine: 60 models that show 40,000 keys each",
    models: 60,
    misdeeds: { "/api/show": reply(showOfKeys) },
    run: ({ call }) => call("list_models", verbose),
  },
  {
    name: "engine: 60 models that show 900 kB of texts each",
    models: 60,
    misdeeds: { "/api/show": reply(showOfTexts) },
    run: ({ call }) => call("list_models", verbose),
  },
  {
    name: "engine: endless list of models",
    misdeeds: { "/api/tags": endless(`{"name":"a","size":1},`.repeat(1_000), { head: '{"models":[' }) },
    run: ({ call }) => call("list_models", {}),
  },
  {
    name: "engine: endless line in an answer",
    misdeeds: { "/api/chat": endless("x".repeat(65_536), { ...ndjson, head: '{"message":{"content":"' }) },
    run: ({ call }) => call("route_and_generate", ask),
  },
  {
    name: "engine: endless error body",
    misdeeds: { "/api/chat": endless("no ".repeat(20_000), { status: 500, head: '{"error":"' }) },
    run: ({ call }) => call("route_and_generate", ask),
  },
  {
    name: "engine: 8 endless answers at once",
    misdeeds: { "/api/chat": endless(token.repeat(20), ndjson) },
    async run({ call }) {
      const answers = await Promise.all(Array.from({ length: 8 }, () => call("route_and_generate", ask)));
      return answers[0] ?? "";
    },
  },
  {
    name: "engine: 16 endless answers of a million tokens as jobs",
    misdeeds: { "/api/chat": endless(freshToken, ndjson) },
    environment: { OLLM_JOBS_PATIENCE: "1" },
    async run({ client, call }) {
      const begun = await Promise.all(
        Array.from({ length: 16 }, () =>
          client.request("tools/call", { name: "route_and_generate", arguments: { ...ask, max_tokens: 1_000_000 } }),
        ),
      );
      const jobs = begun.flatMap(({ result }) => result?.structuredContent?.["job"] ?? []);
      const ends = await Promise.all(
        jobs.map(async (job) => {
          for (;;) {
            const state = await call("job", { action: "wait", job_id: job }, 60_000);
            if (!state.includes(" running")) return state;
          }
        }),
      );
      return `${jobs.length} became jobs; the last: ${ends.at(-1)}`;
    },
  },
  {
    name: "engine: JSON of 900 kB that nests 450,000 deep",
    misdeeds: { "/api/show": reply("[".repeat(450_000) + "]".repeat(450_000)) },
    models: 10,
    run: ({ call }) => call("list_models", verbose),
  },
  {
    name: "HTTP: 400 abandoned sessions",
    async run({ http }) {
      const url = await http();
      const statuses = new Map<number, number>();
      for (let batch = 0; batch < 40; batch += 1) {
        const got = await Promise.all(Array.from({ length: 10 }, () => post(url, JSON.stringify(initialize))));
        for (const status of got) statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
      return [...statuses].map(([status, count]) => `${count} × ${status}`).join(", ");
    },
  },
  {
    name: "HTTP: 20 bodies of 3.8 MB of [[[…",
    async run({ http }) {
      const url = await http();
      const got = await Promise.all(Array.from({ length: 20 }, () => post(url, "[".repeat(3_800_000))));
      return [...new Set(got)].join(", ");
    },
  },
  {
    name: "stdio: 10 lines of 3.8 MB of [[[…",
    async run({ client }) {
      const input = "[".repeat(1_900_000) + "]".repeat(1_900_000);
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => client.raw(`"method":"tools/list","params":${input}`)),
      );
      return JSON.stringify(answers[0]?.error).slice(0, 80);
    },
  },
  {
    name: "project.yaml of 16,000 tags",
    async prepare(_, folder) {
      await mkdir(join(folder, ".ollm"), { recursive: true });
      await mkdir(join(folder, ".git"), { recursive: true });
      await writeFile(join(folder, ".ollm", "project.yaml"), `model: ${"!!x ".repeat(16_000)}a\n`);
    },
    run: ({ call }) => call("project_profile", { action: "show" }),
  },
  {
    name: "format: enum of 200,000 values",
    misdeeds: { "/api/chat": answer },
    run: ({ call }) =>
      call("route_and_generate", {
        ...ask,
        format: { type: "string", enum: Array.from({ length: 200_000 }, (_, index) => `value ${index}`) },
      }),
  },
  {
    name: "format: $ref to itself",
    misdeeds: { "/api/chat": answer },
    run: ({ call }) => call("route_and_generate", { ...ask, format: { $ref: "#" } }),
  },
];

const initialize = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
};

async function post(url: string, body: string): Promise<number> {
  const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  const response = await fetch(`${url}/mcp`, { method: "POST", headers, body });
  await response.text();
  return response.status;
}

export const hostile: Bench = {
  name: "hostile",
  summary: `the daemon's peak under attacks that cost memory or time (bar ${barBytes / 1_000_000} MB in each; Linux)`,
  options: ["only"],
  help: "--only TEXT runs the attacks whose name contains the text.",
  async run({ only = "" }) {
    const rows = [];
    for (const attack of attacks.filter(({ name }) => name.includes(only))) {
      const { peakBytes, seconds, outcome } = await measure(attack);
      rows.push({
        attack: attack.name,
        peak_mb: Math.round(peakBytes / 1_000_000),
        seconds: Math.round(seconds * 10) / 10,
        outcome,
      });
    }
    const worst = Math.max(...rows.map(({ peak_mb: peak }) => peak));
    const failed = rows.filter(({ peak_mb: peak, outcome }) => peak * 1_000_000 >= barBytes || outcome === ended);
    return {
      rows,
      verdict: `highest peak ${worst} MB, bar ${barBytes / 1_000_000} MB; ${failed.length} of ${rows.length} attacks above it`,
      passed: failed.length === 0,
    };
  },
};

async function measure({ misdeeds = {}, models = 1, environment = {}, prepare, run }: Attack): Promise<Peak> {
  return await withHostileOllama(models, misdeeds, (url) =>
    withCleanEnvironment(async (clean) => {
      const folder = join(clean["HOME"] ?? "", "project");
      const home = clean["OLLM_HOME"] ?? "";
      await mkdir(folder);
      await mkdir(home, { mode: 0o700 });
      await prepare?.(home, folder);
      const { OLLM_PROVIDERS_LLAMA_CPP_ENABLED: _, ...engines } = onlyEngine(url);
      return await underAttack({ ...clean, ...engines, ...environment }, folder, run);
    }),
  );
}
