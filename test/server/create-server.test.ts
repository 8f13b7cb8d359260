import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe.each(eras)("the server in the %s era", (era) => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  it("introduces itself, with instructions on when to offload", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    expect(connection.client.getServerVersion()).toMatchObject({ name: "ollm-mcp", version: "0.0.0-test" });
    expect(connection.client.getServerCapabilities()).toMatchObject({
      tools: {},
      resources: { subscribe: true, listChanged: true },
      prompts: { listChanged: true },
      completions: {},
    });
    // Settings and projects change which are on offer.
    expect(connection.client.getServerCapabilities()?.tools).toEqual({ listChanged: true });
    expect(connection.client.getInstructions()).toContain("Hand over with route_and_generate");
    expect(connection.client.getNegotiatedProtocolVersion()).toBe(era === "modern" ? "2026-07-28" : "2025-11-25");
  });
});

describe("imports of what answers initialize", () => {
  it("reach no tool, resource, engine or schema: they load with the first request for them", async () => {
    const from: string[] = [];
    const seen = new Set<string>();
    const waiting = ["serve-connection", "stdio-transport", "console-guard"];
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      const source = await readFile(new URL(`../../src/server/${name}.ts`, import.meta.url), "utf8");
      const imports = [...source.matchAll(/^import (?!type)[^;]*? from "([^"]+)"/gm)].map(([, path]) => path ?? "");
      waiting.push(...imports.filter((path) => path.startsWith("./")).map((path) => path.slice(2, -3)));
      from.push(...imports.filter((path) => !path.startsWith("./")));
    }
    const allowed =
      /^(node:|@modelcontextprotocol\/server|\.\.\/orchestrator\/(log|status\/summary-file)\.ts|\.\.\/ipc\/(lines|piping)\.ts)/;
    expect(from.filter((path) => !allowed.test(path))).toEqual([]);
    expect([...seen].toSorted()).toMatchInlineSnapshot(`
      [
        "change-feed",
        "checked-server",
        "console-guard",
        "create-server",
        "icons",
        "instructions",
        "known-roots",
        "list-events",
        "listen-streams",
        "send-queue",
        "serve-connection",
        "stdio-transport",
        "tasks",
        "text-notes",
        "tool-watch",
      ]
    `);
  });
});
