import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * An HTTP server with the protocol of registry.ollama.ai and hf.co: manifests, blobs with Range, redirects of blobs to
 * another host (a second port), anonymous tokens. It misbehaves on request.
 */
export interface FakeRegistry {
  /** `127.0.0.1:PORT`, for `OLLM_TEST_REGISTRY`. */
  readonly host: string;
  /** Where blobs are redirected to. */
  readonly otherHost: string;
  /** Every request so far, in order. */
  readonly requests: readonly FakeRequest[];
  /** Publishes a model; `name` is `namespace/model:tag` or `model:tag`. Returns the layers' digests (hex), in order. */
  publish(name: string, model: FakeModel): FakePublished;
  /** Publishes any bytes as a manifest. */
  publishManifest(name: string, manifest: string): void;
  /** Adds a fault; returns a function that removes it. Faults apply in the order in which they were added. */
  misbehave(fault: Fault): () => void;
  /** Continues replies that a `hold` fault stopped. */
  release(): void;
  /** Resolves with the first request, past or future, that `matches`. */
  waitFor(matches: (request: FakeRequest) => boolean): Promise<FakeRequest>;
  /** Redirects blobs to `otherHost`. */
  redirectsBlobs: boolean;
  /** When set: 401 without `Authorization: Bearer TOKEN`, which `/token` returns to every client. */
  token: string | undefined;
  close(): Promise<void>;
}

interface FakeModel {
  readonly layers: readonly { readonly type: string; readonly data: Uint8Array | string; readonly name?: string }[];
  /** The config blob; default: a small one for GGUF. */
  readonly config?: unknown;
}

interface FakePublished {
  readonly manifest: string;
  /** sha256 hex of each layer, in the order given. */
  readonly layerDigests: readonly string[];
  readonly configDigest: string;
  /** Bytes of all blobs. */
  readonly sizeBytes: number;
}

interface FakeRequest {
  readonly server: "registry" | "other";
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly userAgent: string | undefined;
  /** Bytes of the body sent so far; grows. */
  sentBytes: number;
}

type Fault = {
  readonly on: "manifest" | "blob";
  /** Number of replies; default: all. */
  readonly times?: number;
  /** Only blobs of at least this size (a config blob is a few hundred bytes). */
  readonly minBytes?: number;
} & (
  | {
      readonly kind: "status";
      readonly status: number;
      readonly body?: string;
      readonly headers?: Record<string, string>;
    }
  /** Closes the connection after this many bytes of the body. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** Sends this many bytes of the body, then nothing until `release()`. */
  | { readonly kind: "hold"; readonly afterBytes: number }
  /** Sends wrong bytes of the right length. */
  | { readonly kind: "corrupt" }
  /** Ignores Range and sends everything with status 200. */
  | { readonly kind: "ignore-range" }
  | { readonly kind: "slow"; readonly chunkBytes: number; readonly everyMs: number }
);

const OLLAMA = "application/vnd.ollama.image.";
const CONFIG_TYPE = "application/vnd.docker.container.image.v1+json";
const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** Starts both servers on free ports of 127.0.0.1. */
export async function startFakeRegistry(): Promise<FakeRegistry> {
  const manifests = new Map<string, string>();
  const blobs = new Map<string, Buffer>();
  const requests: FakeRequest[] = [];
  const waiting = new Set<() => void>();
  let faults: { readonly fault: Fault; left: number }[] = [];
  let held: (() => void)[] = [];

  const takeFault = (on: Fault["on"], sizeBytes: number): Fault | undefined => {
    const entry = faults.find(({ fault, left }) => left > 0 && fault.on === on && sizeBytes >= (fault.minBytes ?? 0));
    if (entry !== undefined) entry.left -= 1;
    return entry?.fault;
  };

  const answer = (server: FakeRequest["server"]) => (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    const { range, authorization } = request.headers;
    const seen: FakeRequest = {
      server,
      path: url.pathname,
      range,
      authorization,
      userAgent: request.headers["user-agent"],
      sentBytes: 0,
    };
    requests.push(seen);
    for (const wake of waiting) wake();
    if (url.pathname === "/token") return sendJson(response, 200, { token: registry.token });
    if (server === "registry" && registry.token !== undefined && authorization !== `Bearer ${registry.token}`) {
      response.setHeader(
        "www-authenticate",
        `Bearer realm="http://${registry.host}/token",service="fake",scope="repository:x:pull"`,
      );
      return sendJson(response, 401, { errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] });
    }
    const [, repository, kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname) ?? [];
    if (kind === "manifests") return answerManifest(response, `${repository}:${reference}`);
    if (kind === "blobs") return answerBlob(response, url, seen, reference ?? "");
    return sendJson(response, 404, { error: "not found" });
  };

  const answerManifest = (response: ServerResponse, name: string) => {
    const manifest = manifests.get(name);
    const fault = takeFault("manifest", manifest?.length ?? 0);
    if (fault?.kind === "status") return sendStatus(response, fault);
    if (fault?.kind === "hold") return void held.push(() => response.destroy());
    if (manifest === undefined)
      return sendJson(response, 404, { errors: [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown" }] });
    response.setHeader("content-type", MANIFEST_TYPE);
    response.end(manifest);
  };

  const answerBlob = (response: ServerResponse, url: URL, seen: FakeRequest, reference: string) => {
    const data = blobs.get(reference.replace("sha256:", ""));
    if (data === undefined) return sendJson(response, 404, { errors: [{ code: "BLOB_UNKNOWN" }] });
    if (registry.redirectsBlobs && seen.server === "registry") {
      response.writeHead(307, { location: `http://${registry.otherHost}${url.pathname}?signature=1` });
      return void response.end();
    }
    const fault = takeFault("blob", data.length);
    if (fault?.kind === "status") return sendStatus(response, fault);
    const [, first] = /^bytes=(\d+)-$/.exec(seen.range ?? "") ?? [];
    const start = first === undefined || fault?.kind === "ignore-range" ? undefined : Number(first);
    if (start !== undefined && start >= data.length) {
      response.writeHead(416, { "content-range": `bytes */${data.length}` });
      return void response.end();
    }
    const body = Buffer.from(data.subarray(start ?? 0));
    if (fault?.kind === "corrupt") body[body.length - 1] = (body.at(-1) ?? 0) ^ 0xff;
    const headers = {
      "content-length": body.length,
      "content-type": "application/octet-stream",
      "accept-ranges": "bytes",
    };
    if (start === undefined) response.writeHead(200, headers);
    else response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${data.length - 1}/${data.length}` });
    sendBody(response, body, fault, seen);
  };

  const sendBody = (response: ServerResponse, body: Buffer, fault: Fault | undefined, seen: FakeRequest) => {
    if (fault?.kind === "slow") return sendSlowly(response, body, fault, seen);
    const stopAt = fault?.kind === "cut" || fault?.kind === "hold" ? fault.afterBytes : undefined;
    if (stopAt === undefined || stopAt >= body.length) {
      seen.sentBytes += body.length;
      return void response.end(body);
    }
    // Flushed, so that closing the connection doesn't lose them.
    response.flushHeaders();
    seen.sentBytes += stopAt;
    response.write(body.subarray(0, stopAt), () => {
      if (fault?.kind === "cut") return void response.socket?.end();
      held.push(() => {
        if (response.destroyed) return;
        seen.sentBytes += body.length - stopAt;
        response.end(body.subarray(stopAt));
      });
    });
  };

  const registryServer = createServer(answer("registry"));
  const otherServer = createServer(answer("other"));
  const registry: FakeRegistry = {
    host: await listen(registryServer),
    otherHost: await listen(otherServer),
    requests,
    redirectsBlobs: false,
    token: undefined,
    publish(name, model) {
      const addBlob = (content: Uint8Array | string) => {
        const data = Buffer.from(content);
        const digest = createHash("sha256").update(data).digest("hex");
        blobs.set(digest, data);
        return { digest: `sha256:${digest}`, size: data.length };
      };
      const layers = model.layers.map(({ type, data, name: layerName }) => ({
        mediaType: type.includes("/") ? type : OLLAMA + type,
        ...addBlob(data),
        ...(layerName === undefined ? {} : { name: layerName }),
      }));
      const fallback = { model_format: "gguf", model_family: "llama", model_type: "134.52M", file_type: "Q4_1" };
      const config = { mediaType: CONFIG_TYPE, ...addBlob(JSON.stringify(model.config ?? fallback)) };
      const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers });
      registry.publishManifest(name, manifest);
      return {
        manifest,
        layerDigests: layers.map(({ digest }) => digest.slice(7)),
        configDigest: config.digest.slice(7),
        sizeBytes: [config, ...layers].reduce((sum, { size }) => sum + size, 0),
      };
    },
    publishManifest(name, manifest) {
      const [repository, tag = "latest"] = name.split(":");
      manifests.set(`${repository?.includes("/") === true ? repository : `library/${repository}`}:${tag}`, manifest);
    },
    misbehave(fault) {
      const entry = { fault, left: fault.times ?? Number.POSITIVE_INFINITY };
      faults.push(entry);
      return () => {
        faults = faults.filter((other) => other !== entry);
      };
    },
    release() {
      const waitingAnswers = held;
      held = [];
      for (const go of waitingAnswers) go();
    },
    waitFor: (matches) =>
      new Promise((resolve) => {
        const check = () => {
          const found = requests.find(matches);
          if (found === undefined) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
    async close() {
      for (const server of [registryServer, otherServer]) server.closeAllConnections();
      await Promise.all([registryServer, otherServer].map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
  return registry;
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function sendStatus(response: ServerResponse, fault: Extract<Fault, { kind: "status" }>): void {
  response.writeHead(fault.status, fault.headers);
  response.end(fault.body ?? "");
}

function sendSlowly(
  response: ServerResponse,
  body: Buffer,
  fault: Extract<Fault, { kind: "slow" }>,
  seen: FakeRequest,
): void {
  let at = 0;
  const timer = setInterval(() => {
    const chunk = body.subarray(at, at + fault.chunkBytes);
    at += chunk.length;
    seen.sentBytes += chunk.length;
    response.write(chunk);
    if (at < body.length) return;
    clearInterval(timer);
    response.end();
  }, fault.everyMs);
  response.on("close", () => clearInterval(timer));
}
