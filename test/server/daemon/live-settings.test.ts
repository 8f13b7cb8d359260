import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { daemonStatus } from "../../../src/cli/commands/daemon.ts";
import { startFakeOllama, type FakeOllama } from "../../support/fake-ollama.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { connectStdio, type StdioClient } from "../../support/stdio-client.ts";

const model = { name: "smollm2:135m", reply: "one two three four five six seven eight nine ten" };
/** Half a second for each answer, and two at a time. */
const slow = { models: [model], tokensPerSecond: 20, parallel: 2 };

let fixture: DaemonHome;
let config: string;
const clients: StdioClient[] = [];
const others: FakeOllama[] = [];

beforeEach(async () => {
  // Nothing that the file is to change is fixed by a variable.
  fixture = await makeDaemonHome({ OLLM_HOST: "", OLLM_MEMORY_AVAILABLE_BYTES: "" }, slow);
  config = path.join(fixture.home, "config.yaml");
  await mkdir(fixture.home, { recursive: true });
  await write({});
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)));
  await Promise.all(others.splice(0).map((other) => other.close()));
  await fixture.close();
});

function lines({ host = fixture.ollama.url, available = 16e9, more = "" }): string {
  return `providers: {ollama: {host: "${host}"}}\nmemory: {availableBytes: ${available}}\n${more}`;
}

/** As an editor does: another file takes its fixture. */
async function write(given: Parameters<typeof lines>[0] | string): Promise<void> {
  await writeFile(`${config}.new`, typeof given === "string" ? given : lines(given));
  await rename(`${config}.new`, config);
}

async function front(): Promise<StdioClient> {
  const client = await connectStdio("legacy", fixture.environment, []);
  clients.push(client);
  return client;
}

type Answer = Awaited<ReturnType<StdioClient["callTool"]>>;
const textOf = (answer: Answer) => (answer.structuredContent as { text?: string } | undefined)?.text;

async function warnings(client: StdioClient): Promise<string> {
  const { structuredContent } = await client.callTool("system_status", {});
  return ((structuredContent as { warnings?: string[] }).warnings ?? []).join("\n");
}

/** Eight answers, four of each front, that are all under way when it resolves, and end after `goOn`. */
async function eightUnderWay(): Promise<{ readonly all: Promise<readonly Answer[]>; readonly goOn: () => void }> {
  let goOn = (): void => undefined;
  const until = new Promise<void>((resolve) => (goOn = resolve));
  fixture.ollama.misbehave({ kind: "hang", times: 8, until });
  const fronts = [await front(), await front()];
  const busy = async () => {
    const { structuredContent } = (await fronts[0]?.callTool("system_status", {})) ?? {};
    const { queue = [] } = structuredContent as { queue?: { running: number; waiting: number }[] };
    return queue.reduce((sum, { running, waiting }) => sum + running + waiting, 0);
  };
  const calls = fronts.flatMap((client) =>
    Array.from({ length: 4 }, () => client.callTool("route_and_generate", { prompt: "count" })),
  );
  const all = Promise.all(calls);
  all.catch(() => undefined);
  await fixture.until("eight answers under way", async () => (await busy()) === 8);
  return { all, goOn };
}

describe("a change of config.yaml", () => {
  it("holds while eight generations run, and none of them is lost", async () => {
    const { all, goOn } = await eightUnderWay();
    const client = await front();
    expect(await warnings(client)).toContain("16.0 GB");
    const { pid } = fixture.claim();
    await write({ available: 12e9 });
    await fixture.until("the new setting", async () => (await warnings(client)).includes("12.0 GB"));
    goOn();
    const answers = await all;
    expect(answers.map(textOf)).toEqual(Array.from({ length: 8 }, () => model.reply));
    expect(fixture.claim().pid).toBe(pid);
  });

  it("of an engine's address under load loses no request: those under way end where they began", async () => {
    const other = await startFakeOllama({ models: [{ ...model, reply: "from elsewhere" }] });
    others.push(other);
    const { all, goOn } = await eightUnderWay();
    await write({ host: other.url });
    goOn();
    const client = await front();
    await fixture.until("the other engine", async () => {
      const answer = await client.callTool("route_and_generate", { prompt: "count" });
      expect(answer.isError).not.toBe(true);
      return textOf(answer) === "from elsewhere";
    });
    const answers = await all;
    expect(answers.filter(({ isError }) => isError === true)).toEqual([]);
    expect(answers.filter((answer) => textOf(answer) === model.reply)).toHaveLength(8);
    // What it had loaded there leaves with it.
    await fixture.until("an empty engine", () => fixture.ollama.residents.size === 0);
  });

  it("of an engine's address to one that can't be read keeps the engine, and says so", async () => {
    const client = await front();
    await client.callTool("list_models", {});
    await write({ host: "http://[nowhere" });
    await fixture.until("the warning", async () =>
      (await warnings(client)).includes("the previous settings stay in force"),
    );
    expect(textOf(await client.callTool("route_and_generate", { prompt: "count" }))).toBe(model.reply);
  });

  it("of the connections to an engine keeps its models loaded", async () => {
    const client = await front();
    await client.callTool("route_and_generate", { prompt: "count" });
    const limit = async () => {
      const [, found] =
        /connections: \d+ of (\d+)/.exec(JSON.stringify((await client.callTool("system_status", {})).content)) ?? [];
      return Number(found);
    };
    expect(await limit()).toBe(10);
    await write(`providers: {ollama: {host: "${fixture.ollama.url}", connections: 3}}\n`);
    await fixture.until("the new limit", async () => (await limit()) === 3);
    expect(textOf(await client.callTool("route_and_generate", { prompt: "count" }))).toBe(model.reply);
    expect(fixture.ollama.loads).toHaveLength(1);
  });

  it("takes an engine away and gives it back", async () => {
    const client = await front();
    const engines = async () => {
      const { structuredContent } = await client.callTool("system_status", {});
      return (structuredContent as { engines: { id: string }[] }).engines.map(({ id }) => id);
    };
    expect(await engines()).toEqual(["ollama"]);
    await write("providers: {ollama: {enabled: false}}\n");
    await fixture.until("no engine", async () => (await engines()).length === 0);
    await write({});
    await fixture.until("the engine", async () => (await engines()).length === 1);
    expect(textOf(await client.callTool("route_and_generate", { prompt: "count" }))).toBe(model.reply);
  });

  it("that is invalid changes nothing, and is reported everywhere until it is corrected", async () => {
    const client = await front();
    expect(await warnings(client)).not.toContain("config.yaml");
    await write(lines({ available: 12e9, more: "privacy: perhaps\n" }));
    await fixture.until("the warning", async () => (await warnings(client)).includes("config.yaml:3"));
    const told = await warnings(client);
    expect(told).toContain("the previous settings stay in force until it is corrected");
    expect(told).toContain("16.0 GB");
    // Old callers and new ones go on.
    expect(textOf(await client.callTool("route_and_generate", { prompt: "count" }))).toBe(model.reply);
    const newcomer = await front();
    expect(textOf(await newcomer.callTool("route_and_generate", { prompt: "count" }))).toBe(model.reply);
    expect((await fixture.status()).settingsProblem).toContain("config.yaml:3");
    const io = fixture.io();
    expect(await daemonStatus({}, io)).toBe(0);
    expect(io.out.join("")).toMatch(/settings: .*config\.yaml:3: privacy is "perhaps"/);
    expect(await fixture.daemonLog()).toContain("the previous settings stay in force");

    await write({ available: 12e9 });
    await fixture.until("the mended setting", async () => (await warnings(client)).includes("12.0 GB"));
    expect(await warnings(client)).not.toContain("config.yaml");
    expect(await fixture.status()).not.toHaveProperty("settingsProblem");
  });

  it("that removes it leaves the defaults", async () => {
    const client = await front();
    expect(await warnings(client)).toContain("16.0 GB");
    await rm(config);
    await fixture.until("the default", async () => !(await warnings(client)).includes("availableBytes"));
  });

  it("reaches a daemon whose file was broken when it started, without a call", async () => {
    await write("privacy: perhaps\n");
    const client = await front();
    const refused = await client.callTool("system_status", {});
    expect(refused.isError).toBe(true);
    expect(JSON.stringify(refused.content)).toContain("perhaps");
    expect((await fixture.status()).settingsProblem).toContain("calls are refused");
    await write({});
    await fixture.until("the mended file", async () => (await fixture.status()).settingsProblem === undefined);
    expect(await warnings(client)).toContain("16.0 GB");
  });

  it("pins and releases what a user keeps, and the daemon counts it", async () => {
    const client = await front();
    await client.callTool("smart_load", { model: model.name });
    const pinned = await client.callTool("manage_model", { action: "pin", model: model.name });
    expect(pinned.structuredContent).toEqual({ action: "pin", model: model.name });
    const status = await client.callTool("system_status", {});
    expect(status.structuredContent).toMatchObject({ loaded: [{ name: model.name, is_pinned: true }] });
    const sent = () =>
      fixture.ollama.requests.map(({ body }) => body["keep_alive"]).findLast((each) => each !== undefined);
    expect(sent()).toBe(-1);
    await client.callTool("manage_model", { action: "unpin", model: model.name });
    // Up to a twentieth longer, by what losing it would cost.
    expect(Number(sent())).toSatisfy((seconds: number) => seconds >= 900 && seconds <= 945, "about 900 s");
    await write({ more: "model: {keepAlive: {models: [smollm*]}}\n" });
    await fixture.until("the pin of the settings", () => sent() === -1);
  });
});
