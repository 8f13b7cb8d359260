import { describe, expect, it } from "vitest";
import { failureLine, interrupted } from "../../../src/cli/front/messages.ts";
import { renderSteps } from "../../../src/next-steps/render.ts";
import { toolSteps } from "../../../src/next-steps/tools.ts";
import { tools } from "../../../src/tools/index.ts";

const nextAfter = (name: string, input: object = {}) =>
  interrupted({ method: "tools/call", params: { name, arguments: input } }).next;
const retry = [{ step: "retry" }];

describe("a request whose daemon ended before it answered", () => {
  it("can be repeated if a second call changes nothing", () => {
    const safe = tools.map(({ name }) => name).filter((name) => nextAfter(name)[0]?.step === "retry");
    const expected = tools.filter(({ name, isIdempotent }) => isIdempotent && name !== "manage_model");
    // Generations change nothing either, unless they write a file.
    const generations = ["route_and_generate", "render_template", "compare"];
    expect(safe.toSorted()).toEqual([...expected.map(({ name }) => name), ...generations].toSorted());
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
    expect(said("recall")).not.toContain("yourself");
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
