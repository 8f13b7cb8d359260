import type { Readable, Writable } from "node:stream";

/** A client that costs next to nothing, so that the server is measured: lines out, lines in, any number at a time. */
export interface LineClient {
  /** Resolves with the answer, errors included. Notifications are dropped. */
  request(method: string, params: object): Promise<Answer>;
  /** The same for a request of which `members` are written as they are: `"method":"ping"`. */
  raw(members: string): Promise<Answer>;
}

export interface Answer {
  readonly result?: { readonly isError?: boolean; readonly structuredContent?: Readonly<Record<string, unknown>> };
  readonly error?: unknown;
}

/** Speaks JSON-RPC over the streams of a server that speaks stdio. */
export function createLineClient(input: Writable, output: Readable): LineClient {
  const waiting = new Map<number, (answer: Answer) => void>();
  let id = 0;
  let rest = "";
  output.setEncoding("utf8");
  output.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as Answer & { readonly id?: number };
      if (message.id === undefined) continue;
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    }
  });
  const raw = (members: string): Promise<Answer> =>
    new Promise((resolve) => {
      id += 1;
      waiting.set(id, resolve);
      input.write(`{"jsonrpc":"2.0","id":${id},${members}}\n`);
    });
  return {
    request: (method, params) => raw(JSON.stringify({ method, params }).slice(1, -1)),
    raw,
  };
}

/** The opening of a client of the legacy era. */
export const introduction = {
  protocolVersion: "2025-11-25",
  capabilities: {},
  clientInfo: { name: "bench", version: "1" },
} as const;
