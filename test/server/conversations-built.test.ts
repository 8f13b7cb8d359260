import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { type ClientKind, connectStdio } from "../support/stdio-client.ts";

let home: DaemonHome;

beforeEach(async () => {
  home = await makeDaemonHome();
});
afterEach(() => home.close());

const chats = () => home.ollama.requests.filter(({ path }) => path === "/api/chat");

describe.each<ClientKind>(["modern", "legacy", "sdk-1"])("a conversation of a %s client", (kind) => {
  it("continues at once after a cancel while a prompt is read, and says when it is busy", async () => {
    const client = await connectStdio(kind, home.environment, []);
    const ask = (prompt: string, continueId: unknown, signal?: AbortSignal) =>
      client.callTool("route_and_generate", { prompt, continue_id: continueId }, undefined, signal);
    const first = await ask("One?", "new");
    const id = (first.structuredContent as { continue_id?: string } | undefined)?.continue_id;

    home.ollama.misbehave({ kind: "hang", afterLines: 0 });
    const controller = new AbortController();
    const cancelled = ask("Two?", id, controller.signal);
    const failed = expect(cancelled).rejects.toThrow();
    await home.until("the second question", () => chats().length === 2);
    const busy = await ask("Too early?", id);
    expect(busy.isError).toBe(true);
    expect(JSON.stringify(busy.content)).toContain(`the conversation ${id} is already being answered`);
    expect(JSON.stringify(busy.content)).not.toContain("Start a conversation");

    controller.abort();
    const next = await ask("Three?", id);
    await failed;
    expect(next.structuredContent).toMatchObject({ continue_id: id });
    expect(chats().at(-1)?.body["messages"]).toMatchObject([
      { role: "user", content: "One?" },
      { role: "assistant" },
      { role: "user", content: "Three?" },
    ]);
    await client.close();
  });
});
