import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline, Readable } from "node:stream";

/** What one path of a hostile engine answers with, in place of the honest reply. */
export type Misdeed = (request: IncomingMessage, response: ServerResponse) => void;

const honest: Readonly<Record<string, object>> = {
  "/api/version": { version: "0.33.0" },
  // Already loaded: the attack is not on a load.
  "/api/ps": {
    models: [
      {
        name: "model0:1b",
        model: "model0:1b",
        digest: "0".repeat(64),
        size: 100_000_000,
        size_vram: 0,
        context_length: 1_048_576,
        expires_at: "2999-01-01T00:00:00Z",
      },
    ],
  },
  "/api/generate": { model: "model0:1b", response: "", done: true, done_reason: "load" },
  "/api/show": {
    details: { family: "llama", parameter_size: "1B", quantization_level: "Q4_0" },
    model_info: { "general.architecture": "llama", "llama.context_length": 1_048_576 },
    capabilities: ["completion"],
  },
};

/** Runs with an engine that answers as Ollama does, but for the paths of `misdeeds`. */
export async function withHostileOllama<Result>(
  models: number,
  misdeeds: Readonly<Record<string, Misdeed>>,
  run: (url: string) => Promise<Result>,
): Promise<Result> {
  const rows = Array.from({ length: models }, (_, index) => ({
    name: `model${index}:1b`,
    model: `model${index}:1b`,
    digest: String(index).padStart(64, "0"),
    size: 100_000_000,
    details: { family: "llama", parameter_size: "1B", quantization_level: "Q4_0" },
  }));
  const server = createServer((request, response) => {
    request.resume();
    const misdeed = misdeeds[request.url ?? ""];
    if (misdeed !== undefined) return misdeed(request, response);
    const said = request.url === "/api/tags" ? { models: rows } : honest[request.url ?? ""];
    response.writeHead(said === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(said ?? { error: "not found" }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await run(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Writes `head`, and then `piece` (or what it makes) until the connection is closed. */
export function endless(
  piece: string | (() => string),
  { status = 200, type = "application/json", head = "" } = {},
): Misdeed {
  function* pieces(): Generator<string> {
    yield head;
    for (;;) yield typeof piece === "string" ? piece : piece();
  }
  return (_, response) => {
    response.writeHead(status, { "content-type": type });
    pipeline(Readable.from(pieces()), response, () => undefined);
  };
}

/** One reply, whole. */
export function reply(text: string, type = "application/json"): Misdeed {
  return (_, response) => {
    response.writeHead(200, { "content-type": type });
    response.end(text);
  };
}
