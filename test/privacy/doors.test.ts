import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { newestClaim } from "../../src/ipc/claim-record.ts";
import { anthropic } from "../../src/server/doors/anthropic.ts";
import type { Door, DoorName } from "../../src/server/doors/door.ts";
import { ollama as ollamaDoor } from "../../src/server/doors/ollama.ts";
import { openai } from "../../src/server/doors/openai.ts";
import { type Answer, ask } from "../server/http/listener-fixture.ts";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../support/fake-openai.ts";
import { builtCommand } from "../support/stdio-client.ts";

/*
 * The built daemon and the built `ollm serve` with all doors open record each connection and each lookup (recorder.mjs). All
 * servers are on this machine and are told apart by their ports; those that are not local say so (`trust`, `kind`), or have a
 * name that no resolver has.
 */

const localAnswer = "the answer made here";
const key = "sk-dummy-of-the-program";

interface World {
  readonly home: DaemonHome;
  readonly house: FakeOpenAi;
  readonly remotes: readonly FakeOpenAi[];
  readonly upstream: { readonly port: number; readonly received: readonly string[] };
  ask(target: string, body: object | undefined, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Where connections went, and the names that were looked up; `engines` are those of this machine. */
  contacts(): Promise<ReadonlySet<string>>;
}

/** A service that records the bodies that arrive. */
async function openUpstream() {
  const received: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      received.push(`${request.method} ${request.url} ${body}`);
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, received };
}

const portOf = (url: string): number => Number(new URL(url).port);

async function open(privacy: "local_only" | "allow_remote", hasUpstreams = false): Promise<World> {
  const reply = localAnswer;
  const [home, house, lab, cloud, upstream] = await Promise.all([
    makeDaemonHome(
      { OLLM_HOST: "" },
      {
        models: [
          { name: "smollm2:135m", reply, capabilities: ["completion", "tools"] },
          { name: "nomic-embed-text:latest", capabilities: ["embedding"] },
          { name: "big:cloud", remoteHost: "https://ollama.invalid", reply },
        ],
      },
    ),
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "coder", hasTools: true, reply }] }),
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "far", hasTools: true }] }),
    startFakeOpenAi({ dialect: "cloud", tls: true, models: [{ id: "far" }] }),
    openUpstream(),
  ]);
  const processes: ChildProcess[] = [];
  onTestFinished(async () => {
    for (const each of processes) each.kill("SIGKILL");
    await Promise.all([home.close(), house.close(), lab.close(), cloud.close()]);
  });
  const service = `http://127.0.0.1:${upstream.port}`;
  const config = {
    privacy,
    providers: {
      ollama: { host: home.ollama.url, hosts: [{ host: "http://shed.invalid:11434" }] },
      openai: [
        { id: "house", kind: "cluster", baseUrl: house.baseUrl, trust: "local" },
        { id: "lab", kind: "cluster", baseUrl: lab.baseUrl, trust: "remote" },
        { id: "kimi", kind: "cloud", baseUrl: cloud.baseUrl },
        { id: "moon", kind: "cloud", baseUrl: "https://moon.invalid/v1" },
      ],
    },
    http: {
      doors: ["openai", "anthropic", "ollama"],
      modelNames: { "gpt-4o*": "ollm/auto", "claude-haiku-*": "ollm/fast", "claude-far-*": "far" },
      ...(hasUpstreams && { upstreams: { openai: service, anthropic: service } }),
    },
  };
  await mkdir(home.home, { recursive: true, mode: 0o700 });
  // JSON is YAML.
  await writeFile(path.join(home.home, "config.yaml"), JSON.stringify(config), { mode: 0o600 });
  const recorder = pathToFileURL(fileURLToPath(new URL("recorder.mjs", import.meta.url))).href;
  const record = path.join(home.folder, "contacts.log");
  const env = { ...home.environment, NODE_OPTIONS: `--import=${recorder}`, RECORDER_FILE: record };
  const start = (words: readonly string[]) => {
    const child = spawn(process.execPath, [builtCommand, ...words], { env, cwd: home.folder, stdio: "pipe" });
    processes.push(child);
    return child;
  };
  // A daemon that a command starts gets no NODE_OPTIONS.
  const daemon = start(["daemon", "run"]);
  await home.until("the daemon has claimed its home", () => newestClaim(home.home)?.pid === daemon.pid);
  const serve = start(["serve", "--port", "0", "--json"]);
  let line = "";
  serve.stdout.on("data", (chunk: Buffer) => (line += chunk.toString()));
  await home.until("ollm serve listens", () => line.endsWith("\n") || serve.exitCode !== null);
  const said = JSON.parse(line) as { readonly url: string; readonly token_file: string };
  const token = (await readFile(said.token_file, "utf8")).trim();
  const names = new Map([
    [portOf(home.ollama.url), "engines"],
    [portOf(house.url), "engines"],
    [portOf(lab.url), "lab"],
    [portOf(cloud.url), "kimi"],
    [upstream.port, "upstream"],
  ]);
  return {
    home,
    house,
    remotes: [lab, cloud],
    upstream,
    ask: (target, body, headers = {}) => ask(portOf(said.url), target, token, { ...(body && { body }), headers }),
    async contacts() {
      const rows = (await readFile(record, "utf8")).trim().split("\n");
      const found = rows.map((row) => JSON.parse(row) as { kind: string; host: string; port: number });
      // Without a record of both the rest would prove nothing.
      expect(found.filter(({ kind }) => kind === "start").length).toBeGreaterThan(1);
      return new Set(
        found
          .filter(({ kind, host }) => kind !== "start" && (kind === "connect" || isIP(host) === 0))
          .map(({ kind, host, port }) =>
            kind === "connect" && host === "127.0.0.1" ? (names.get(port) ?? String(port)) : `${kind} ${host}`,
          ),
      );
    },
  };
}

/** Bodies for each route of each door, without their model; none for a GET. */
type Bodies = Readonly<Record<string, readonly object[]>>;
const tool = { name: "look", description: "Looks.", parameters: { type: "object", properties: {} } };
const link = "https://pictures.invalid/cat.png";

function bodiesFor(text: string): Readonly<Record<DoorName, Bodies>> {
  const messages = [{ role: "user", content: text }];
  const both = (body: object) => [true, false].map((stream) => ({ ...body, stream }));
  const tools = [{ type: "function", function: tool }];
  return {
    openai: {
      "POST /v1/chat/completions": [
        ...both({ messages }),
        { messages, tools },
        { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: link } }] }] },
      ],
      "POST /v1/responses": [
        ...both({ input: text }),
        { input: text, tools: [{ type: "function", ...tool }] },
        { input: [{ role: "user", content: [{ type: "input_image", image_url: link }] }] },
      ],
      "POST /v1/embeddings": [{ input: text }],
      "GET /v1/models": [],
      "GET /v1/models/*": [],
    },
    anthropic: {
      "POST /v1/messages": [
        ...both({ max_tokens: 9, messages }),
        { max_tokens: 9, messages, tools: [{ name: "look", input_schema: tool.parameters }] },
        {
          max_tokens: 9,
          messages: [{ role: "user", content: [{ type: "image", source: { type: "url", url: link } }] }],
        },
      ],
      "POST /v1/messages/count_tokens": [{ messages }],
      "GET /v1/models": [],
      "GET /v1/models/*": [],
    },
    ollama: {
      "GET /": [],
      "GET /api/version": [],
      "GET /api/tags": [],
      "GET /api/ps": [],
      "POST /api/show": [{}],
      "POST /api/chat": [...both({ messages }), { messages, tools }],
      "POST /api/generate": [...both({ prompt: text }), {}],
      "POST /api/embed": [{ input: text }],
      "POST /api/embeddings": [{ prompt: text }],
      "POST /api/pull": both({}),
    },
  };
}

const doors: readonly Door[] = [openai, anthropic, ollamaDoor];
const ours = ["ollm/auto", "ollm/fast", "ollm/none/such", "gpt-4o-mini", "claude-haiku-9", "claude-far-1"];
const others = ["smollm2:135m", "smollm2", "coder", "nomic-embed-text", "far", "lab/far", "big:cloud", "no-such-model"];
/** With engines that fail, another one could answer these. */
const tempting = ["ollm/auto", "gpt-4o-mini", "claude-far-1", "coder", "far"];

/** Asks every route of the doors for each name. Errors are answers, too. */
async function askEverything(
  world: World,
  models: readonly string[],
  { only = doors, headers = {} }: { readonly only?: readonly Door[]; readonly headers?: Record<string, string> } = {},
): Promise<readonly { readonly what: string; readonly answer: Answer }[]> {
  const answers: { what: string; answer: Answer }[] = [];
  const askFor = async (model: string): Promise<void> => {
    for (const { name, routes } of only) {
      const version = name === "anthropic" ? { "anthropic-version": "2023-06-01" } : {};
      for (const route of Object.keys(routes)) {
        const [method = "", target = ""] = route.replace("*", encodeURIComponent(model)).split(" ");
        const bodies = bodiesFor(`for ${model}`)[name][route];
        if (bodies === undefined) throw new Error(`this test asks nothing of ${route}`);
        for (const body of method === "GET" ? [undefined] : bodies) {
          const answer = await world.ask(target, body && { model, ...body }, { ...version, ...headers });
          answers.push({ what: `${name} ${route} ${model}`, answer });
        }
      }
    }
  };
  await Promise.all(models.map(askFor));
  return answers;
}

type Fault = (world: World) => unknown;
const always = { on: "*", times: Number.POSITIVE_INFINITY } as const;
/** What happens to the engines of this machine: each makes another one attractive. */
const faults: Readonly<Record<string, Fault>> = {
  "that work": () => undefined,
  "that fail": ({ house, home }) => {
    house.misbehave({ kind: "status", status: 500, ...always });
    for (const on of ["/api/chat", "/api/generate", "/api/embed"])
      home.ollama.misbehave({ kind: "status", status: 500, on, times: Number.POSITIVE_INFINITY });
  },
  "that are gone": ({ house, home }) => Promise.all([house.stop(), home.ollama.close()]),
};

describe("with all doors open and local_only", () => {
  test.each(Object.entries(faults))("beside engines %s: no connection leaves, and no lookup", async (what, fault) => {
    const world = await open("local_only");
    await world.ask("/v1/models", undefined);
    await fault(world);
    const answers = await askEverything(world, what === "that work" ? [...ours, ...others] : tempting);
    expect([...(await world.contacts())]).toEqual(["engines"]);
    for (const remote of world.remotes) expect(remote.connections.opened).toBe(0);
    // Ollama would pass such a prompt on to its cloud.
    const prompted = world.home.ollama.requests.filter(({ path: at }) => /^\/api\/(chat|generate|embed)/.test(at));
    expect(prompted.map(({ body }) => body["model"])).not.toContain("big:cloud");
    const isAnswered = answers.filter(({ answer }) => answer.text.includes(localAnswer));
    if (what === "that work") {
      for (const { name } of doors) expect(isAnswered.filter((each) => each.what.startsWith(name))).not.toEqual([]);
    } else expect(isAnswered).toEqual([]);
  });

  test("and upstreams that the user set: they get what is asked for other models, and nothing of ours", async () => {
    const world = await open("local_only", true);
    const headers = {
      authorization: `Bearer ${key}`,
      "ollm-token": (await readFile(path.join(world.home.home, "run", "http-token"), "utf8")).trim(),
    };
    const isPost = (received: string) => received.startsWith("POST");
    await askEverything(world, ours, { headers });
    await askEverything(world, others, { only: [ollamaDoor], headers });
    await faults["that fail"]?.(world);
    await askEverything(world, ["ollm/auto", "claude-haiku-9"], { headers });
    expect(world.upstream.received.filter(isPost)).toEqual([]);
    // A batch names its models inside.
    const batchOf = (model: string) => ({ requests: [{ custom_id: "1", params: { model, messages: [] } }] });
    expect((await world.ask("/v1/messages/batches", batchOf("ollm/fast"), headers)).status).toBe(404);
    expect(world.upstream.received.filter(isPost)).toEqual([]);
    // The token where the service's key belongs.
    for (const { answer } of await askEverything(world, others, { only: [openai, anthropic] }))
      expect(answer.status).toBe(401);
    expect(world.upstream.received.filter(isPost)).toEqual([]);
    const passed = await askEverything(world, others, { only: [openai, anthropic], headers });
    const { received } = world.upstream;
    expect(received.filter(isPost).length).toBe(passed.filter(({ what }) => what.includes(" POST ")).length);
    for (const each of ["ollm/", "ollm%2F", "gpt-4o", "claude-", localAnswer])
      expect(received.join("\n")).not.toContain(each);
    expect([...(await world.contacts())].toSorted()).toEqual(["engines", "upstream"]);
    // The program's key stands in no file.
    const files = await readdir(world.home.folder, { recursive: true, withFileTypes: true });
    for (const file of files.filter((each) => each.isFile()))
      expect(await readFile(path.join(file.parentPath, file.name), "utf8"), file.name).not.toContain(key);
  });

  test("allow_remote lets the same requests leave, which the recorder sees", async () => {
    const world = await open("allow_remote");
    await world.ask("/v1/models", undefined);
    await faults["that fail"]?.(world);
    await askEverything(world, ["ollm/auto", "far"]);
    const contacts = await world.contacts();
    for (const each of ["engines", "lab", "kimi", "lookup shed.invalid", "lookup moon.invalid"])
      expect([...contacts]).toContain(each);
  });
});
