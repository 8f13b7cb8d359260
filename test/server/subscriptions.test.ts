import { afterEach, describe, expect, it } from "vitest";
import { UnknownModel } from "../../src/orchestrator/api/errors.ts";
import type { Change, Orchestrator } from "../../src/orchestrator/api/facade.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

/** An orchestrator whose changes the test makes, and that tells who listens to it and what is looked at. */
function changingOrchestrator(replace: Partial<Orchestrator> = {}) {
  const listeners = new Set<(change: Change) => void>();
  const looks: string[] = [];
  const orchestrator = createFakeOrchestrator({
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    watch(what) {
      looks.push(what);
      return () => void looks.splice(looks.indexOf(what), 1);
    },
    ...replace,
  });
  return {
    orchestrator,
    listeners,
    looks,
    change: (change: Change) => listeners.forEach((listener) => listener(change)),
  };
}

const memory: Change = { kind: "memory" };
const models: Change = { kind: "models", isListChanged: false };
const modelsCame: Change = { kind: "models", isListChanged: true };
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Changes that reached the client: URIs, or `list`. */
function told({ received }: MemoryClient): string[] {
  return received.flatMap((message) => {
    if (!("method" in message)) return [];
    if (message.method === "notifications/resources/list_changed") return ["list"];
    return message.method === "notifications/resources/updated" ? [String(message.params?.["uri"])] : [];
  });
}

describe("subscriptions of the legacy era", () => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  it("tell a client of what it subscribed to, of nothing else, and of nothing once it has ended", async () => {
    const { orchestrator, change } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const { client } = connection;
    await client.subscribeResource({ uri: "ollm://status/ram" });
    await eventually(() => {
      change(memory);
      expect(told(connection)).toContain("ollm://status/ram");
    });
    await client.subscribeResource({ uri: "ollm://models/smollm2%3A135m" });
    const before = told(connection).length;
    change(models);
    await turn();
    expect(told(connection).slice(before)).toEqual(["ollm://models/smollm2%3A135m"]);
    await client.unsubscribeResource({ uri: "ollm://models/smollm2%3A135m" });
    await client.unsubscribeResource({ uri: "ollm://status/ram" });
    change(models);
    change(memory);
    await turn();
    expect(told(connection)).toHaveLength(before + 1);
  });

  it("of a job follow only that job", async () => {
    const { orchestrator, change } = changingOrchestrator();
    const jobs = { ...orchestrator.jobs, get: async () => ({ id: "pull-1" }) as never };
    connection = await connectMemoryClient({ ...orchestrator, jobs });
    await connection.client.subscribeResource({ uri: "ollm://jobs/pull-1" });
    await eventually(() => {
      change({ kind: "job", id: "pull-2", isListChanged: false });
      change({ kind: "job", id: "pull-1", isListChanged: false });
      expect(told(connection)).toContain("ollm://jobs/pull-1");
    });
    expect(told(connection)).not.toContain("ollm://jobs/pull-2");
  });

  it("look at the memory only while it is subscribed to, once however often, and never after the connection", async () => {
    const { orchestrator, looks, listeners } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const { client } = connection;
    await client.readResource({ uri: "ollm://status/ram" });
    expect(looks).toEqual([]);
    await client.subscribeResource({ uri: "ollm://status/ram" });
    await client.subscribeResource({ uri: "ollm://status/ram" });
    await eventually(() => expect(looks).toEqual(["memory"]));
    await client.unsubscribeResource({ uri: "ollm://status/ram" });
    expect(looks).toEqual([]);
    await client.subscribeResource({ uri: "ollm://models" });
    expect(looks).toEqual(["models"]);
    await connection.close();
    await eventually(() => expect(looks).toEqual([]));
    expect(listeners.size).toBe(0);
  });

  it.each(["ollm://nothing", "ollm://models/gone", "file:///etc/passwd"])("refuse %s", async (uri) => {
    const { orchestrator, looks } = changingOrchestrator({
      describeModel: async () => {
        throw new UnknownModel("no model gone");
      },
    });
    connection = await connectMemoryClient(orchestrator);
    await expect(connection.client.subscribeResource({ uri })).rejects.toMatchObject({ code: -32602 });
    expect(looks).toEqual([]);
  });

  it("are bounded", async () => {
    const { orchestrator } = changingOrchestrator({ describeModel: createFakeOrchestrator().describeModel });
    const described = await orchestrator.describeModel({} as never, "smollm2:135m");
    connection = await connectMemoryClient({ ...orchestrator, describeModel: async () => described });
    for (let index = 0; index < 1_000; index += 1) {
      await connection.client.subscribeResource({ uri: `ollm://models/m${index}` });
    }
    await expect(connection.client.subscribeResource({ uri: "ollm://models/more" })).rejects.toThrow("1000");
    await connection.client.unsubscribeResource({ uri: "ollm://models/m0" });
    await connection.client.subscribeResource({ uri: "ollm://models/more" });
  });

  it("are not needed to hear that models came or went, once the orchestrator was used", async () => {
    const { orchestrator, change, listeners } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    expect(listeners.size).toBe(0);
    await connection.client.listResources();
    change(models);
    change(memory);
    change(modelsCame);
    await turn();
    expect(told(connection)).toEqual(["list"]);
  });
});

describe("listen streams of the modern era", () => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  it("bring what was asked for and nothing else, until they end", async () => {
    const { orchestrator, change, looks } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era: "modern" });
    await connection.client.listResources();
    change(modelsCame);
    await turn();
    expect(told(connection)).toEqual([]);

    const stream = await connection.client.listen({ resourceSubscriptions: ["ollm://status/ram"] });
    await eventually(() => expect(looks).toEqual(["memory"]));
    change(memory);
    change(modelsCame);
    await turn();
    expect(told(connection)).toEqual(["ollm://status/ram"]);

    await stream.close();
    await eventually(() => expect(looks).toEqual([]));
    change(memory);
    await turn();
    expect(told(connection)).toEqual(["ollm://status/ram"]);
  });

  it("bring changes of the list to those who asked for them, without any address", async () => {
    const { orchestrator, change, listeners, looks } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era: "modern" });
    await connection.client.listen({ resourcesListChanged: true });
    await eventually(() => expect(listeners.size).toBe(1));
    change(models);
    change(modelsCame);
    await turn();
    expect(told(connection)).toEqual(["list"]);
    expect(looks).toEqual([]);
  });

  it("leave nothing behind when the connection ends", async () => {
    const { orchestrator, listeners, looks } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era: "modern" });
    await connection.client.listen({ resourceSubscriptions: ["ollm://status/ram", "ollm://models"] });
    await eventually(() => expect(looks).toEqual(["memory", "models"]));
    await connection.close();
    await eventually(() => expect(looks).toEqual([]));
    expect(listeners.size).toBe(0);
  });
});

describe("a hundred connections that come and go", () => {
  it("leave no listener and no look behind", async () => {
    const { orchestrator, listeners, looks } = changingOrchestrator();
    for (let index = 0; index < 100; index += 1) {
      const connection = await connectMemoryClient(orchestrator);
      await connection.client.subscribeResource({ uri: "ollm://status/ram" });
      await connection.close();
    }
    await eventually(() => expect(listeners.size).toBe(0));
    expect(looks).toEqual([]);
  });
});
