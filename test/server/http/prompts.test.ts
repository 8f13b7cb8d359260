import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterEach, expect, it } from "vitest";
import type { Change } from "../../../src/orchestrator/api/facade.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { fakeTemplates } from "../../support/fake-templates.ts";
import { startListener, type TestListener } from "./listener-fixture.ts";

let listener: TestListener | undefined;
let client: Client | undefined;
afterEach(async () => {
  await client?.close();
  await listener?.close();
});

it.each(["legacy", "modern"] as const)("prompts over HTTP are listed, made and told of (%s)", async (era) => {
  const observers = new Set<(change: Change) => void>();
  const orchestrator = createFakeOrchestrator({
    templates: fakeTemplates(),
    onChange(observer) {
      observers.add(observer);
      return () => void observers.delete(observer);
    },
  });
  listener = await startListener({ orchestrator });
  client = new Client(
    { name: "test", version: "1" },
    { versionNegotiation: { mode: era === "modern" ? { pin: "2026-07-28" } : "legacy" } },
  );
  let told = 0;
  client.setNotificationHandler("notifications/prompts/list_changed", () => void (told += 1));
  const headers = { authorization: `Bearer ${listener.token}` };
  await client.connect(
    new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${listener.port}/mcp`), { requestInit: { headers } }),
  );
  const { prompts } = await client.listPrompts();
  expect(prompts.map(({ name }) => name)).toContain("greet");
  const { messages } = await client.getPrompt({ name: "greet", arguments: { who: "Ada", tone: "warm" } });
  expect(messages[0]?.content).toMatchObject({ text: expect.stringContaining('"who":"Ada"') });
  await expect(client.getPrompt({ name: "gret" })).rejects.toMatchObject({ code: -32602 });
  if (era === "modern") await client.listen({ promptsListChanged: true });
  await eventually(() => {
    for (const observer of observers) observer({ kind: "templates", isListChanged: true });
    expect(told).toBeGreaterThan(0);
  });
});
