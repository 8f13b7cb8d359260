import { expect, test } from "vitest";
import { CallError, createMcpClient } from "../../src/ui/mcp.ts";
import type { Entry } from "../../src/ui/session.ts";

/** A client whose requests are answered by `answer`; `sent` has their headers and bodies. */
function connect(answer: (id: number) => Response | Promise<Response>, entries: Entry[] = []) {
  const sent: { readonly headers: Headers; readonly body: { readonly id: number; readonly params: object } }[] = [];
  let refusals = 0;
  const client = createMcpClient({
    fetch: async (_url, init) => {
      init?.signal?.throwIfAborted();
      const body = JSON.parse(init?.body as string) as (typeof sent)[number]["body"];
      sent.push({ headers: new Headers(init?.headers), body });
      return answer(body.id);
    },
    entry: async () => entries.shift() ?? { kind: "bearer", bearer: "secret" },
    doubt: () => undefined,
    onRefused: () => (refusals += 1),
  });
  return { client, sent, refusals: () => refusals };
}

const json = (result: object) => (id: number) => Response.json({ jsonrpc: "2.0", id, result });
const failure = async (call: Promise<unknown>): Promise<CallError> => {
  const error = await call.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(CallError);
  return error as CallError;
};

test("a call is a stateless request of the newest revision, and gives the structured answer", async () => {
  const { client, sent } = connect(json({ content: [], structuredContent: { models: [], total: 0 } }));
  expect(await client.callTool("list_models", { limit: 1 })).toEqual({ models: [], total: 0 });
  expect(Object.fromEntries(sent[0]?.headers ?? [])).toMatchObject({
    authorization: "Bearer secret",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "list_models",
  });
  expect(sent[0]?.body.params).toMatchObject({
    name: "list_models",
    arguments: { limit: 1 },
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "ollm-dashboard" },
      "io.modelcontextprotocol/clientCapabilities": {},
      "ollm/error": true,
    },
  });
});

test("progress arrives before the answer of a stream", async () => {
  const note = (params: object) =>
    `data: ${JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params })}\n\n`;
  const { client, sent } = connect(
    (id) =>
      new Response(
        note({ progressToken: id, progress: 1, message: "loading" }) +
          `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: { structuredContent: { text: "Hello" } } })}\n\n`,
        { headers: { "content-type": "text/event-stream" } },
      ),
  );
  const seen: unknown[] = [];
  const answer = await client.callTool(
    "route_and_generate",
    { prompt: "Hi" },
    { onProgress: ({ message }) => seen.push(message) },
  );
  expect(answer).toEqual({ text: "Hello" });
  expect(seen).toEqual(["loading"]);
  expect(sent[0]?.body.params).toMatchObject({ _meta: { progressToken: sent[0]?.body.id } });
});

test("the text and the thinking so far arrive with their pieces, and begin anew with another model", async () => {
  const note = (meta: object) =>
    `data: ${JSON.stringify({ method: "notifications/progress", params: { message: "answering", _meta: meta } })}\n\n`;
  const { client, sent } = connect(
    (id) =>
      new Response(
        note({ "ollm/thinking": "A greeting" }) +
          note({ "ollm/text": "Hel" }) +
          note({ "ollm/reset": true, "ollm/thinking": "So", "ollm/text": "Good " }) +
          note({ "ollm/text": "day" }) +
          `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: { structuredContent: { text: "Good day" } } })}\n\n`,
        { headers: { "content-type": "text/event-stream" } },
      ),
  );
  const seen: string[] = [];
  const onText = (text: string, thinking: string): void => void seen.push(`${thinking}|${text}`);
  await client.callTool("route_and_generate", { prompt: "Hi" }, { onText });
  expect(seen).toEqual(["A greeting|", "A greeting|Hel", "So|Good ", "So|Good day"]);
  expect(sent[0]?.body.params).toMatchObject({ _meta: { "ollm/stream": true } });
});

test("a failed call has the daemon's message and its next steps; one without data has its text", async () => {
  const next = [{ step: "pullModel", model: "smollm2:135m" }];
  const data = { message: "no model", next };
  const told = connect(json({ isError: true, content: [{ text: "no model\nRun" }], _meta: { "ollm/error": data } }));
  const error = await failure(told.client.callTool("smart_load", { model: "x" }));
  expect(error).toMatchObject({ kind: "failed", message: "no model", next });
  const plain = connect(json({ isError: true, content: [{ type: "text", text: "internal error" }] }));
  expect(await failure(plain.client.callTool("smart_load", { model: "x" }))).toMatchObject({
    message: "internal error",
    next: [],
  });
});

test("a resource is read by its URI, with its variable percent-encoded", async () => {
  const { client, sent } = connect(json({ contents: [{ text: '{"name":"a/b"}' }] }));
  expect(await client.readResource("ollm://models/{name}", { name: "hf.co/a:b" })).toEqual({ name: "a/b" });
  expect(sent[0]?.headers.get("mcp-name")).toBe("ollm://models/hf.co%2Fa%3Ab");
  await client.readResource("ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}", {
    client: "a & b",
  });
  expect(sent[1]?.headers.get("mcp-name")).toBe("ollm://requests?client=a+%26+b");
});

test("an unknown resource is an error with its next steps", async () => {
  const next = [{ step: "listModels" }];
  const { client } = connect((id) =>
    Response.json({
      id,
      error: { code: -32_002, message: "unknown", data: { "ollm/error": { message: "no model x", next } } },
    }),
  );
  expect(await failure(client.readResource("ollm://models"))).toMatchObject({ message: "no model x", next });
});

test("a refused bearer is tried once more after the handshake, and another program gets nothing", async () => {
  const replaced = connect(
    (id) =>
      replaced.sent.length === 1 ? new Response("{}", { status: 401 }) : json({ structuredContent: { total: 0 } })(id),
    [
      { kind: "bearer", bearer: "old" },
      { kind: "bearer", bearer: "new" },
    ],
  );
  expect(await replaced.client.callTool("list_models", {})).toEqual({ total: 0 });
  expect(replaced.sent.map(({ headers }) => headers.get("authorization"))).toEqual(["Bearer old", "Bearer new"]);

  const foreign = connect(json({}), [{ kind: "foreign" }]);
  const error = await failure(foreign.client.callTool("remember", { key: "k", value: "private" }));
  expect([error.kind, error.message]).toEqual(["offline", expect.stringContaining("has not proved")]);
  expect(foreign.sent).toEqual([]);
});

test("a session that ended is told apart from no answer, an abort and half a stream", async () => {
  const refused = connect(json({}), [{ kind: "ended" }]);
  expect((await failure(refused.client.callTool("system_status", {}))).kind).toBe("refused");
  expect([refused.refusals(), refused.sent]).toEqual([1, []]);

  const offline = connect(() => Promise.reject(new TypeError("fetch failed")));
  expect((await failure(offline.client.callTool("system_status", {}))).kind).toBe("offline");

  const aborted = connect(() => Promise.reject(new TypeError("never reached")));
  const signal = AbortSignal.abort();
  expect((await failure(aborted.client.callTool("system_status", {}, { signal }))).kind).toBe("aborted");

  const half = connect(() => new Response("data: {}\n\n", { headers: { "content-type": "text/event-stream" } }));
  expect((await failure(half.client.callTool("system_status", {}))).kind).toBe("offline");
});
