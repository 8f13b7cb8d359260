import { readFile } from "node:fs/promises";
import path from "node:path";
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
    const packages = new Set<string>();
    const files = new Set<string>();
    const waiting = ["mcp/create-server", "mcp/stdio-transport"].map((name) => `src/server/${name}.ts`);
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      if (files.has(file)) continue;
      files.add(file);
      const source = await readFile(new URL(`../../${file}`, import.meta.url), "utf8");
      for (const [, imported = ""] of source.matchAll(/^import (?!type)[^;]*? from "([^"]+)"/gm)) {
        if (imported.startsWith(".")) waiting.push(path.posix.join(path.posix.dirname(file), imported));
        else packages.add(imported);
      }
    }
    expect([...packages].filter((name) => !/^(?:node:|@modelcontextprotocol\/server)/.test(name))).toEqual([]);
    const isLight = /^src\/(?:server|ipc|next-steps|orchestrator\/(?:api\/|util\/|storage\/summary-file\.ts$))/;
    expect([...files].filter((file) => !isLight.test(file))).toEqual([]);
    expect([...files].filter((file) => /\/(?:pipeline|handle-\w+|files)\.ts$/.test(file))).toEqual([]);
  });
});
