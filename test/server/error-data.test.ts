import { afterEach, describe, expect, it } from "vitest";
import { InvalidConfig, ModelDoesNotFit, UnknownTemplate } from "../../src/orchestrator/api/errors.ts";
import type { NextStep } from "../../src/orchestrator/api/next-step.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { fakeTemplates } from "../support/fake-templates.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";
import { startListener } from "./http/listener-fixture.ts";

const errorKey = "ollm/error";
const asking = { [errorKey]: true };
const next: readonly NextStep[] = [{ step: "useModel", model: "qwen3:4b" }, { step: "listTemplates" }];
const eras: readonly Era[] = ["legacy", "modern"];

function failing(error: Error) {
  const reject = async (): Promise<never> => {
    throw error;
  };
  const templates = { ...fakeTemplates(), render: reject, get: reject };
  return createFakeOrchestrator({ generate: reject, ramStatus: reject, templates });
}

describe.each(eras)("an error in the %s era", (era) => {
  const tooLarge = new ModelDoesNotFit("qwen3:32b needs 24 GB, 9.2 GB are free", { next });
  const data = { [errorKey]: { message: tooLarge.message, next } };
  let connection: MemoryClient;
  afterEach(async () => connection?.close());

  const tool = (meta = {}) =>
    connection.client.callTool({ name: "route_and_generate", arguments: { prompt: "Hi" }, _meta: meta });
  const resource = (meta = {}, uri = "ollm://status/ram") => connection.client.readResource({ uri, _meta: meta });
  const prompt = (meta = {}) =>
    connection.client.getPrompt({ name: "greet", arguments: { who: "Ada", tone: "warm" }, _meta: meta });

  it("is data for a request that asks for it: a tool call, a resource, a prompt", async () => {
    connection = await connectMemoryClient(failing(tooLarge), { era });
    expect(await tool(asking)).toMatchObject({ isError: true, _meta: data });
    await expect(resource(asking)).rejects.toMatchObject({ code: -32603, data });
    await expect(prompt(asking)).rejects.toMatchObject({ code: -32602, data });
  });

  it("is text alone for a request that doesn't ask", async () => {
    connection = await connectMemoryClient(failing(tooLarge), { era });
    const result = await tool();
    expect(result).toMatchObject({ isError: true, content: [{ text: expect.stringContaining(tooLarge.message) }] });
    expect(result._meta ?? {}).not.toHaveProperty(errorKey);
    for (const meta of [{}, { [errorKey]: "yes" }]) {
      await expect(resource(meta)).rejects.toSatisfy((error: { data?: unknown }) => error.data === undefined);
      await expect(prompt(meta)).rejects.toSatisfy((error: { data?: unknown }) => error.data === undefined);
    }
  });

  it("about a resource that doesn't exist carries the URI, and the data where it is asked for", async () => {
    const uri = "ollm://templates/none";
    const absent = new UnknownTemplate("there is no template none", { next });
    connection = await connectMemoryClient(failing(absent), { era });
    await expect(resource({}, uri)).rejects.toMatchObject({ code: -32602, data: { uri } });
    const expected = { uri, [errorKey]: { message: absent.message, next } };
    await expect(resource(asking, uri)).rejects.toMatchObject({ code: -32602, data: expected });
  });

  it("of wrong settings is data for lists, too", async () => {
    const open = async (): Promise<never> => {
      throw new InvalidConfig("config.yaml:3: privacy is 1", { next: { step: "editSettings" } });
    };
    connection = await connectMemoryClient(createFakeOrchestrator(), { era, open });
    const wrong = { [errorKey]: { message: "config.yaml:3: privacy is 1", next: [{ step: "editSettings" }] } };
    await expect(connection.client.listPrompts({ _meta: asking })).rejects.toMatchObject({ code: -32603, data: wrong });
    await expect(connection.client.listPrompts()).rejects.toMatchObject({ code: -32603, data: undefined });
  });

  it("that is a defect is never data", async () => {
    connection = await connectMemoryClient(failing(new TypeError("x is not a function")), { era });
    expect((await tool(asking))._meta ?? {}).not.toHaveProperty(errorKey);
    await expect(resource(asking)).rejects.toMatchObject({ data: undefined });
  });
});

it("error data over HTTP hides paths as the text does", async () => {
  const folder = "/home/ann/.ollama/models";
  const orchestrator = failing(
    new ModelDoesNotFit(`${folder}/a.gguf can't be loaded`, {
      next: [{ step: "advice", text: `free space in ${folder}` }],
    }),
  );
  const listener = await startListener({ orchestrator });
  const hidden = "[a path on the server]";
  try {
    for (const [method, name, params] of [
      ["tools/call", "route_and_generate", { name: "route_and_generate", arguments: { prompt: "Hi" } }],
      ["resources/read", "ollm://status/ram", { uri: "ollm://status/ram" }],
      ["prompts/get", "greet", { name: "greet", arguments: { who: "Ada", tone: "warm" } }],
    ] as const) {
      const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": name };
      const body = { jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: { ...modern, ...asking } } };
      const { text } = await listener.ask("/mcp", { method: "POST", headers, body });
      expect(text).toContain(
        JSON.stringify({
          [errorKey]: {
            message: `${hidden} can't be loaded`,
            next: [{ step: "advice", text: `free space in ${hidden}` }],
          },
        }).slice(1, -1),
      );
      expect(text).not.toContain("/home/ann");
    }
  } finally {
    await listener.close();
  }
});

const modern = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
