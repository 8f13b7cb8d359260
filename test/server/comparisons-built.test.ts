import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { FakeOllamaOptions } from "../support/fake-ollama.ts";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { connectStdio, type ClientKind, type StdioClient } from "../support/stdio-client.ts";

/** `count` pieces that differ, or they would be taken for a loop. */
const many = (count: number, piece: string): string =>
  Array.from({ length: count }, (_, index) => `${piece} ${index} `).join("");
const models = [
  { name: "llama3.2:3b", reply: "Short waves scatter more than long ones do." },
  { name: "qwen2.5:7b", reply: `Because of the air. ${many(120, "It scatters blue light")}` },
  { name: "broken:1b", loadError: "llama-server process has terminated: signal: killed" },
];
const prompt = "Write a TypeScript function that adds two numbers.";
const similar = "Write a TypeScript function that sorts a list.";

let home: DaemonHome;
const homes: DaemonHome[] = [];
const clients: StdioClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((each) => each.close().catch(() => undefined)));
  await Promise.all(homes.splice(0).map((each) => each.close()));
});

async function start(engine: FakeOllamaOptions = {}, environment: Record<string, string> = {}): Promise<void> {
  home = await makeDaemonHome(environment, { models, ...engine });
  homes.push(home);
}

async function connect(kind: ClientKind = "modern"): Promise<StdioClient> {
  const connected = await connectStdio(kind, home.environment, []);
  clients.push(connected);
  return connected;
}

interface Compared {
  readonly comparison_id: string;
  readonly job?: string;
  readonly results: readonly Record<string, unknown>[];
}

async function data<Data = Record<string, unknown>>(work: ReturnType<StdioClient["callTool"]>): Promise<Data> {
  const { structuredContent, content, isError } = await work;
  expect(isError, JSON.stringify(content)).not.toBe(true);
  return structuredContent as Data;
}

async function resource(from: StdioClient, id: string): Promise<Record<string, unknown>> {
  const { contents } = (await from.readResource(`ollm://comparisons/${id}`)) as { contents: { text: string }[] };
  return JSON.parse(contents[0]?.text ?? "") as Record<string, unknown>;
}

/** Names of the models that were sent a chat, in order. */
const asked = (of = home) =>
  of.ollama.requests.filter(({ path }) => path === "/api/chat").map(({ body }) => body["model"]);

describe.each<ClientKind>(["modern", "legacy", "sdk-1"])("a comparison for a %s client", (kind) => {
  it("shows who failed beside the others, whole as a resource; the pick is what routing takes until it is undone", async () => {
    await start();
    const client = await connect(kind);
    const compared = await data<Compared>(
      client.callTool("compare", { prompt, models: models.map(({ name }) => name) }),
    );
    expect(compared).toMatchObject({
      task: "code",
      resource: `ollm://comparisons/${compared.comparison_id}`,
      results: [
        { model: "llama3.2:3b", text: models[0]?.reply },
        { model: "qwen2.5:7b", is_cut: true },
        { model: "broken:1b", error: expect.stringContaining("terminated") },
      ],
    });
    const kept = await resource(client, compared.comparison_id);
    expect(kept).toMatchObject({ prompt, results: [{ engine: "ollama" }, { text: models[1]?.reply }, {}] });

    const before = await data(client.callTool("route_and_generate", { prompt: similar, explain: true }));
    const winner = before["model"] === "llama3.2:3b" ? "qwen2.5:7b" : "llama3.2:3b";
    const picked = await data(client.callTool("pick_winner", { comparison_id: compared.comparison_id, model: winner }));
    expect(picked).toMatchObject({ preferences: [{ task: "code", model: winner }] });
    expect(await resource(client, compared.comparison_id)).toMatchObject({ winner });
    const after = await data(client.callTool("route_and_generate", { prompt: similar, explain: true }));
    expect(after).toMatchObject({ model: winner, reason: expect.stringMatching(/picked by you in a comparison on 2/) });
    const poem = await data(
      client.callTool("route_and_generate", { prompt: "Write a poem about rain.", explain: true }),
    );
    expect(poem["reason"]).not.toContain("picked");

    const failed = await client.callTool("pick_winner", { comparison_id: compared.comparison_id, model: "broken:1b" });
    expect(failed).toMatchObject({ isError: true });
    const undone = await data(client.callTool("pick_winner", { action: "undo" }));
    expect(undone).toMatchObject({ preferences: [], undone: { task: "code", model: winner } });
    const again = await data(client.callTool("route_and_generate", { prompt: similar, explain: true }));
    expect(again["reason"]).not.toContain("picked");
  });

  it("that outlasts the client's patience is a job, which has the comparison", async () => {
    await start({ tokensPerSecond: 6 }, { OLLM_JOBS_PATIENCE: "1" });
    home.ollama.models.set("qwen2.5:7b", { name: "qwen2.5:7b", reply: "The sky is blue and the sea is green." });
    const client = await connect(kind);
    const { job, ...early } = await data<Compared>(
      client.callTool("compare", { prompt, models: ["llama3.2:3b", "qwen2.5:7b"] }),
    );
    expect(job).toMatch(/^compare-/);
    expect(early.results).toBeUndefined();
    let ended: Record<string, unknown> = {};
    await expect
      .poll(
        async () => {
          ended = await data(client.callTool("job", { action: "wait", job_id: job }));
          return ended["state"];
        },
        { timeout: 20_000 },
      )
      .toBe("succeeded");
    expect(ended).toMatchObject({
      result: { comparison_id: job, results: [{ model: "llama3.2:3b" }, { model: "qwen2.5:7b" }] },
    });
    expect(await resource(client, job ?? "")).toMatchObject({ id: job });
  });

  it("that is cancelled in the middle ends the answer under way, and asks and keeps nothing more", async () => {
    await start({ tokensPerSecond: 2 });
    const client = await connect(kind);
    const controller = new AbortController();
    const work = client.callTool(
      "compare",
      { prompt, models: ["llama3.2:3b", "qwen2.5:7b"] },
      () => undefined,
      controller.signal,
    );
    const settled = work.then(
      () => "answered",
      () => "cancelled",
    );
    const first = await home.ollama.request("/api/chat");
    controller.abort("enough");
    expect(await settled).toBe("cancelled");
    await first.closed;
    expect(first.wasCutByClient).toBe(true);
    const other = await connect("legacy");
    const running = async () => {
      const { jobs } = await data<{ jobs: { state: string }[] }>(other.callTool("job", { action: "list" }));
      return jobs.filter(({ state }) => state === "running");
    };
    await expect.poll(running).toEqual([]);
    expect(new Set(asked()).size).toBe(1);
    expect((await other.callTool("pick_winner", { model: "llama3.2:3b" })).isError).toBe(true);
  });
});

describe("what was compared and picked", () => {
  it("is there for another client, and after the daemon was killed", async () => {
    await start();
    const first = await connect();
    const names = ["llama3.2:3b", "qwen2.5:7b"];
    const { comparison_id: id } = await data<Compared>(first.callTool("compare", { prompt, models: names }));
    await data(first.callTool("pick_winner", { model: "qwen2.5:7b" }));
    process.kill(home.claim().pid, "SIGKILL");
    const second = await connect("legacy");
    expect(await resource(second, id)).toMatchObject({ id, winner: "qwen2.5:7b" });
    const routed = await data(second.callTool("route_and_generate", { prompt: similar, explain: true }));
    expect(routed).toMatchObject({ model: "qwen2.5:7b", reason: expect.stringContaining("picked by you") });
  });
});

describe("a generation of another client meanwhile", () => {
  it("marks the times as no measurement, and they are not what routing knows", async () => {
    await start({ tokensPerSecond: 80, parallel: 4 });
    // Longer than a comparison takes, however busy the machine: it is cancelled.
    home.ollama.models.set("other:3b", { name: "other:3b", reply: many(2_000, "word") });
    // Long enough for a speed to count.
    for (const name of ["llama3.2:3b", "qwen2.5:7b"]) home.ollama.models.set(name, { name, reply: many(40, "word") });
    const [busy, client] = [await connect(), await connect()];
    const controller = new AbortController();
    const other = busy
      .callTool("route_and_generate", { prompt: "Count.", model: "other:3b" }, () => undefined, controller.signal)
      .catch(() => "cancelled");
    const disturbing = await home.ollama.request("/api/chat");
    const names = ["llama3.2:3b", "qwen2.5:7b"];
    const disturbed = await data<Compared>(client.callTool("compare", { prompt, models: names }));
    expect(disturbed.results.map((result) => result["is_contended"])).toEqual([true, true]);
    const speeds = async () => {
      const { models: all } = await data<{ models: { name: string; tokens_per_second?: number }[] }>(
        client.callTool("list_models", { verbose: true }),
      );
      return all.filter(({ name }) => names.includes(name)).map(({ tokens_per_second }) => tokens_per_second);
    };
    expect(await speeds()).toEqual([undefined, undefined]);
    controller.abort("enough");
    await other;
    // The daemon hears of it on another connection than of the next comparison.
    await disturbing.closed;
    const quiet = await data<Compared>(client.callTool("compare", { prompt, models: names }));
    expect(quiet.results.map((result) => result["is_contended"])).toEqual([undefined, undefined]);
    expect(await speeds()).toEqual([expect.any(Number), expect.any(Number)]);
  });
});

describe("what can't be compared", () => {
  // A refusal leaves nothing behind: these tests share a daemon.
  let shared: DaemonHome;
  let client: StdioClient;
  beforeAll(async () => {
    shared = await makeDaemonHome({}, { models });
    client = await connectStdio("modern", shared.environment, []);
  });
  afterAll(async () => {
    await client.close();
    await shared.close();
  });

  it.each([
    ["one model", { models: ["llama3.2:3b"] }, "takes 2 to 5 models, not 1"],
    ["six", { models: ["a", "b", "c", "d", "e", "f"] }, "takes 2 to 5 models, not 6"],
    ["one twice", { models: ["llama3.2:3b", "llama3.2:3b"] }, "duplicate model"],
    ["an empty name", { models: ["llama3.2:3b", " "] }, "contains an empty name"],
    ["no runs", { runs: 0 }, "runs"],
    ["a hundred runs", { runs: 100 }, "runs"],
    ["nothing to do", { prompt: "" }, "prompt is empty"],
    ["a judge that isn't there", { judge: "lama3.2:3b" }, "llama3.2:3b"],
    ["models of which none is there", { models: ["lama3.2:3b", "kwen2.5:7b"] }, "nearest: llama3.2:3b"],
  ])("is refused, before any model is asked: %s", async (_what, input, told) => {
    const names = ["llama3.2:3b", "qwen2.5:7b"];
    const refused = await client.callTool("compare", { prompt, models: names, ...input }).catch((error: unknown) => ({
      isError: true,
      content: String(error),
    }));
    expect(refused.isError).toBe(true);
    expect(JSON.stringify(refused.content)).toContain(told);
    expect(asked(shared)).toEqual([]);
  });

  it("is a row of its own where others can be: a name with a slip, a remote model that privacy keeps out", async () => {
    await start();
    home.ollama.models.set("gpt-oss:120b-cloud", { name: "gpt-oss:120b-cloud", remoteHost: "https://ollama.com:443" });
    const other = await connect();
    const compared = await data<Compared>(
      other.callTool("compare", { prompt, models: ["lama3.2:3b", "gpt-oss:120b-cloud", "qwen2.5:7b"] }),
    );
    expect(compared.results).toMatchObject([
      { error: expect.stringContaining("nearest: llama3.2:3b") },
      { error: expect.stringContaining("local_only") },
      { model: "qwen2.5:7b", completion_tokens: expect.any(Number) },
    ]);
    expect(asked()).toEqual(["qwen2.5:7b"]);
  });

  it("with auto takes models that are there", async () => {
    await start();
    const other = await connect();
    const compared = await data<Compared>(other.callTool("compare", { prompt, models: "auto" }));
    expect(compared.results.length).toBeGreaterThanOrEqual(2);
  });
});
