import { expect, it } from "vitest";
import { createMcpClient } from "../../src/ui/mcp.ts";

/** A client whose daemon asks once, and the parameters of its calls. */
function askingClient() {
  const sent: Record<string, unknown>[] = [];
  const client = createMcpClient({
    entry: async () => ({ kind: "bearer", bearer: "token" }),
    doubt: () => undefined,
    onRefused: () => undefined,
    fetch: async (_address, init) => {
      const { id, params } = JSON.parse(init?.body as string) as { id: number; params: Record<string, unknown> };
      sent.push(params);
      const asks = {
        resultType: "input_required",
        inputRequests: { input: { method: "elicitation/create", params: { message: "Sure?" } } },
        requestState: "signed",
      };
      const result = "inputResponses" in params ? { structuredContent: { done: true } } : asks;
      return new Response(JSON.stringify({ jsonrpc: "2.0", id, result }), {
        headers: { "content-type": "application/json" },
      });
    },
  });
  return { client, sent };
}

it("a call that the user has agreed to answers the question of its tool with yes", async () => {
  const { client, sent } = askingClient();
  const input = { action: "set", path: "privacy", value: "allow_remote" } as const;
  expect(await client.callTool("update_config", input, { isConfirmed: true })).toEqual({ done: true });
  expect(sent).toHaveLength(2);
  expect(sent[0]?.["_meta"]).toMatchObject({ "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } });
  expect(sent[1]).toMatchObject({
    arguments: input,
    inputResponses: { input: { action: "accept", content: { confirm: true } } },
    requestState: "signed",
  });
});

it("any other call declares that it can't be asked, and gives no answer", async () => {
  const { client, sent } = askingClient();
  await expect(client.callTool("update_config", { action: "set", path: "privacy" })).rejects.toThrow();
  expect(sent).toHaveLength(1);
  expect(sent[0]?.["_meta"]).toMatchObject({ "io.modelcontextprotocol/clientCapabilities": {} });
  expect(sent[0]?.["_meta"]).not.toMatchObject({ "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } });
});

it("a call that asks the user only if its tool asks does as the user says", async () => {
  const { client, sent } = askingClient();
  const input = { action: "set", path: "privacy", value: "allow_remote" } as const;
  const questions: string[] = [];
  const isConfirmed = async (question: string) => {
    questions.push(question);
    return false;
  };
  const refused = client.callTool("update_config", input, { isConfirmed });
  await expect(refused).rejects.toMatchObject({ kind: "aborted" });
  expect(questions).toEqual(["Sure?"]);
  expect(sent).toHaveLength(1);
  expect(await client.callTool("update_config", input, { isConfirmed: async () => true })).toEqual({ done: true });
});
