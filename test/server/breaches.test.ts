import { afterEach, describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { createFakeEngine, fakeModel } from "../support/fake-engine.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const minute = 60_000;

describe("a missed threshold", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  /** URIs of the resources that changed. */
  const changed = () =>
    connection?.received.flatMap((message) =>
      "method" in message && message.method === "notifications/resources/updated"
        ? [String(message.params?.["uri"])]
        : [],
    ) ?? [];

  async function warnings(): Promise<unknown> {
    const answer = await connection?.call("system_status");
    return (answer?.structuredContent as { warnings?: unknown } | undefined)?.warnings;
  }

  async function resource(uri: string): Promise<Record<string, unknown>> {
    const { contents = [] } = (await connection?.client.readResource({ uri })) ?? {};
    return JSON.parse((contents[0] as { text: string }).text) as Record<string, unknown>;
  }

  it("is a warning and tells the subscribers, and so is its end", async () => {
    let nowMs = Date.UTC(2026, 10, 23);
    let firstTokenMs = 2_400;
    const engine = createFakeEngine("ollama", [fakeModel("a:1b", 1e9)]);
    engine.answer = () => Promise.resolve({ firstTokenMs });
    const settings = { profiles: { general: { maxLatencyMs: 1_000 } } };
    const { orchestrator, generate, caller } = createTestOrchestrator([engine], { settings, now: () => nowMs });
    connection = await connectMemoryClient(orchestrator, { clientName: "claude-code" });
    const uris = ["ollm://metrics", "ollm://status/ram"];
    for (const uri of uris) await connection.client.subscribeResource({ uri });
    // A subscription begins a moment after it is confirmed.
    await eventually(async () => {
      await orchestrator.loadModel(caller(), { model: "a:1b" }).then((load) => load.follow(caller().signal));
      await orchestrator.unloadModels(caller(), "a:1b", () => undefined);
      expect(changed()).toContain("ollm://status/ram");
    });
    const begun = changed().length;
    const ask = async (times: number) => {
      for (let at = 0; at < times; at += 1) {
        nowMs += 1_000;
        await generate({ prompt: "Hi", profile: "general" });
      }
    };
    await ask(10);
    const text =
      "profile general: first token after 2.4 s (p95 of 10 requests), 1.0 s allowed: " +
      "a:1b takes 2.4 s to begin an answer on this machine. Name a model that is smaller in model (list_models shows them).";
    await eventually(async () => expect(await warnings()).toEqual([text]));
    await eventually(() => expect(changed().slice(begun)).toEqual(expect.arrayContaining(uris)));
    expect(await resource("ollm://status/ram")).toMatchObject({ warnings: [text] });
    const { advice } = await resource("ollm://metrics");
    expect(advice).toEqual([expect.objectContaining({ kind: "latency", subject: "general" })]);

    firstTokenMs = 200;
    await ask(20);
    await eventually(async () => expect(await warnings()).toHaveLength(1));
    nowMs += 6 * minute;
    const before = changed().length;
    expect(await warnings()).toBeUndefined();
    await eventually(() => expect(changed().slice(before)).toEqual(expect.arrayContaining(uris)));
    expect(await resource("ollm://status/ram")).not.toHaveProperty("warnings");
    await orchestrator.close();
  });
});
