import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe.each(eras)("the server in the %s era", (era) => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  it("introduces itself, and says when to offload", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator(), { era });
    expect(connection.client.getServerVersion()).toMatchObject({ name: "ollm-mcp", version: "0.0.0-test" });
    expect(connection.client.getServerCapabilities()).toEqual({ tools: {}, resources: {} });
    expect(connection.client.getInstructions()).toContain("Offload with route_and_generate");
    expect(connection.client.getNegotiatedProtocolVersion()).toBe(era === "modern" ? "2026-07-28" : "2025-11-25");
  });
});

describe("imports of what answers initialize", () => {
  it("reach no tool, resource, engine or schema: they load with the first request for them", async () => {
    const eager = ["create-server", "standalone", "stdio-transport", "host", "instructions", "console-guard"];
    const imports = await Promise.all(
      eager.map(async (name) => {
        const source = await readFile(new URL(`../../src/server/${name}.ts`, import.meta.url), "utf8");
        return [...source.matchAll(/^import (?!type)[^;]*? from "([^"]+)"/gm)].map(([, from]) => from ?? "");
      }),
    );
    const allowed = /^(node:|@modelcontextprotocol\/server|\.\/|\.\.\/orchestrator\/log\.ts)/;
    expect(imports.flat().filter((from) => !allowed.test(from))).toEqual([]);
    const local = imports.flat().filter((from) => from.startsWith("./"));
    expect(local.filter((from) => !eager.includes(from.slice(2, -3)))).toEqual([]);
  });
});
