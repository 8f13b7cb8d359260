import { createHash, randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Header } from "tar/header";

/** One entry of an archive, with any name and type, also invalid ones. */
export interface ArchiveEntry {
  readonly path: string;
  readonly content?: string | Buffer;
  readonly type?: "File" | "SymbolicLink" | "Link";
  readonly linkpath?: string;
}

export interface FakePackage {
  readonly name: string;
  readonly version: string;
  /** Path in the lock; default `node_modules/<name>`. */
  readonly path?: string;
  readonly entries: readonly ArchiveEntry[];
}

/**
 * Misbehavior for one request of a package's archive: `hang` never replies, `stall` stops and `cut` closes the connection
 * after half of it, `slow` sends it in ten parts, 150 ms apart, `corrupt` changes a byte, `too long` appends bytes, a
 * number is a status code.
 */
type Misbehaviour = "hang" | "stall" | "cut" | "slow" | "corrupt" | "too long" | number;

export interface FakeNpmRegistry {
  /** Ends in a slash. */
  readonly address: string;
  /** `name` of each requested archive, in order of requests. */
  readonly asked: readonly string[];
  /** `Authorization` headers in order of requests. */
  readonly authorizations: readonly (string | undefined)[];
  /** Headers `range` of requests for archives. */
  readonly ranges: readonly (string | undefined)[];
  /** Sets one misbehavior for each of the next requests of this package's archive. */
  misbehave(name: string, ...how: readonly Misbehaviour[]): void;
  /** Serves archives at another address, which is only in the package's document; default `origin`: its own. */
  moveArchives(origin?: string): void;
  /** Redirects (302) a path to `to(path)`, and serves it where that is undefined; a prefix `/moved` is ignored. */
  redirect(to: (path: string) => string | undefined): void;
  /** Delays replies until the returned function is called. */
  holdBack(): () => void;
  /** Resolves with the path when a request whose path contains `part` arrives (or has arrived). */
  arrival(part: string): Promise<string>;
  /** Writes `<folder>/linux-x64/` like scripts/engine-locks.ts. */
  writeLock(folder: string, name?: string): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Starts an HTTP server (HTTPS with `tls`) that behaves like npm's registry, with tiny packages. */
export async function startFakeNpmRegistry(
  packages: readonly FakePackage[],
  tls?: { readonly key: string; readonly cert: string },
): Promise<FakeNpmRegistry> {
  const archives = new Map(packages.map((entry) => [entry, packArchive(entry.entries)]));
  const misbehaviours = new Map<string, Misbehaviour[]>();
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const ranges: (string | undefined)[] = [];
  const arrived: string[] = [];
  const arrivals = new EventEmitter();
  let gate: Promise<void> = Promise.resolve();
  let archiveFolder = "/-/";
  let archiveOrigin: string | undefined;
  let redirectTo: (path: string) => string | undefined = () => undefined;

  const find = (path: string, folder: string) =>
    packages.find((entry) => path === `/${entry.name}${folder}${entry.name.replace(/^.*\//, "")}-${entry.version}.tgz`);

  const listener: RequestListener = (request, response) => {
    const path = request.url ?? "/";
    arrived.push(path);
    authorizations.push(request.headers.authorization);
    arrivals.emit("arrival");
    const location = redirectTo(path);
    if (location !== undefined) response.writeHead(302, { location }).end();
    else void gate.then(() => answer(path.replace(/^\/moved/, ""), request, response));
  };
  const answer = (path: string, request: IncomingMessage, response: ServerResponse): void => {
    const found = find(path, archiveFolder);
    const archive = found === undefined ? undefined : archives.get(found);
    if (found !== undefined && archive !== undefined) {
      asked.push(found.name);
      ranges.push(request.headers.range);
      return answerArchive(archive, misbehaviours.get(found.name)?.shift(), response, request.headers.range);
    }
    const document = packages.find((entry) => path === `/${entry.name.replace("/", "%2f")}`);
    if (document === undefined) return void response.writeHead(404).end("{}");
    const protocol = tls === undefined ? "http" : "https";
    const origin = archiveOrigin ?? `${protocol}://${request.headers.host}`;
    const tarball = `${origin}/${document.name}${archiveFolder}${document.name.replace(/^.*\//, "")}-${document.version}.tgz`;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ name: document.name, versions: { [document.version]: { dist: { tarball } } } }));
  };

  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  const address = `${tls === undefined ? "http" : "https"}://127.0.0.1:${await listen(server)}/`;
  return {
    address,
    asked,
    authorizations,
    ranges,
    misbehave: (name, ...how) => void misbehaviours.set(name, [...how]),
    moveArchives: (origin) => {
      archiveFolder = "/elsewhere/";
      archiveOrigin = origin;
    },
    redirect: (to) => {
      redirectTo = to;
    },
    holdBack: () => {
      let open: () => void = () => undefined;
      gate = new Promise((resolve) => {
        open = resolve;
      });
      return open;
    },
    arrival: async (part) => {
      for (;;) {
        const path = arrived.find((candidate) => candidate.includes(part));
        if (path !== undefined) return path;
        await once(arrivals, "arrival");
      }
    },
    writeLock: (folder, name) => writeLock(folder, archives, name),
    close: async () => {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function answerArchive(
  archive: Buffer,
  how: Misbehaviour | undefined,
  response: ServerResponse,
  range: string | undefined,
): void {
  const first = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  if (how === undefined && first > 0) {
    const headers = { "content-range": `bytes ${first}-${archive.length - 1}/${archive.length}` };
    return void response.writeHead(206, headers).end(archive.subarray(first));
  }
  if (typeof how === "number") return void response.writeHead(how).end("no");
  if (how === "hang") return;
  const half = archive.subarray(0, archive.length >> 1);
  if (how === "corrupt" || how === "too long") {
    const wrong = how === "corrupt" ? Buffer.from(archive) : Buffer.concat([archive, Buffer.alloc(100)]);
    wrong[wrong.length >> 1] = ~(wrong[wrong.length >> 1] ?? 0) & 0xff;
    return void response.writeHead(200, { "content-length": wrong.length }).end(wrong);
  }
  response.writeHead(200, { "content-length": archive.length });
  if (how === undefined) return void response.end(archive);
  if (how === "slow") return sendSlowly(archive, response);
  response.write(half, () => {
    if (how === "cut") response.destroy();
  });
}

function sendSlowly(archive: Buffer, response: ServerResponse): void {
  const step = Math.ceil(archive.length / 10);
  let sent = 0;
  const timer = setInterval(() => {
    response.write(archive.subarray(sent, sent + step));
    sent += step;
    if (sent >= archive.length) response.end();
  }, 150);
  response.on("close", () => clearInterval(timer));
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function packArchive(entries: readonly ArchiveEntry[]): Buffer {
  const blocks = entries.flatMap(({ path, content = "", type = "File", linkpath = "" }) => {
    const data = Buffer.from(content);
    const header = new Header({ path, type, linkpath, size: data.length, mode: 0o644, mtime: new Date(0) });
    header.encode();
    return [header.block ?? Buffer.alloc(0), data, Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

async function writeLock(folder: string, archives: ReadonlyMap<FakePackage, Buffer>, name = "linux-x64") {
  const target = join(folder, name);
  const locked: Record<string, unknown> = { "": { name: "ollm-engine-linux-x64" } };
  const sizes: Record<string, number> = {};
  let downloadBytes = 0;
  for (const [entry, archive] of archives) {
    if (entry === vulkanPackage && !name.endsWith("-vulkan")) continue;
    const path = entry.path ?? `node_modules/${entry.name}`;
    const integrity = `sha512-${createHash("sha512").update(archive).digest("base64")}`;
    locked[path] = { version: entry.version, integrity };
    sizes[path] = archive.length;
    downloadBytes += archive.length;
  }
  // npm also lists packages that --omit=optional omits.
  locked["node_modules/@node-llama-cpp/linux-x64-cuda"] = { version: "3.21.1", optional: true };
  await mkdir(target, { recursive: true });
  await writeFile(join(target, "package-lock.json"), JSON.stringify({ lockfileVersion: 3, packages: locked }));
  await writeFile(
    join(target, "size.json"),
    JSON.stringify({ downloadBytes, installedBytes: 1_000_000, packages: sizes }),
  );
}

/** Body of the fake engine's `getLlama`. */
const workingEngine = `export const getLlama = async () => ({ dispose: async () => {} });`;

/** The binaries of `linux-x64-vulkan`, beside those of the processor. */
export const vulkanPackage: FakePackage = {
  name: "@node-llama-cpp/linux-x64-vulkan",
  version: "3.21.1",
  entries: [
    { path: "package/package.json", content: "{}" },
    { path: "package/bins/linux-x64-vulkan/libggml-vulkan.so", content: randomBytes(1_000) },
  ],
};

/** A minimal lock with all parts of a real one: the engine, its binaries, a nested dependency. */
export function enginePackages(source = workingEngine): readonly FakePackage[] {
  const manifest = JSON.stringify({ name: "node-llama-cpp", type: "module", main: "./dist/index.js" });
  return [
    {
      name: "node-llama-cpp",
      version: "3.21.1",
      entries: [
        { path: "package/package.json", content: manifest },
        { path: "package/dist/index.js", content: source },
        { path: "package/dist/index.d.ts", content: "export {};" },
        { path: "package/llama/gitRelease.bundle", content: randomBytes(300_000) },
      ],
    },
    {
      name: "@node-llama-cpp/linux-x64",
      version: "3.21.1",
      entries: [
        { path: "package/package.json", content: "{}" },
        { path: "package/bins/linux-x64/llama-addon.node", content: randomBytes(100_000) },
      ],
    },
    {
      name: "ms",
      version: "2.1.3",
      path: "node_modules/debug/node_modules/ms",
      entries: [{ path: "odd-top-folder/index.js", content: "module.exports = 1;" }],
    },
  ];
}
