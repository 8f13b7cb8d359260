import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startFakeOllama, type FakeOllama } from "../support/fake-ollama.ts";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { connectStdio, serverEnvironment, type ClientKind, type StdioClient } from "../support/stdio-client.ts";

let folder = "";
let ollama: FakeOllama;
let client: StdioClient | undefined;
const kinds: readonly ClientKind[] = ["modern", "legacy", "sdk-1"];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-jobs-"));
});
afterEach(async () => {
  await client?.close();
  await ollama.close();
  await rm(folder, { recursive: true, force: true });
});

const environment = (): Record<string, string> =>
  serverEnvironment({
    HOME: folder,
    OLLM_HOME: path.join(folder, "home"),
    OLLM_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
    OLLM_JOBS_PATIENCE: "1",
  });
const files = () => readdir(path.join(folder, "home", "jobs")).catch(() => []);

describe.each(kinds)("a long generation for a %s client", (kind) => {
  it("is answered with a job, and the job has the answer", async () => {
    const reply = "The sky is blue and the sea is green and the rest is grey.";
    ollama = await startFakeOllama({ models: [{ name: "smollm2:135m", reply }] });
    let goOn = (): void => undefined;
    ollama.misbehave({ kind: "hang", afterLines: 3, until: new Promise<void>((resolve) => (goOn = resolve)) });
    client = await connectStdio(kind, environment());
    const answer = await client.callTool("route_and_generate", { prompt: "Hi" }, () => undefined);
    const { job } = answer.structuredContent as { job: string };
    expect(job).toMatch(/^generate-[0-9a-f]{8}$/);
    const ask = async (action: string) =>
      (await client?.callTool("job", { action, job_id: job }))?.structuredContent as { state: string };
    await expect
      .poll(() => ask("status"))
      .toMatchObject({ state: "running", partial_text: expect.stringMatching(/^The sky/) });
    // A wait ends with the client's patience.
    expect(await ask("wait")).toMatchObject({ state: "running" });
    goOn();
    let ended: unknown;
    await expect.poll(async () => (ended = await ask("wait"))).toMatchObject({ state: "succeeded" });
    expect(ended).toMatchObject({ result: { text: reply, model: "smollm2:135m" } });
    // The last write of the record ends a moment after the answer.
    await expect.poll(files).toEqual([`${job}.json`]);
  });
});

describe("a job", () => {
  let fixture: DaemonHome;
  const clients: StdioClient[] = [];
  beforeEach(async () => {
    fixture = await makeDaemonHome({ OLLM_JOBS_PATIENCE: "1" });
    ollama = fixture.ollama;
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((each) => each.close().catch(() => undefined)));
    await fixture.close();
  });
  const connect = async (): Promise<StdioClient> => {
    const connected = await connectStdio("legacy", fixture.environment, []);
    clients.push(connected);
    return connected;
  };

  it("outlives the client that began it, and every other client of the home can ask for it", async () => {
    // Before the answer and before each word of it: some two or three seconds.
    ollama.misbehave({ kind: "slow", delayMs: 500 });
    const first = await connect();
    const answer = await first.callTool("route_and_generate", { prompt: "Hi" });
    const { job } = answer.structuredContent as { job?: string };
    expect(job).toMatch(/^generate-/);
    process.kill(first.pid, "SIGKILL");
    const second = await connect();
    await expect
      .poll(async () => (await second.callTool("job", { action: "wait", job_id: job })).structuredContent, {
        timeout: 20_000,
      })
      .toMatchObject({ state: "succeeded", result: { text: "The sky is blue." } });
  });
});

describe("a pull", () => {
  it("continues under the same id with the next daemon of the home when this one is killed", async () => {
    const registry = [{ name: "smollm2:135m", sizeBytes: 100_000_000 }];
    ollama = await startFakeOllama({ models: [], registry, pullBytesPerSecond: 1_000_000 });
    client = await connectStdio("modern", environment());
    const answer = await client.callTool("pull_model", { model: "smollm2:135m" });
    const { job } = answer.structuredContent as { job: string };
    await expect.poll(files).toEqual([`${job}.json`]);
    process.kill(client.pid, "SIGKILL");
    await client.close();

    client = await connectStdio("modern", environment());
    const list = await client.callTool("job", { action: "list" });
    expect(list.structuredContent).toMatchObject({ jobs: [{ job, state: "running", title: "pull smollm2:135m" }] });
    const cancelled = await client.callTool("job", { action: "cancel", job_id: job });
    expect(cancelled.structuredContent).toMatchObject({ job, state: "cancelled" });
    await client.close();

    client = await connectStdio("modern", environment());
    const again = await client.callTool("job", { action: "list" });
    expect(again.structuredContent).toMatchObject({ jobs: [{ job, state: "cancelled" }] });
  });
});
