import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RawServer } from "../../support/stdio-client.ts";
import { call, startMachine, type Machine } from "./machine.ts";

const clients = 8;
const each = 250;

let machine: Machine;
beforeEach(async () => {
  machine = await startMachine();
});
afterEach(() => machine.close());

interface Answer {
  readonly id?: number;
  readonly result?: { readonly isError?: boolean; readonly structuredContent?: Readonly<Record<string, unknown>> };
}

/** The next answer; what changed is told in between. */
async function nextAnswer(server: RawServer): Promise<Answer> {
  for (;;) {
    const message = (await server.next()) as Answer;
    if (message.id !== undefined) return message;
  }
}

/** Asks everything at once, and waits for all answers. Ids that were answered without an error. */
async function rememberAll(server: RawServer, client: number): Promise<number> {
  for (let index = 0; index < each; index += 1) {
    const key = `of client ${client}: number ${index}`;
    server.send(call(index + 1, "remember", { key, value: `what ${client} knows about ${index}` }));
  }
  const acknowledged = new Set<number>();
  for (let answered = 0; answered < each; answered += 1) {
    const { id = 0, result } = await nextAnswer(server);
    if (result !== undefined && result.isError !== true) acknowledged.add(id);
  }
  return acknowledged.size;
}

describe("many clients that remember at once", () => {
  it(`lose none of ${clients} × ${each} entries, in memory and on disk`, { timeout: 120_000 }, async () => {
    const servers: RawServer[] = [];
    for (let client = 0; client < clients; client += 1) servers.push(await machine.client());
    const acknowledged = await Promise.all(servers.map(rememberAll));
    expect(acknowledged).toEqual(Array.from({ length: clients }, () => each));

    const another = await machine.client();
    another.send(call(1, "recall", { limit: 1 }));
    const { result } = await nextAnswer(another);
    expect(result?.structuredContent).toMatchObject({ total: clients * each });

    expect((await machine.command("daemon", "stop")).code).toBe(0);
    const stored = JSON.parse(await readFile(path.join(machine.home, "memory.json"), "utf8")) as {
      readonly entries: readonly { readonly key: string; readonly value: string }[];
    };
    const values = new Map(stored.entries.map(({ key, value }) => [key, value]));
    expect(values.size).toBe(clients * each);
    for (const [key, value] of values) {
      const [, client, index] = /^of client (\d+): number (\d+)$/.exec(key) ?? [];
      expect(value).toBe(`what ${client} knows about ${index}`);
    }
  });
});
