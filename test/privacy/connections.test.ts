import { type ChildProcess, spawn } from "node:child_process";
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { newestClaim } from "../../src/ipc/claim-record.ts";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { type FakeOllama, startFakeOllama } from "../support/fake-ollama.ts";
import { type FakeOpenAi, type OpenAiFault, startFakeOpenAi } from "../support/fake-openai.ts";
import { type ProjectClient, startProjectClient } from "../support/project-client.ts";
import { builtCommand } from "../support/stdio-client.ts";

/*
 * The built daemon, and what it starts, records each connection and each lookup (recorder.mjs). 127.0.0.1 is this house; what
 * is not local is at 127.0.0.2, and a name that no resolver has. macOS has no such address.
 */
const isElsewhereThere = process.platform === "linux";
const cloudName = "cloud.invalid";
const elsewhere = "127.0.0.2";

interface Contact {
  readonly kind: "start" | "connect" | "udp" | "lookup";
  readonly host: string;
}

/** The servers of one test. */
let ollama: FakeOllama;
let house: FakeOpenAi;
let cloud: FakeOpenAi;
let elsewherePort = 0;
let gate: Server;
const sockets = new Set<Socket>();
/** The number of a test: its engines and its texts are new to the daemon. */
let round = 0;
/** The rows of the record that earlier tests wrote. */
let earlierContacts = 0;

type Privacy = "local_only" | "allow_remote";

/** A daemon that is recorded, and a client of it. Tests share it: each gives it servers of its own. */
interface Recorded {
  readonly home: DaemonHome;
  readonly client: ProjectClient;
  readonly process: ChildProcess;
}
const recorded = new Map<Privacy, Promise<Recorded>>();

/** Passes connections to 127.0.0.2 on to the fake cloud. */
async function openElsewhere(target: FakeOpenAi): Promise<void> {
  gate = createServer((socket) => {
    const onward = connect(Number(new URL(target.url).port), "127.0.0.1");
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => gate.listen(0, elsewhere, resolve));
  elsewherePort = (gate.address() as AddressInfo).port;
}

const recordFile = (home: DaemonHome) => path.join(home.folder, "contacts.log");

async function contacts({ home }: Recorded): Promise<readonly Contact[]> {
  const text = await readFile(recordFile(home), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Contact);
}

/** Hosts of all connections and lookups of this test. */
async function hosts(of: Recorded): Promise<readonly string[]> {
  const found = (await contacts(of)).slice(earlierContacts).filter(({ kind }) => kind !== "start");
  return [...new Set(found.map(({ host }) => host))].toSorted();
}

/** Writes settings with the servers of this test. */
async function configure(home: DaemonHome, privacy: Privacy): Promise<void> {
  const config = {
    privacy,
    providers: {
      ollama: { host: ollama.url },
      openai: [
        { id: `house${round}`, kind: "cluster", baseUrl: house.baseUrl, trust: "local" },
        { id: `lab${round}`, kind: "cluster", baseUrl: `http://${elsewhere}:${elsewherePort}/v1`, trust: "remote" },
        { id: `kimi${round}`, kind: "cloud", baseUrl: `https://${cloudName}/v1` },
      ],
    },
    network: { allowedHosts: [cloudName, `${elsewhere}:${elsewherePort}`] },
  };
  // JSON is YAML.
  await writeFile(path.join(home.home, "config.yaml"), JSON.stringify(config), { mode: 0o600 });
}

const projectOf = ({ folder }: DaemonHome) => path.join(folder, "project");

/** A client of a daemon; its own privacy may differ from the setting. */
function connectTo(home: DaemonHome, environment: Record<string, string> = {}): Promise<ProjectClient> {
  const folder = projectOf(home);
  return startProjectClient({ env: { ...home.environment, ...environment }, cwd: folder, roots: [folder] });
}

async function startRecorded(privacy: Privacy): Promise<Recorded> {
  const recorder = pathToFileURL(fileURLToPath(new URL("recorder.mjs", import.meta.url))).href;
  // The settings name the Ollama server, so that each test has its own.
  const home = await makeDaemonHome({ OLLM_HOST: "" });
  const folder = projectOf(home);
  await mkdir(folder, { recursive: true });
  await mkdir(home.home, { recursive: true, mode: 0o700 });
  await writeFile(path.join(folder, "notes.txt"), "the secret is 4711");
  await writeFile(path.join(folder, "photo.png"), Buffer.from(tinyPng, "base64"));
  await configure(home, privacy);
  // A daemon that a front starts gets no NODE_OPTIONS.
  const server = spawn(process.execPath, [builtCommand, "daemon", "run"], {
    env: { ...home.environment, NODE_OPTIONS: `--import=${recorder}`, RECORDER_FILE: recordFile(home) },
    cwd: home.folder,
    stdio: "ignore",
  });
  await home.until("the daemon has claimed its home", () => newestClaim(home.home)?.pid === server.pid);
  return { home, client: await connectTo(home), process: server };
}

interface Status {
  readonly engines: readonly { readonly id: string; readonly health: string }[];
  readonly remote_requests: number;
}

/** The daemon of a privacy, which has no other servers than those of this test. */
async function start(privacy: Privacy): Promise<Recorded> {
  const known = recorded.get(privacy);
  if (known !== undefined) await configure((await known).home, privacy);
  const starting = known ?? startRecorded(privacy);
  recorded.set(privacy, starting);
  const started = await starting;
  await started.home.until("the daemon uses the servers of this test", async () => {
    const { engines } = (await started.client.data("system_status")) as unknown as Status;
    return engines.some(({ id }) => id === `house${round}`);
  });
  earlierContacts = known === undefined ? 0 : (await contacts(started)).length;
  return started;
}

const tinyPng = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Everything that makes the daemon ask an engine something. Errors are answers, too. */
async function askEverything(asking: ProjectClient): Promise<void> {
  const prompt = `say hello in one word (${round})`;
  const calls: readonly (readonly [string, Record<string, unknown>])[] = [
    ["list_models", {}],
    ["system_status", {}],
    ["smart_load", { model: "nomic-embed-text" }],
    ["remember", { key: "pet", value: `the cat is called Miau ${round}`, pinned: true }],
    ["remember", { key: "database", value: `Postgres ${round} in the cellar` }],
    ["recall", { query: `which animal lives at number ${round}` }],
    ["route_and_generate", { prompt, explain: true }],
    ["route_and_generate", { prompt, dry_run: true }],
    ["route_and_generate", { prompt, privacy: "allow_remote" }],
    ["route_and_generate", { prompt, model: "far" }],
    ["route_and_generate", { prompt, model: "far", dry_run: true }],
    ["route_and_generate", { prompt, files: ["notes.txt"] }],
    ["route_and_generate", { prompt, images: ["photo.png"] }],
    ["route_and_generate", { prompt, continue_id: "new" }],
    ["smart_load", { model: "far", dry_run: true }],
    ["compare", { prompt, models: "auto", judge: "auto" }],
    ["compare", { prompt, models: ["smollm2", "far"] }],
    ["list_templates", {}],
    ["manage_model", { action: "show", model: "far" }],
    ["route_and_generate", { template: "classify", variables: { text: "far away", labels: "near, far" } }],
  ];
  for (const [name, input] of calls) await asking.call(name, input).catch(() => undefined);
  for (const uri of ["ollm://models", "ollm://status", "ollm://decisions"])
    await asking.sdkClient.readResource({ uri }).catch(() => undefined);
}

beforeEach(async () => {
  round += 1;
  [house, cloud, ollama] = await Promise.all([
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "smollm2" }] }),
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "far" }, { id: "smollm2" }] }),
    startFakeOllama({
      tokensPerSecond: 0,
      models: [
        { name: "smollm2:135m", reply: "The sky is blue." },
        { name: "nomic-embed-text", capabilities: ["embedding"] },
        { name: "llava:7b", capabilities: ["completion", "vision"] },
      ],
    }),
  ]);
  await openElsewhere(cloud);
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await Promise.all([house.close(), cloud.close(), ollama.close(), new Promise((resolve) => gate.close(resolve))]);
});

afterAll(async () => {
  for (const starting of recorded.values()) {
    const { home, client, process: server } = await starting;
    await client.close();
    await home.close();
    server.kill();
  }
});

const always = { on: "*", times: Number.POSITIVE_INFINITY };
const redirect = () => ({
  kind: "status" as const,
  status: 307,
  headers: { location: `http://${elsewhere}:${elsewherePort}/v1/chat/completions` },
});

/** What happens to the servers of the house: each makes another engine attractive. */
const failures: Readonly<Record<string, (() => OpenAiFault) | (() => Promise<unknown>)>> = {
  "that works": () => Promise.resolve(),
  "that refuses connections, as Ollama does": () => Promise.all([house.stop(), ollama.close()]),
  "that refuses the key": () => ({ kind: "status", status: 401, ...always }),
  "whose quota is used up": () => ({ kind: "status", status: 402, headers: { "retry-after": "60" }, ...always }),
  "that is busy": () => ({ kind: "status", status: 429, headers: { "retry-after": "60" }, ...always }),
  "that fails": () => ({ kind: "status", status: 500, ...always }),
  "that closes connections before the first token": () => ({ kind: "cut", times: Number.POSITIVE_INFINITY }),
  "that closes connections in the middle of answers": () => ({
    kind: "cut",
    afterTokens: 2,
    times: Number.POSITIVE_INFINITY,
  }),
  "that sends garbage": () => ({ kind: "garbage", body: "data: {x", times: Number.POSITIVE_INFINITY }),
  "that redirects its answers to another host": () => ({ ...redirect(), times: Number.POSITIVE_INFINITY }),
  "that redirects everything to another host": () => ({ ...redirect(), ...always }),
  "whose models were removed": () => Promise.resolve(house.models.clear()),
};

describe.skipIf(!isElsewhereThere)("with local_only, beside a server of the house", () => {
  it.each(Object.entries(failures))("%s: nothing goes to a host that is not local", async (_, failure) => {
    const asked = await start("local_only");
    const { client } = asked;
    await client.call("list_models");
    const { remote_requests: promptsBefore } = (await client.data("system_status")) as unknown as Status;
    const fault = failure();
    if (fault instanceof Promise) await fault;
    else house.misbehave(fault);
    await askEverything(client);
    // The daemon was recorded, and asked the servers of this test; without that, the rest would prove nothing.
    expect((await contacts(asked))[0]?.kind).toBe("start");
    expect(house.requests.length).toBeGreaterThan(0);
    expect(ollama.requests.length).toBeGreaterThan(0);
    expect(await hosts(asked)).toEqual(["127.0.0.1"]);
    expect(cloud.requests).toEqual([]);
    const { engines, remote_requests: prompts } = (await client.data("system_status")) as unknown as Status;
    expect(engines.filter(({ health }) => health === "not_contacted").map(({ id }) => id)).toEqual([
      `lab${round}`,
      `kimi${round}`,
    ]);
    expect(prompts).toBe(promptsBefore);
  });
});

it("the calls reach the servers of the house: prompts, files, images, memories, judges", async () => {
  const { client } = await start("local_only");
  await askEverything(client);
  const sent = JSON.stringify([...house.requests, ...ollama.requests].map(({ path: at, body }) => [at, body]));
  for (const part of ["say hello in one word", "the secret is 4711", "Miau", "near, far", tinyPng.slice(0, 40)])
    expect(sent, part).toContain(part);
});

describe.skipIf(!isElsewhereThere)("the recorder", () => {
  it("sees connections and lookups with allow_remote", async () => {
    const asked = await start("allow_remote");
    const { client } = asked;
    await client.call("list_models");
    await Promise.all([house.stop(), ollama.close()]);
    await askEverything(client);
    expect(await hosts(asked)).toEqual(["127.0.0.1", elsewhere, cloudName]);
    expect(cloud.requests.length).toBeGreaterThan(0);
    const { text, where } = await client.data("route_and_generate", { prompt: "hello", model: "far" });
    expect([typeof text, where]).toEqual(["string", `sent to lab${round}`]);
  });

  it("sees the calls of a client that allows it", async () => {
    const asked = await start("local_only");
    const allowing = await connectTo(asked.home, { OLLM_PRIVACY: "allow_remote" });
    onTestFinished(() => allowing.close());
    expect(await allowing.data("route_and_generate", { prompt: "hello", model: "far" })).toMatchObject({
      where: `sent to lab${round}`,
    });
    expect(await hosts(asked)).toContain(elsewhere);
  });
});
