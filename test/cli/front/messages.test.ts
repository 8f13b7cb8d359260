import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { failureLine, interrupted, type Message, readMessage, readParams } from "../../../src/cli/front/messages.ts";
import { renderSteps } from "../../../src/next-steps/render.ts";
import { toolSteps } from "../../../src/next-steps/tools.ts";
import { tools } from "../../../src/tools/index.ts";

const nextAfter = (name: string, input: object = {}) =>
  interrupted({ method: "tools/call", params: { name, arguments: input } }).next;
const retry = [{ step: "retry" }];

describe("a request whose daemon ended before it answered", () => {
  it("can be repeated if a second call changes nothing", () => {
    const safe = tools.map(({ name }) => name).filter((name) => nextAfter(name)[0]?.step === "retry");
    // Generations change nothing either, unless they write a file.
    expect(safe).toEqual(expect.arrayContaining(["route_and_generate", "compare", "pull_model", "recall"]));
    const unsafe = ["manage_model", "create_template", "delete_template", "pick_winner", "project_profile"];
    expect(safe.filter((name) => unsafe.includes(name))).toEqual([]);
    expect(nextAfter("manage_model", { action: "show" })).toEqual(retry);
    expect(nextAfter("pick_winner", { action: "list" })).toEqual(retry);
    expect(interrupted({ method: "tasks/cancel", params: {} })).toMatchObject({
      message: "the ollm daemon was restarted during this call; its answer is lost",
      next: retry,
    });
  });

  it("is followed by a check if it may have written a file, deleted a model, or is not known", () => {
    const check = (text: string) => [{ step: "advice", text }];
    expect(nextAfter("route_and_generate", { prompt: "x", output_path: "a.md" })).toEqual(
      check('check whether "a.md" was written before trying again'),
    );
    expect(nextAfter("manage_model", { action: "delete" })).toEqual(
      check("check the list of models before trying again"),
    );
    const unknown = check("check what was done before trying again");
    expect(nextAfter("pick_winner", { action: "undo" })).toEqual(unknown);
    expect(nextAfter("project_profile", { action: "init" })).toEqual(unknown);
    expect(nextAfter("a_tool_of_a_later_version")).toEqual(unknown);
  });

  it.each(["recall", "manage_model"])("is answered in the same terms as every error (%s)", (name) => {
    const { message, next, texts } = interrupted({ method: "tools/call", params: { name } });
    expect(texts.client).toBe(`${message}. ${renderSteps(next, toolSteps)}`);
  });

  it("tells the assistant to do a task itself that it handed over, and of other calls does not", () => {
    const request = (name: string) => ({ id: 1, method: "tools/call", params: { name } });
    const said = (name: string) => failureLine(request(name), interrupted(request(name)));
    expect(said("route_and_generate")).toContain("Call again, or do the task yourself.");
    const delegated = tools.map(({ name }) => name).filter((name) => said(name).includes("yourself"));
    expect(delegated.toSorted()).toEqual([
      "compare",
      "delegate",
      "render_template",
      "route_and_generate",
      "run_pipeline",
      "smart_load",
    ]);
  });

  it("is answered with text, and with the error as data if the request asks for it", () => {
    const failure = interrupted({ method: "tools/call", params: { name: "recall" } });
    const answerTo = (params: Readonly<Record<string, unknown>>) =>
      JSON.parse(failureLine({ id: 1, method: "tools/call", params }, failure)) as object;
    const message = "the ollm daemon was restarted during this call; its answer is lost. Call again.";
    expect(answerTo({})).toEqual({
      jsonrpc: "2.0",
      id: 1,
      error: { code: -32000, message, data: { retryable: true } },
    });
    expect(answerTo({ _meta: { "ollm/error": true } })).toEqual({
      jsonrpc: "2.0",
      id: 1,
      error: {
        code: -32000,
        message,
        data: { retryable: true, "ollm/error": { message: failure.message, next: failure.next } },
      },
    });
  });
});

/** What a line says, by parsing all of it. */
function wholly(text: string): Message | undefined {
  const value = JSON.parse(text) as Record<string, unknown>;
  const { jsonrpc, id, method } = value;
  const isId = typeof id === "string" || typeof id === "number";
  if (jsonrpc !== "2.0") return { kind: "other" };
  if (typeof method === "string") {
    if (isId) return { kind: "request", id, method };
    return "id" in value ? { kind: "other" } : { kind: "notification", method };
  }
  if (!isId || !("result" in value || "error" in value)) return { kind: "other" };
  return { kind: "answer", id, isError: "error" in value };
}

describe("a message read at its edges", () => {
  const id = fc.oneof(
    fc.integer(),
    fc.double({ noDefaultInfinity: true, noNaN: true }),
    fc.string({ unit: "binary", maxLength: 120 }),
    fc.constantFrom(null, "", '"', "\\", "é", [], {}, true),
  );
  const looksLike = fc.constantFrom(
    ',"jsonrpc":"2.0","id":7}',
    '{"jsonrpc":"2.0","id":7,"method":"ping"',
    '","jsonrpc":"2.0","id":7}',
    { jsonrpc: "2.0", id: 7 },
    { a: { id: 7, jsonrpc: "2.0" } },
    "x".repeat(300),
  );
  const contents = fc.oneof(looksLike, fc.dictionary(fc.string(), looksLike), fc.jsonValue());
  const method = fc.constantFrom("ping", "tools/call", "notifications/progress", "x".repeat(200), "a b", "", "é", 1);
  const version = fc.constantFrom("2.0", "2.0", "2.0", "1.0");
  const members = fc
    .oneof(
      fc.record({ jsonrpc: version, id, method, params: contents, extra: contents }, { requiredKeys: [] }),
      fc.record({ jsonrpc: version, id, result: contents, extra: contents }, { requiredKeys: [] }),
      fc.record({ jsonrpc: version, id, error: contents, extra: contents }, { requiredKeys: [] }),
    )
    .chain((message) => fc.shuffledSubarray(Object.entries(message), { minLength: Object.keys(message).length }));

  it("says what the whole message says, whatever it contains, in whatever order", () => {
    fc.assert(
      fc.property(members, fc.constantFrom("\n", "\r\n", " \n"), (all, end) => {
        // `__proto__` and the like are data, too: no object is built of them.
        const text = `{${all.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
        const expected = wholly(text);
        // A notification with an id is none, and is passed on like one.
        fc.pre(!(expected?.kind !== "notification" && text.includes('"method":"notifications/')));
        expect(readMessage(Buffer.from(`${text}${end}`))).toEqual(expected);
      }),
      { numRuns: 3_000 },
    );
  });

  it("reads the parameters of the whole line", () => {
    expect(readParams(Buffer.from('{"params":{"a":"é"}}\n'))).toEqual({ a: "é" });
    expect(readParams(Buffer.from('{"params":[]}\n'))).toEqual({});
    for (const text of ["{oops}", "", `[${"[".repeat(1_000)}`]) expect(readParams(Buffer.from(text))).toBeUndefined();
  });
});
