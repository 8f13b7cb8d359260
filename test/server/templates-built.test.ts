import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";

let home: DaemonHome;
let client: Client | undefined;
beforeEach(async () => {
  home = await makeDaemonHome();
});
afterEach(async () => {
  await client?.close();
  await home.close();
});

it.each(["legacy", "modern"] as const)(
  "a template that is saved beside the running daemon is a prompt at once, and clients are told (%s)",
  async (era) => {
    client = new Client(
      { name: "test", version: "1" },
      { versionNegotiation: { mode: era === "modern" ? { pin: "2026-07-28" } : "legacy" } },
    );
    let told = 0;
    client.setNotificationHandler("notifications/prompts/list_changed", () => void (told += 1));
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [builtCommand],
      env: { ...home.environment, OLLM_TOOLS_SETS: "default,render_template" },
      stderr: "ignore",
    });
    await client.connect(transport);
    if (era === "modern") await client.listen({ promptsListChanged: true });
    const names = async (): Promise<string[]> => (await client?.listPrompts())?.prompts.map(({ name }) => name) ?? [];
    expect(await names()).toEqual(expect.arrayContaining(["memory", "translate", "commit-message"]));

    await mkdir(join(home.home, "templates"), { recursive: true });
    await writeFile(
      join(home.home, "templates", "haiku.yaml"),
      "template: A haiku about {topic}, in {words:17} words.\n",
    );
    expect(await names()).toContain("haiku");
    await eventually(() => expect(told).toBeGreaterThan(0));
    const { messages } = await client.getPrompt({ name: "haiku", arguments: { topic: "{words}" } });
    expect(messages[0]?.content).toMatchObject({ text: "A haiku about {words}, in 17 words." });

    const variables = { topic: "rain" };
    const rendered = await client.callTool({
      name: "render_template",
      arguments: { name: "haiku", variables, generate: true },
    });
    expect(rendered.structuredContent).toMatchObject({ text: "The sky is blue.", model: "smollm2:135m" });
    const unknown = await client
      .callTool({ name: "create_template", arguments: { name: "x", template: "x" } })
      .catch(String);
    expect(JSON.stringify(unknown)).toContain("create_template");
  },
);
