import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { gunzipSync } from "node:zlib";
import { readHttpToken } from "../../ipc/token.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";
import { builtFile } from "../daemon/engines.ts";
import type { ServerParts } from "../daemon/server-parts.ts";
import { wordedFor } from "../mcp/error-text.ts";
import { LiveFeed } from "./live-feed.ts";
import { digestOf, sessionToken } from "./policy.ts";
import { type StreamLimits, answerError, answerJson, commonHeaders, watchReader } from "./respond.ts";

interface DashboardOptions {
  readonly home: string;
  /** The caller under whom pages look at the state. */
  readonly parts: ServerParts;
  readonly log: Log;
  readonly timers?: Timers;
  /** Called when the first page opens, and when the last one has closed. */
  readonly onPages?: (isAnyOpen: boolean) => void;
}

/** What the page's own policy can't say, and what it says once more for pages that are not ours. */
const pageHeaders = {
  ...commonHeaders,
  // It has no data. A browser keeps it, and asks each time whether it is still the same.
  "cache-control": "no-cache",
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
} as const;

/** The page in both forms, for any number of requests. */
async function readPage() {
  const compressed = await readFile(builtFile("dashboard.html.gz"));
  const etag = `W/"${createHash("sha256").update(compressed).digest("base64url")}"`;
  return { etag, plain: gunzipSync(compressed), compressed };
}

/** The dashboard of a home, on all HTTP listeners of its daemon: the page, links to it, its sessions and streams. */
export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #codes = new OneTimeCodes(() => performance.now());
  readonly #feed: LiveFeed;
  #page: ReturnType<typeof readPage> | undefined;

  constructor(options: DashboardOptions) {
    this.#options = options;
    const { parts, log, timers = systemTimers, onPages = () => undefined } = options;
    this.#feed = new LiveFeed({
      log,
      timers,
      onPages,
      async open() {
        const { orchestrator, callerSettings: settings, fileRoots: roots, warnings } = await parts.open();
        const { signal } = new AbortController();
        const caller = { id: parts.caller.id, client: "ollm-dashboard", roots, settings, signal, warnings };
        return { orchestrator, state: () => orchestrator.live.state(caller, (next) => wordedFor(caller.client, next)) };
      },
    });
  }

  /** Open pages. */
  get pages(): number {
    return this.#feed.pages;
  }

  /** A link that works once. `url` is the listener's. The code is in the fragment, which browsers send nowhere. */
  link(url: string): string {
    return `${url}/dashboard#${this.#codes.make()}`;
  }

  async answerPage(request: IncomingMessage, response: ServerResponse, limits: StreamLimits): Promise<void> {
    const { etag, plain, compressed } = await (this.#page ??= readPage().catch((error: unknown) => {
      this.#page = undefined;
      throw error;
    }));
    if (response.destroyed) return;
    const headers = { ...pageHeaders, etag, vary: "accept-encoding" };
    if (request.headers["if-none-match"] === etag) return void response.writeHead(304, headers).end();
    const takesGzip = /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/i.test(request.headers["accept-encoding"] ?? "");
    const sent = takesGzip ? compressed : plain;
    const encoding = takesGzip && { "content-encoding": "gzip" };
    // Quiet: any program of this machine may ask, and not read.
    const watcher = watchReader(response, limits, (why) =>
      this.#options.log.debug(`dashboard: a page was cut: ${why}`),
    );
    response.writeHead(200, { ...headers, ...encoding, "content-length": sent.length }).end(sent);
    watcher.wrote();
  }

  /** Exchanges the code of a link for the token of a session. */
  begin(request: IncomingMessage, response: ServerResponse, body: unknown): void {
    const code = typeof body === "object" && body !== null && "code" in body ? body.code : undefined;
    if (!this.#codes.redeem(typeof code === "string" ? code : "")) {
      const message = "this link was used, or is older than 5 minutes: ollm dashboard prints a new one";
      return answerError(request, response, { status: 403, message });
    }
    const token = readHttpToken(this.#options.home);
    if (token === undefined) {
      const message = "the home's run/http-token can't be read: ollm token rotate makes a new one";
      return answerError(request, response, { status: 503, message });
    }
    answerJson(response, 200, JSON.stringify({ token: sessionToken(token) }));
  }

  openStream(response: ServerResponse, limits: StreamLimits): void {
    this.#feed.open(response, limits);
  }
}

const lifetimeMs = 5 * 60_000;
/** More links than these are not open at once: the oldest ends. */
const maxCodes = 8;

/**
 * Codes that are accepted once, within five minutes. Wrong ones aren't counted: 256 bits can't be guessed, and a limit would
 * let any program of this machine lock the user out. `now` is monotonic, in milliseconds.
 */
export class OneTimeCodes {
  readonly #now: () => number;
  /** Their digests, oldest first. */
  #alive: readonly { readonly digest: Buffer; readonly endsAtMs: number }[] = [];

  constructor(now: () => number) {
    this.#now = now;
  }

  make(): string {
    const code = randomBytes(32).toString("base64url");
    const made = { digest: digestOf(code), endsAtMs: this.#now() + lifetimeMs };
    this.#alive = [...this.#alive, made].slice(-maxCodes);
    return code;
  }

  /** Whether the code is right, which uses it up. */
  redeem(code: string): boolean {
    const now = this.#now();
    const given = digestOf(code);
    const isRight = ({ digest, endsAtMs }: { digest: Buffer; endsAtMs: number }): boolean =>
      timingSafeEqual(digest, given) && now < endsAtMs;
    // All are compared.
    const right = this.#alive.filter(isRight);
    this.#alive = this.#alive.filter((each) => !right.includes(each));
    return right.length > 0;
  }
}
