import { type ChildProcess, spawn } from "node:child_process";
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newestClaim } from "../../src/ipc/claim-record.ts";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
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

let daemon: DaemonHome;
let house: FakeOpenAi;
let cloud: FakeOpenAi;
let elsewherePort = 0;
let gate: Server;
let client: ProjectClient | undefined;
let server: ChildProcess | undefined;
const sockets = new Set<Socket>();

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

const recordFile = () => path.join(daemon.folder, "contacts.log");

async function contacts(): Promise<readonly Contact[]> {
  const text = await readFile(recordFile(), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Contact);
}

/** Hosts of all connections and lookups. */
async function hosts(): Promise<readonly string[]> {
  const found = (await contacts()).filter(({ kind }) => kind !== "start");
  return [...new Set(found.map(({ host }) => host))].toSorted();
}

/** A configured home; the client's own privacy may differ from the setting. */
async function start(privacy: "local_only" | "allow_remote", environment: Record<string, string> = {}) {
  const recorder = pathToFileURL(fileURLToPath(new URL("recorder.mjs", import.meta.url))).href;
  const folder = path.join(daemon.folder, "project");
  await mkdir(folder, { recursive: true });
  await mkdir(daemon.home, { recursive: true, mode: 0o700 });
  await writeFile(path.join(folder, "notes.txt"), "the secret is 4711");
  await writeFile(path.join(folder, "photo.png"), Buffer.from(tinyPng, "base64"));
  const config = {
    privacy,
    providers: {
      openai: [
        { id: "house", kind: "cluster", baseUrl: house.baseUrl, trust: "local" },
        { id: "lab", kind: "cluster", baseUrl: `http://${elsewhere}:${elsewherePort}/v1`, trust: "remote" },
        { id: "kimi", kind: "cloud", baseUrl: `https://${cloudName}/v1` },
      ],
    },
    network: { allowedHosts: [cloudName, `${elsewhere}:${elsewherePort}`] },
  };
  // JSON is YAML.
  await writeFile(path.join(daemon.home, "config.yaml"), JSON.stringify(config), { mode: 0o600 });
  // A daemon that a front starts gets no NODE_OPTIONS.
  server = spawn(process.execPath, [builtCommand, "daemon", "run"], {
    env: { ...daemon.environment, NODE_OPTIONS: `--import=${recorder}`, RECORDER_FILE: recordFile() },
    cwd: daemon.folder,
    stdio: "ignore",
  });
  await daemon.until("the daemon has claimed its home", () => newestClaim(daemon.home)?.pid === server?.pid);
  client = await startProjectClient({ env: { ...daemon.environment, ...environment }, cwd: folder, roots: [folder] });
  return client;
}

const tinyPng = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Everything that makes the daemon ask an engine something. Errors are answers, too. */
async function askEverything(asking: ProjectClient): Promise<void> {
  const prompt = "say hello in one word";
  const calls: readonly (readonly [string, Record<string, unknown>])[] = [
    ["list_models", {}],
    ["system_status", {}],
    ["smart_load", { model: "nomic-embed-text" }],
    ["remember", { key: "pet", value: "the cat is called Miau", pinned: true }],
    ["remember", { key: "database", value: "Postgres 16 in the cellar" }],
    ["recall", { query: "which animal lives here" }],
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
    ["render_template", { name: "classify", variables: { text: "far away", labels: "near, far" }, generate: true }],
  ];
  for (const [name, input] of calls) await asking.call(name, input).catch(() => undefined);
  for (const uri of ["ollm://models", "ollm://status", "ollm://decisions"])
    await asking.sdkClient.readResource({ uri }).catch(() => undefined);
}

beforeEach(async () => {
  [house, cloud] = await Promise.all([
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "smollm2" }] }),
    startFakeOpenAi({ dialect: "vllm", models: [{ id: "far" }, { id: "smollm2" }] }),
  ]);
  await openElsewhere(cloud);
  daemon = await makeDaemonHome(
    {},
    {
      models: [
        { name: "smollm2:135m", reply: "The sky is blue." },
        { name: "nomic-embed-text", capabilities: ["embedding"] },
        { name: "llava:7b", capabilities: ["completion", "vision"] },
      ],
    },
  );
});

afterEach(async () => {
  await client?.close();
  client = undefined;
  await daemon.close();
  server?.kill();
  for (const socket of sockets) socket.destroy();
  await Promise.all([house.close(), cloud.close(), new Promise((resolve) => gate.close(resolve))]);
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
  "that refuses connections, as Ollama does": () => Promise.all([house.stop(), daemon.ollama.close()]),
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
    const asking = await start("local_only");
    await asking.call("list_models");
    const fault = failure();
    if (fault instanceof Promise) await fault;
    else house.misbehave(fault);
    await askEverything(asking);
    // The daemon was recorded; without that, the rest would prove nothing.
    expect((await contacts())[0]?.kind).toBe("start");
    expect(await hosts()).toEqual(["127.0.0.1"]);
    expect(cloud.requests).toEqual([]);
    const { engines, remote_requests: prompts } = (await asking.data("system_status")) as {
      readonly engines: readonly { readonly id: string; readonly health: string }[];
      readonly remote_requests: number;
    };
    expect(engines.filter(({ health }) => health === "not_contacted").map(({ id }) => id)).toEqual(["lab", "kimi"]);
    expect(prompts).toBe(0);
  });
});

it("the calls reach the servers of the house: prompts, files, images, memories, judges", async () => {
  const asking = await start("local_only");
  await askEverything(asking);
  const sent = JSON.stringify([...house.requests, ...daemon.ollama.requests].map(({ path: at, body }) => [at, body]));
  for (const part of ["say hello in one word", "the secret is 4711", "Miau", "near, far", tinyPng.slice(0, 40)])
    expect(sent, part).toContain(part);
});

describe.skipIf(!isElsewhereThere)("the recorder", () => {
  it("sees connections and lookups with allow_remote", async () => {
    const asking = await start("allow_remote");
    await asking.call("list_models");
    await Promise.all([house.stop(), daemon.ollama.close()]);
    await askEverything(asking);
    expect(await hosts()).toEqual(["127.0.0.1", elsewhere, cloudName]);
    expect(cloud.requests.length).toBeGreaterThan(0);
    const { text, where } = await asking.data("route_and_generate", { prompt: "hello", model: "far" });
    expect([typeof text, where]).toEqual(["string", "sent to lab"]);
  });

  it("sees the calls of a client that allows it", async () => {
    const asking = await start("local_only", { OLLM_PRIVACY: "allow_remote" });
    expect(await asking.data("route_and_generate", { prompt: "hello", model: "far" })).toMatchObject({
      where: "sent to lab",
    });
    expect(await hosts()).toContain(elsewhere);
  });
});
