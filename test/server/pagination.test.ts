import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { pageOf } from "../../src/server/mcp/create-server.ts";
import { createFakeOrchestrator, smollm } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

const numbers = (count: number) => Array.from({ length: count }, (_unused, index) => index);

describe("pageOf", () => {
  it("gives every entry once, in pages of a hundred, whatever the length", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 450 }), (count) => {
        const seen: number[] = [];
        let cursor: string | undefined;
        do {
          const page: ReturnType<typeof pageOf<number>> = pageOf("things", numbers(count), cursor);
          expect(page.entries.length).toBeLessThanOrEqual(100);
          seen.push(...page.entries);
          cursor = page.nextCursor;
        } while (cursor !== undefined);
        expect(seen).toEqual(numbers(count));
      }),
    );
  });

  it("refuses every cursor that it did not write", () => {
    const ours = ["things 100", "things 200"].map((text) => Buffer.from(text).toString("base64url"));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => Buffer.from(text).toString("base64url")),
        ),
        (cursor) => {
          fc.pre(!ours.includes(cursor));
          expect(() => pageOf("things", numbers(250), cursor)).toThrow(expect.objectContaining({ code: -32602 }));
        },
      ),
    );
  });

  it.each(["things 0", "things -100", "things 50", "things 300", "others 100", "things 1e2", "things 100 "])(
    "refuses %j",
    (text) => {
      const cursor = Buffer.from(text).toString("base64url");
      expect(() => pageOf("things", numbers(250), cursor)).toThrow("start again without one");
    },
  );
});

describe("resources/list of a machine with many models", () => {
  let connection: MemoryClient;
  afterEach(async () => connection.close());

  it("comes in pages, and refuses a foreign cursor", async () => {
    const models = numbers(150).map((index) => ({ ...smollm, name: `m${index}` }));
    const orchestrator = createFakeOrchestrator({
      listModels: async () => ({ models, total: models.length, stale: [] }),
    });
    connection = await connectMemoryClient(orchestrator);
    const { client } = connection;
    const first = await client.request({ method: "resources/list" });
    expect(first.resources).toHaveLength(100);
    const second = await client.request({ method: "resources/list", params: { cursor: first.nextCursor ?? "" } });
    expect(second.resources).toHaveLength(62);
    expect(second.nextCursor).toBeUndefined();
    await expect(client.request({ method: "resources/list", params: { cursor: "x" } })).rejects.toMatchObject({
      code: -32602,
    });
    for (const method of ["tools/list", "resources/templates/list"] as const) {
      await expect(client.request({ method, params: { cursor: "x" } })).rejects.toMatchObject({ code: -32602 });
    }
  });
});
