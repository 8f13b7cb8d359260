import { afterEach, describe, expect, it } from "vitest";
import { createFakeMemories, createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import {
  connectMemoryClient,
  type Era,
  type MemoryClient,
  type MemoryClientOptions,
} from "../support/memory-client.ts";

const dataOf = (structured: unknown) => structured as Readonly<Record<string, unknown>>;
const eras: readonly Era[] = ["legacy", "modern"];

describe("the tools of the memory", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  async function connect(options: MemoryClientOptions = {}) {
    connection = await connectMemoryClient(createFakeOrchestrator({ memories: createFakeMemories() }), options);
    return connection;
  }

  const textOf = ({ content }: { content: unknown }) =>
    (content as { text: string }[]).map(({ text }) => text).join("\n");

  it("remember answers little: the key, what it replaced, and keys that look the same", async () => {
    const { call } = await connect();
    expect(await call("remember", { key: "preferred editor", value: "vim", category: "preference" })).toEqual({
      content: [{ type: "text", text: "Remembered preferred editor" }],
      structuredContent: { key: "preferred editor" },
    });
    expect(await call("remember", { key: "preferred editor", value: "neovim" })).toEqual({
      content: [{ type: "text", text: "Remembered preferred editor, in place of: vim" }],
      structuredContent: { key: "preferred editor", replaced: "vim" },
    });
    expect(await call("remember", { key: "preferredEditor", value: "emacs" })).toEqual({
      content: [{ type: "text", text: "Remembered preferredEditor; similar: preferred editor" }],
      structuredContent: { key: "preferredEditor", similar: ["preferred editor"] },
    });
  });

  it("remember cuts what a long value replaced, and says when one expires", async () => {
    const { call } = await connect();
    await call("remember", { key: "k", value: "x".repeat(5_000) });
    const { structuredContent } = await call("remember", { key: "k", value: "y", ttl: 60 });
    expect(structuredContent).toEqual({
      key: "k",
      replaced: `${"x".repeat(200)}…`,
      expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
    });
  });

  it("remember refuses what looks like a secret, unless forced, and without repeating it", async () => {
    const { call } = await connect();
    const secret = `sk-proj-${"a1B2".repeat(12)}`;
    const refused = await call("remember", { key: "api", value: secret });
    expect(refused.isError).toBe(true);
    expect(textOf(refused)).toMatch(/force/);
    expect(textOf(refused)).not.toContain(secret);
    expect((await call("remember", { key: "api", value: secret, force: true })).isError).not.toBe(true);
  });

  it("remember asks before it saves a password, a Wi-Fi key or an IBAN, and saves nothing when the answer is no", async () => {
    const answers = [
      { action: "decline" as const },
      { action: "accept" as const, content: { force: false } },
      { action: "accept" as const, content: { force: true } },
    ];
    const { call, questions } = await connect({ elicit: () => answers.shift() ?? { action: "cancel" } });
    const given = { key: "NAS password", value: "sunshine" };
    for (const _no of [1, 2]) {
      expect((await call("remember", given)).isError).toBe(true);
      expect((await call("recall", {})).structuredContent).toMatchObject({ total: 0 });
    }
    expect((await call("remember", given)).structuredContent).toMatchObject({ key: "NAS password" });
    expect(questions).toHaveLength(3);
    expect(questions[0]).toBe(
      "The value looks like a password. Local models get saved entries in prompts. Save it anyway?",
    );
    await call("remember", { key: "bank", value: "DE89 3704 0044 0532 0130 00" });
    await call("remember", { key: "guests", value: "wifi HomeNet key blue-tree-77" });
    expect(questions.slice(3)).toEqual([
      expect.stringContaining("an account number (IBAN)"),
      expect.stringContaining("the key of a Wi-Fi network"),
    ]);
    expect(questions.join()).not.toMatch(/sunshine|DE89|blue-tree/);
  });

  it("remember says how a password is saved on purpose, where the client can't ask", async () => {
    const { call } = await connect();
    const refused = await call("remember", { key: "NAS password", value: "sunshine" });
    expect(refused.isError).toBe(true);
    expect(textOf(refused)).toContain('Set "force" (boolean: true saves it)');
    expect((await call("remember", { key: "NAS password", value: "sunshine", force: true })).isError).not.toBe(true);
  });

  it("recall finds by key, by words, or lists the newest, and says which", async () => {
    const { call } = await connect();
    await call("remember", { key: "database", value: "Postgres 16", tags: ["sql"] });
    await call("remember", { key: "tone", value: "short", category: "preference", pinned: true });
    const entry = { key: "database", value: "Postgres 16", tags: ["sql"], updated_at: expect.any(String) as string };
    const byKey = await call("recall", { key: "database" });
    expect(byKey.structuredContent).toEqual({ entries: [entry], total: 1, method: "key" });
    const byWords = await call("recall", { query: "postgress" });
    expect(byWords.structuredContent).toEqual({ entries: [entry], total: 1, method: "text" });
    expect(textOf(byWords)).toBe("database: Postgres 16");
    const listed = await call("recall", { category: "preference" });
    expect(listed.structuredContent).toMatchObject({ entries: [{ key: "tone", pinned: true }], method: "list" });
    expect(textOf(await call("recall", { query: "nothing like it" }))).toBe("No entry matches.");
  });

  it("recall returns ten entries by default, and the total", async () => {
    const { call } = await connect();
    for (let index = 0; index < 12; index += 1) await call("remember", { key: `thing ${index}`, value: "same word" });
    const { structuredContent, content } = await call("recall", { query: "same" });
    expect(structuredContent).toMatchObject({ total: 12 });
    expect((dataOf(structuredContent)["entries"] as unknown[]).length).toBe(10);
    expect(textOf({ content })).toMatch(/\n10 of 12 entries$/);
    expect((await call("recall", { limit: 3 })).structuredContent).toMatchObject({ total: 12 });
    expect((await call("recall", { limit: 0 })).isError).toBe(true);
  });

  it("recall cuts long values in a list, and has them whole by key", async () => {
    const { call } = await connect();
    const value = "long ".repeat(10_000).trim();
    await call("remember", { key: "novel", value });
    const { structuredContent, content } = await call("recall", { query: "long" });
    expect(structuredContent).toMatchObject({
      entries: [{ value: `${value.slice(0, 2_000)}…`, characters: value.length }],
    });
    expect(textOf({ content })).toMatch(/… \(49999 characters; recall it by key\)$/);
    expect((await call("recall", { key: "novel" })).structuredContent).toMatchObject({ entries: [{ value }] });
  });

  it("recall of a key that isn't there names the nearest", async () => {
    const { call } = await connect();
    await call("remember", { key: "database", value: "Postgres" });
    const result = await call("recall", { key: "databse" });
    expect(result.isError).toBe(true);
    expect(textOf(result)).toMatch(/database/);
  });

  it("forget removes one without asking", async () => {
    const { call, questions } = await connect({ elicit: () => ({ action: "decline" }) });
    await call("remember", { key: "a", value: "1" });
    expect(await call("forget", { key: "a" })).toEqual({
      content: [{ type: "text", text: "Forgot a" }],
      structuredContent: { forgotten: ["a"], total: 1 },
    });
    expect(questions).toEqual([]);
    expect((await call("forget", { key: "a" })).isError).toBe(true);
  });

  it.each(eras)(
    "forget asks before it removes several (%s), and removes nothing when the answer is no",
    async (era) => {
      const answers = [{ action: "decline" as const }, { action: "accept" as const, content: { confirm: true } }];
      const { call, questions } = await connect({ era, elicit: () => answers.shift() ?? { action: "cancel" } });
      await call("remember", { key: "a", value: "1" });
      await call("remember", { key: "b", value: "2" });
      expect((await call("forget", { all: true })).isError).toBe(true);
      expect((await call("recall", {})).structuredContent).toMatchObject({ total: 2 });
      expect((await call("forget", { all: true })).structuredContent).toMatchObject({ total: 2 });
      expect(questions[0]).toMatch(/^Forget 2 entries \((a, b|b, a)\)\?$/);
      expect((await call("recall", {})).structuredContent).toMatchObject({ total: 0 });
    },
  );

  it.each([
    ["all", { all: true }],
    ["a category", { category: "fact" }],
  ])("forget of %s asks even where that is one entry, and not where it is none", async (_what, input) => {
    const { call, questions } = await connect({ elicit: () => ({ action: "decline" }) });
    await call("remember", { key: "a", value: "1" });
    expect((await call("forget", input)).isError).toBe(true);
    expect(questions).toEqual(["Forget 1 entry (a)?"]);
    expect((await call("forget", { ...input, confirm: true })).structuredContent).toMatchObject({ total: 1 });
    expect((await call("forget", input)).structuredContent).toMatchObject({ total: 0 });
    expect(questions).toHaveLength(1);
  });

  it("forget names confirm where the client can't ask", async () => {
    const { call } = await connect();
    await call("remember", { key: "a", value: "1" });
    await call("remember", { key: "b", value: "2" });
    const asked = await call("forget", { all: true });
    expect(asked.isError).toBe(true);
    expect(textOf(asked)).toMatch(/Forget 2 entries.*"confirm"/s);
    expect((await call("forget", { all: true, confirm: true })).structuredContent).toMatchObject({ total: 2 });
  });

  it.each([
    ["nothing at all", {}, /key, a category, a scope or all/],
    ["a key and all", { key: "a", all: true }, /not both/],
  ])("forget refuses %s", async (_what, input, message) => {
    const { call } = await connect();
    const result = await call("forget", input);
    expect(result.isError).toBe(true);
    expect(textOf(result)).toMatch(message);
  });

  it("transfer_memories brings everything into another home", async () => {
    const first = await connect({ clientName: "ollm" });
    await first.call("remember", { key: "a", value: "first line\nsecond line", tags: ["t"] });
    const { structuredContent } = await first.call("transfer_memories", { action: "export" });
    const text = dataOf(structuredContent)["text"];
    await first.close();
    const second = await connect({ clientName: "ollm" });
    const imported = await second.call("transfer_memories", { action: "import", text });
    expect(imported.structuredContent).toEqual({ imported: 1 });
    expect((await second.call("recall", { key: "a" })).structuredContent).toMatchObject({
      entries: [{ value: "first line\nsecond line", tags: ["t"] }],
    });
    expect((await second.call("transfer_memories", { action: "import" })).isError).toBe(true);
  });
});
