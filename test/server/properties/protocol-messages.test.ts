import { PassThrough } from "node:stream";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { serveConnection } from "../../../src/server/mcp/create-server.ts";
import { StdioTransport } from "../../../src/server/mcp/stdio-transport.ts";
import { plainSettings } from "../../support/caller-settings.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";

/** More by hand: OLLM_TEST_FUZZ_RUNS=2000 npx vitest run test/server/properties/protocol-messages.test.ts */
const runs = Number(process.env["OLLM_TEST_FUZZ_RUNS"] ?? 300);
const seed = Number(process.env["OLLM_TEST_FUZZ_SEED"] ?? 11);

interface Answer {
  readonly id: string | number;
  readonly error?: { readonly code: number; readonly message: string };
}

describe("a request with odd parameters", () => {
  let input: PassThrough;
  let answers: Map<string | number, Answer>;
  let logged: string[];
  let ids: number;

  beforeEach(async () => {
    input = new PassThrough();
    const output = new PassThrough();
    answers = new Map();
    logged = [];
    ids = 0;
    let rest = "";
    output.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const answer = JSON.parse(line) as Answer;
        if (answer.id !== undefined) answers.set(answer.id, answer);
      }
    });
    const parts = {
      version: "0.0.0-test",
      log: createLog("warn", (line) => logged.push(line)),
      id: "caller-1",
      workingDirectory: "/nonexistent",
      homeDirectory: "/nonexistent",
      mayOfferRoots: true,
      open: async () => ({
        orchestrator: createFakeOrchestrator(),
        callerSettings: plainSettings,
        fileRoots: [],
        warnings: [],
        configFile: "/home/user/.ollm/config.yaml",
      }),
    };
    serveConnection(parts, new StdioTransport(input, output));
    const clientInfo = { name: "test-client", version: "1.0.0" };
    await ask("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo });
    input.write(`${JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })}\n`);
  });
  afterEach(() => void input.end());

  async function ask(method: string, params: unknown): Promise<Answer> {
    const id = ++ids;
    input.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    await eventually(() => expect(answers.has(id), `no answer to ${method} ${JSON.stringify(params)}`).toBe(true));
    return answers.get(id) as Answer;
  }

  it.each([
    ["prompts/get", {}, "prompts/get: params.name: expected string, received undefined"],
    ["prompts/get", undefined, "prompts/get: params: expected object, received undefined"],
    ["tools/list", { cursor: null }, "tools/list: params.cursor: expected string, received null"],
    ["resources/read", { uri: 5 }, "resources/read: params.uri: expected string, received number"],
    ["tools/call", null, "params must be an object"],
    ["tools/call", [], "params must be an object"],
    ["tools/call", { _meta: null }, "params._meta must be an object, and its progressToken a string or an integer"],
    ["ping", { _meta: [] }, "params._meta must be an object, and its progressToken a string or an integer"],
    [
      "tools/list",
      { _meta: { progressToken: {} } },
      "params._meta must be an object, and its progressToken a string or an integer",
    ],
  ])("%s with %j: the parameters are invalid, and it says which", async (method, params, message) => {
    expect((await ask(method, params)).error).toEqual({ code: -32602, message });
  });

  it("is always answered, and never with an internal error", { timeout: 60_000 }, async () => {
    const texts = fc.constantFrom(
      "",
      "\0",
      "\ud800",
      "%",
      "..",
      "__proto__",
      "toString",
      "a".repeat(5_000),
      "x",
      "memory",
    );
    const uris = fc.tuple(
      fc.constantFrom("ollm://models/", "ollm://jobs/", "ollm://memory/", "ollm://templates/", "ollm://", "file:", ""),
      fc.oneof(texts, fc.constantFrom("%E0%A4%A", "%00", "%ED%A0%80", "%2e%2e%2f", "smollm2:135m", "a/b", "?", "[")),
    );
    const odd = fc.oneof(texts, fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(null, [], {}, -1, 1e308));
    const meta = fc.oneof(
      odd,
      fc.record({ progressToken: odd }),
      fc.record({ "io.modelcontextprotocol/related-task": odd }),
    );
    const params = fc.oneof(
      odd,
      fc.record(
        {
          name: odd,
          uri: fc.oneof(
            odd,
            uris.map((parts) => parts.join("")),
          ),
          cursor: odd,
          arguments: odd,
          ref: fc.oneof(odd, fc.record({ type: fc.constantFrom("ref/prompt", "ref/resource"), name: odd, uri: odd })),
          argument: fc.oneof(odd, fc.record({ name: texts, value: texts })),
          context: odd,
          taskId: odd,
          task: odd,
          level: odd,
          _meta: meta,
        },
        { requiredKeys: [] },
      ),
    );
    const methods = fc.constantFrom(
      "tools/call",
      "tools/list",
      "prompts/get",
      "prompts/list",
      "resources/read",
      "resources/list",
      "ping",
      "resources/templates/list",
      "resources/subscribe",
      "resources/unsubscribe",
      "completion/complete",
      "logging/setLevel",
      "tasks/get",
      "tasks/cancel",
      "initialize",
      "x",
      "",
      "__proto__",
      "toString",
    );
    await fc.assert(
      fc.asyncProperty(methods, params, async (method, given) => {
        const answer = await ask(method, given);
        expect(answer.error?.code, `${JSON.stringify(answer)} ${logged.at(-1)}`).not.toBe(-32603);
        expect(JSON.stringify(answer)).not.toMatch(/internal error/i);
      }),
      { numRuns: runs, seed, endOnFailure: true },
    );
  });
});
