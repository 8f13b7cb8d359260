import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RawServer } from "../../support/stdio-client.ts";
import { call, startMachine, type Machine } from "./machine.ts";

let machine: Machine;
beforeEach(async () => {
  machine = await startMachine();
  await mkdir(machine.home, { recursive: true, mode: 0o700 });
});
afterEach(() => machine.close());

const entry = {
  key: "editor",
  value: "helix",
  category: "fact",
  scope: "global",
  tags: [],
  isPinned: false,
  source: "llm",
  createdAt: "2026-11-21T00:00:00.000Z",
  updatedAt: "2026-11-21T00:00:00.000Z",
  accessCount: 0,
};
const whole = JSON.stringify({ schemaVersion: 1, sequence: 3, entries: [entry] });

async function ask(client: RawServer, name: string, input: object): Promise<Readonly<Record<string, unknown>>> {
  client.send(call(1, name, input));
  for (;;) {
    const message = await client.next();
    if (message["id"] !== 1) continue;
    const { structuredContent, content } = message["result"] as Record<string, unknown>;
    return (structuredContent ?? { error: content }) as Readonly<Record<string, unknown>>;
  }
}

describe("a memory that can't be read", () => {
  it.each([
    ["corrupt", "{ entries: oops", "memory.json can't be read: it is not valid JSON"],
    ["empty", "", "memory.json can't be read: it is empty"],
    ["truncated", whole.slice(0, 100), "memory.json can't be read: it is not valid JSON"],
    ["of a future version", whole.replace('"schemaVersion":1', '"schemaVersion":9'), "it has version 9"],
  ])("is set aside when it is %s, told in system_status, and the next one works", async (_name, text, message) => {
    await writeFile(path.join(machine.home, "memory.json"), text);
    const client = await machine.client();
    expect(await ask(client, "remember", { key: "shell", value: "fish" })).toMatchObject({ key: "shell" });
    const { warnings } = await ask(client, "system_status", {});
    expect(warnings).toEqual(expect.arrayContaining([expect.stringContaining(message)]));
    expect(await ask(client, "recall", {})).toMatchObject({ total: 1 });

    const aside = (await readdir(machine.home)).find((name) => name.startsWith("memory.json.broken-")) ?? "";
    expect(await readFile(path.join(machine.home, aside), "utf8")).toBe(text);
  });

  it("keeps the entries of its journal before the damage", async () => {
    await writeFile(path.join(machine.home, "memory.json"), whole);
    const forgotten = JSON.stringify({ v: 1, n: 4, event: { type: "forget", places: [{ key: "editor" }] } });
    await writeFile(path.join(machine.home, "memory.journal"), `${forgotten}\n\0\0\0\0\n`);
    const client = await machine.client();
    expect(await ask(client, "recall", {})).toMatchObject({ total: 0 });
    const { warnings } = await ask(client, "system_status", {});
    expect(warnings).toEqual(expect.arrayContaining([expect.stringContaining("memory.journal is damaged: line 2")]));
  });

  it("says so when it is a folder, changes nothing, and generates all the same", async () => {
    await mkdir(path.join(machine.home, "memory.json"));
    const client = await machine.client();
    const { error } = await ask(client, "remember", { key: "shell", value: "fish" });
    expect(JSON.stringify(error)).toContain("memory.json can't be read: EISDIR");
    expect(await ask(client, "route_and_generate", { prompt: "Hi" })).toMatchObject({ text: "The sky is blue." });
  });
});
