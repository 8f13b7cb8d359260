import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { toolEntry } from "../../src/server/mcp/handle-tools.ts";
import { defaultTools } from "../../src/server/call/offered-tools.ts";
import { tools as definitions } from "../../src/tools/index.ts";
import type { FakeOllama } from "../support/fake-ollama.ts";
import type { ClientKind } from "../support/stdio-client.ts";
import { type ContractClient, type Reach, connectContractClient } from "./contract-client.ts";

export interface TransportUnderTest {
  readonly kind: ClientKind;
  readonly ollama: () => FakeOllama;
  readonly reach: () => Reach;
  /** What the protocol's version must be; undefined where the client keeps it to itself. */
  readonly protocolVersion: string | undefined;
}

const model = "smollm2:135m";

/** What a client can rely on, whatever it connects over. The fake engine behind it has `smollm2:135m`. */
export function describeTransportContract({ kind, ollama, reach, protocolVersion }: TransportUnderTest): void {
  let client: ContractClient;
  let questions: string[] = [];
  let isAgreed = false;

  beforeAll(async () => {
    client = await connectContractClient(kind, reach(), (message) => {
      questions.push(message);
      return isAgreed ? { action: "accept", content: { confirm: true } } : { action: "decline" };
    });
  });
  afterAll(() => client.close());
  beforeEach(() => {
    ollama().reset();
    ollama().models.set(model, { name: model, reply: "The sky is blue." });
    ollama().models.set("spare:1b", { name: "spare:1b" });
    questions = [];
    isAgreed = false;
  });

  it("is greeted by name, in the client's version of the protocol", () => {
    expect(client.serverName()).toBe("ollm-mcp");
    expect(client.protocolVersion()).toBe(protocolVersion);
  });

  it("lists the same tools as over every other transport", async () => {
    const listed = await client.listTools();
    const shown = (entry: object) => {
      const { name, title, description, inputSchema, annotations } = entry as Record<string, unknown>;
      return JSON.parse(JSON.stringify({ name, title, description, inputSchema, annotations })) as object;
    };
    const { names } = defaultTools();
    const offered = definitions.filter(({ name }) => names.includes(name));
    expect(listed.map(shown)).toEqual(offered.map(toolEntry).map(shown));
  });

  it("gets progress, then a structured answer with its text", async () => {
    const notes: string[] = [];
    const answer = await client.callTool(
      "route_and_generate",
      { prompt: "What colour is the sky?", model },
      { onProgress: (message) => notes.push(message) },
    );
    expect(answer.isError ?? false).toBe(false);
    expect(answer.structuredContent).toEqual({ text: "The sky is blue.", model });
    expect(JSON.stringify(answer.content)).toContain("The sky is blue.");
    expect(notes.length).toBeGreaterThan(0);
  });

  it("gets a failure as a result with a next step", async () => {
    const answer = await client.callTool("route_and_generate", { prompt: "Hi", model: "nothing-like-it:1b" });
    expect(answer.isError).toBe(true);
    expect(answer.structuredContent).toBeUndefined();
    expect(JSON.stringify(answer.content)).toContain("nothing-like-it");
  });

  it("has wrong input refused as a result, and an unknown tool as an error", async () => {
    expect((await client.callTool("smart_load", { modle: "x" })).isError).toBe(true);
    await expect(client.callTool("no_such_tool", {})).rejects.toThrow(/no_such_tool/);
  });

  it("stops the engine when it cancels", async () => {
    ollama().misbehave({ kind: "hang", afterLines: 1 });
    const controller = new AbortController();
    const call = client.callTool("route_and_generate", { prompt: "Hi", model }, { signal: controller.signal });
    const failed = expect(call).rejects.toThrow();
    const request = await ollama().request("/api/chat");
    controller.abort();
    await failed;
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
  });

  it("is asked before a model is deleted, and has nothing deleted when its user declines", async () => {
    const declined = await client.callTool("manage_model", { action: "delete", model: "spare:1b" });
    expect(declined.isError).toBe(true);
    expect(questions).toHaveLength(1);
    expect(ollama().models.has("spare:1b")).toBe(true);
    isAgreed = true;
    const agreed = await client.callTool("manage_model", { action: "delete", model: "spare:1b" });
    expect(agreed.isError ?? false).toBe(false);
    expect(questions).toHaveLength(2);
    expect(ollama().models.has("spare:1b")).toBe(false);
  });

  it("reads resources", async () => {
    const status = JSON.parse(await client.readResource("ollm://status/ram")) as { total_bytes: number };
    expect(status.total_bytes).toBeGreaterThan(0);
    await expect(client.readResource("ollm://nowhere")).rejects.toThrow();
  });

  it("is notified when a resource that it watches changes", async () => {
    const told: string[] = [];
    await client.subscribe("ollm://models", (uri) => told.push(uri));
    isAgreed = true;
    await client.callTool("manage_model", { action: "delete", model: "spare:1b" });
    await expect.poll(() => told, { timeout: 10_000 }).toContain("ollm://models");
    expect(new Set(told)).toEqual(new Set(["ollm://models"]));
  });

  it("has calls answered side by side, each with its own answer", async () => {
    const names = ["a", "b", "c", "d", "e", "f"];
    const answers = await Promise.all(
      names.map((name) => client.callTool("manage_model", { action: "show", model: `no-such-${name}` })),
    );
    for (const [index, name] of names.entries()) {
      expect(JSON.stringify(answers[index]?.content)).toContain(`no-such-${name}`);
    }
  });

  it("ends its generation when it goes", async () => {
    ollama().misbehave({ kind: "hang", afterLines: 1 });
    const going = await connectContractClient(kind, reach());
    const call = going.callTool("route_and_generate", { prompt: "Hi", model });
    call.catch(() => undefined);
    const request = await ollama().request("/api/chat");
    await going.close();
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
  });
}
