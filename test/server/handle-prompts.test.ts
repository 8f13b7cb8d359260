import { afterEach, describe, expect, it } from "vitest";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import type { Change, Orchestrator } from "../../src/orchestrator/api/facade.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { fakeTemplates, greet } from "../support/fake-templates.ts";
import {
  connectMemoryClient,
  type Era,
  type MemoryClient,
  type MemoryClientOptions,
} from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe.each(eras)("prompts in the %s era", (era) => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  async function connect(
    options: MemoryClientOptions = {},
    templates = fakeTemplates(),
  ): Promise<MemoryClient["client"]> {
    connection = await connectMemoryClient(createFakeOrchestrator({ templates }), { era, ...options });
    return connection.client;
  }

  it("are one per template, with its variables as arguments", async () => {
    const { prompts } = await (await connect()).listPrompts();
    const [prompt] = prompts.filter(({ name }) => name === "greet");
    expect(prompt).toMatchObject({ description: "Greets a person." });
    expect(prompt?.arguments?.slice(0, 4)).toEqual([
      { name: "who", description: "The person to greet.", required: true },
      { name: "tone", description: "one of curt, warm, calm", required: true },
      { name: "words", description: "default: 20", required: false },
      { name: "profile", required: false },
    ]);
  });

  it("are listed a hundred at a time", async () => {
    const many = Array.from({ length: 150 }, (_unused, index) => ({ ...greet, name: `t${index}` }));
    const { prompts } = await (await connect({}, fakeTemplates(many))).listPrompts();
    const first = await connection.client.request({ method: "prompts/list" });
    expect(first.prompts).toHaveLength(100);
    const rest = await connection.client.request({
      method: "prompts/list",
      params: { cursor: first.nextCursor ?? "" },
    });
    const names = [...first.prompts, ...rest.prompts].map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(many.map(({ name }) => name)));
    expect(prompts.map(({ name }) => name)).toEqual(names);
  });

  it("have the template's system text before its text", async () => {
    const client = await connect();
    const { description, messages } = await client.getPrompt({
      name: "greet",
      arguments: { who: "Ada", tone: "warm" },
    });
    expect(description).toBe("Greets a person.");
    expect(messages).toEqual([
      { role: "user", content: { type: "text", text: 'You are polite.\n\n{"who":"Ada","tone":"warm"}' } },
    ]);
  });

  it("are found by an alias, which is not listed", async () => {
    const client = await connect({}, fakeTemplates([{ ...greet, aliases: ["hail"] }]));
    const { messages } = await client.getPrompt({ name: "hail", arguments: { who: "Ada", tone: "warm" } });
    expect(messages[0]?.content).toMatchObject({ text: expect.stringContaining("Ada") });
    const { prompts } = await client.listPrompts();
    expect(JSON.stringify(prompts)).not.toContain("hail");
  });

  it("ask for what is missing, an empty text included", async () => {
    const client = await connect({
      elicit: () => ({ action: "accept", content: { tone: "curt", who: "no", more: 1 } }),
    });
    const { messages } = await client.getPrompt({ name: "greet", arguments: { who: "Ada", tone: "" } });
    expect(connection.questions).toEqual(["Template greet needs tone."]);
    // Only to what was asked.
    expect(messages[0]?.content).toMatchObject({ text: 'You are polite.\n\n{"who":"Ada","tone":"curt"}' });
  });

  it("name what is missing, with its description, to a client that can't ask", async () => {
    const client = await connect();
    await expect(client.getPrompt({ name: "greet", arguments: { tone: "warm" } })).rejects.toMatchObject({
      code: -32602,
      message: expect.stringContaining('Set "who" (string: The person to greet)'),
    });
  });

  it("are not rendered when the user declines or leaves out values", async () => {
    const declining = await connect({ elicit: () => ({ action: "decline" }) });
    await expect(declining.getPrompt({ name: "greet" })).rejects.toMatchObject({ code: -32602 });
    await connection.close();
    const silent = await connect({ elicit: () => ({ action: "accept", content: { who: "Ada" } }) });
    await expect(silent.getPrompt({ name: "greet" })).rejects.toThrow();
    expect(connection.questions).toHaveLength(1);
  });

  it("that don't exist are refused with the nearest name", async () => {
    const client = await connect();
    await expect(client.getPrompt({ name: "gret" })).rejects.toMatchObject({
      code: -32602,
      message: expect.stringContaining('did you mean "greet"?'),
    });
    await expect(client.getPrompt({ name: "__proto__" })).rejects.toMatchObject({ code: -32602 });
  });

  it("report why arguments are refused, and no details of a defect", async () => {
    const refusing = async (): Promise<never> => {
      throw new InvalidRequest("words must be a number, got many", { next: { step: "correctArguments" } });
    };
    const client = await connect({}, { ...fakeTemplates(), render: refusing });
    await expect(client.getPrompt({ name: "greet" })).rejects.toMatchObject({
      code: -32602,
      message: expect.stringContaining("words must be a number, got many\nCorrect the arguments and call again."),
    });
    await connection.close();
    const broken = await connect({}, { ...fakeTemplates(), render: () => Promise.reject(new Error("at secret.ts")) });
    await expect(broken.getPrompt({ name: "greet" })).rejects.toMatchObject({
      code: -32603,
      message: expect.not.stringContaining("secret"),
    });
  });

  it("of one source are listed when another source fails", async () => {
    const list = () => Promise.reject(new Error("broken"));
    const client = await connect({}, { ...fakeTemplates(), list });
    const { prompts } = await client.listPrompts();
    expect(prompts.map(({ name }) => name)).not.toContain("greet");
    expect(connection.logged.join("\n")).toContain("broken");
  });
});

describe("a change of the templates", () => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  function changingOrchestrator() {
    const listeners = new Set<(change: Change) => void>();
    const onChange: Orchestrator["onChange"] = (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    };
    return {
      orchestrator: createFakeOrchestrator({ onChange, templates: fakeTemplates() }),
      change: (change: Change) => listeners.forEach((listener) => listener(change)),
    };
  }
  const told = () => connection.received.flatMap((message) => ("method" in message ? [message.method] : []));

  it("notifies a legacy client to list prompts and resources again", async () => {
    const { orchestrator, change } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    await connection.client.listPrompts();
    change({ kind: "templates", isListChanged: true });
    await eventually(() =>
      expect(told()).toEqual(["notifications/prompts/list_changed", "notifications/resources/list_changed"]),
    );
  });

  it("notifies a modern client that listens to prompts, once", async () => {
    const { orchestrator, change } = changingOrchestrator();
    connection = await connectMemoryClient(orchestrator, { era: "modern" });
    const stream = await connection.client.listen({ promptsListChanged: true });
    await connection.client.listPrompts();
    change({ kind: "templates", isListChanged: true });
    change({ kind: "models", isListChanged: true });
    await eventually(() => expect(told()).toContain("notifications/prompts/list_changed"));
    await connection.client.listPrompts();
    expect(told().filter((method) => method.endsWith("list_changed"))).toEqual(["notifications/prompts/list_changed"]);
    await stream.close();
  });
});
