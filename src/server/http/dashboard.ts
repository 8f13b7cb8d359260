import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { gunzipSync } from "node:zlib";
import * as z from "zod";
import { isEqual, isNonce, proofsUnder } from "../../ipc/handshake.ts";
import { readHttpToken } from "../../ipc/token.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";
import { builtFile } from "../../orchestrator/util/programs.ts";
import type { Caller } from "../call/caller.ts";
import { wordedFor } from "../call/error-text.ts";
import { createLiveFeed } from "./live-feed.ts";
import { type AccessPolicy, digestOf } from "./policy.ts";
import { type StreamLimits, answerError, answerJson, commonHeaders, watchReader } from "./respond.ts";
import { getOrInsert } from "../../orchestrator/util/values.ts";

interface DashboardOptions {
  readonly home: string;
  /** The caller under whom pages look at the state. */
  readonly parts: Caller;
  readonly log: Log;
  readonly timers?: Timers;
  /** Called when the first page opens, and when the last one has closed. */
  readonly onPages?: (isAnyOpen: boolean) => void;
  /** Sessions that the last daemon of this home left. */
  readonly sessions?: KeptSessions | undefined;
  /** Called when they have changed. */
  readonly onSessions?: (sessions: KeptSessions) => void;
  /** The wall clock, in milliseconds. */
  readonly now?: () => number;
}

/** What the page's own policy can't say, and what it says once more for pages that are not ours. */
const pageHeaders = {
  ...commonHeaders,
  // It has no data. A browser keeps it, and asks each time whether it is still the same.
  "cache-control": "no-cache",
  "content-security-policy": "frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
} as const;

/** By its path, a file with its content type: the page, and what a browser installs it by. */
const served = {
  "/dashboard": ["dashboard.html.gz", "text/html; charset=utf-8"],
  "/dashboard/app.webmanifest": ["dashboard.webmanifest.gz", "application/manifest+json"],
} as const;

/** A file in both forms, for any number of requests. */
async function readServed(path: string) {
  const [name, contentType] = served[path as keyof typeof served];
  const compressed = await readFile(builtFile(name));
  const etag = `W/"${createHash("sha256").update(compressed).digest("base64url")}"`;
  return { headers: { etag, "content-type": contentType }, plain: gunzipSync(compressed), compressed };
}

/** The dashboard of a home, on all HTTP listeners of its daemon: the page, links to it, its sessions and streams. */
export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #codes = createOneTimeCodes(() => performance.now());
  readonly #sessions: ReturnType<typeof createSessions>;
  readonly #feed: ReturnType<typeof createLiveFeed>;
  readonly #files = new Map<string, ReturnType<typeof readServed>>();

  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#sessions = createSessions(options);
    const { parts, log, timers = systemTimers, onPages = () => undefined } = options;
    this.#feed = createLiveFeed({
      log,
      timers,
      onPages,
      async open() {
        const { orchestrator, callerSettings: settings, fileRoots: roots, warnings } = await parts.open();
        const { signal } = new AbortController();
        const caller = { id: parts.id, client: "ollm-dashboard", roots, settings, signal, warnings };
        return { orchestrator, state: () => orchestrator.live.state(caller, (next) => wordedFor(caller.client, next)) };
      },
    });
  }

  /** Open pages. */
  get pages(): number {
    return this.#feed.pages();
  }

  /** A link that works once. `url` is the listener's. The code is in the fragment, which browsers send nowhere. */
  link(url: string): string {
    const { id, code } = this.#codes.make();
    return `${url}/dashboard#${id}.${code}`;
  }

  async answerPage(
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    limits: StreamLimits,
  ): Promise<void> {
    const reading = getOrInsert(this.#files, path, () => readServed(path));
    const {
      headers: own,
      plain,
      compressed,
    } = await reading.catch((error: unknown) => {
      this.#files.delete(path);
      throw error;
    });
    if (response.destroyed) return;
    const headers = { ...pageHeaders, ...own, vary: "accept-encoding" };
    if (request.headers["if-none-match"] === own.etag) return void response.writeHead(304, headers).end();
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

  /**
   * The two messages of a page's handshake (`docs/decisions/0045-dashboard-session.md`). To the first, without a proof, the
   * daemon answers with its own; to the second with the session's secret, and its bearer, sealed.
   */
  shake(request: IncomingMessage, response: ServerResponse, body: unknown, listenerKey: Buffer): void {
    const refuse = (status: number, message: string): void => answerError(request, response, { status, message });
    const { data: knock } = knockForm.safeParse(body);
    if (knock === undefined) return refuse(400, "a page sends by, id and a nonce of 32 hexadecimal digits");
    const token = readHttpToken(this.#options.home);
    if (token === undefined) {
      return refuse(503, "the home's run/http-token can't be read: ollm token rotate makes a new one");
    }
    const secret = this.#secretOf(knock, token, listenerKey);
    if (secret === undefined) return refuse(403, `${endedTexts[knock.by]}: ollm dashboard prints a new link`);
    // The page compares it with its own address, so no other listener can pass on our proof.
    const host = (request.headers.host ?? "").toLowerCase();
    const period = Math.floor(performance.now() / noncePeriodMs);
    const nonceOf = (at: number): string =>
      macOf(listenerKey, `nonce ${at} ${knock.by} ${knock.id} ${knock.nonce} ${host}`, "hex").slice(0, 32);
    const proofsWith = (nonce: string, more = "") => proofsUnder(secret)(knock.nonce, nonce, `${host}${more}`);
    if (knock.proof === undefined) {
      const nonce = nonceOf(period);
      return answerJson(response, 200, JSON.stringify({ nonce, proof: proofsWith(nonce).daemon }));
    }
    const nonce = [period, period - 1].map(nonceOf).find((each) => isEqual(knock.proof, proofsWith(each).front));
    if (nonce === undefined) return refuse(403, "the page's proof is wrong, or came too late");
    if (knock.by === "link" && !this.#codes.redeem(secret)) {
      return refuse(403, `${endedTexts.link}: ollm dashboard prints a new link`);
    }
    const id = knock.by === "link" ? this.#sessions.begin(digestOf(token)) : knock.id.slice(0, idLength);
    const begun = { id, secret: secretOfSession(token, id), bearer: bearerOf(listenerKey, id) };
    const seal = proofsWith(nonce, ` ${begun.id} ${begun.secret} ${begun.bearer}`).daemon;
    answerJson(response, 200, JSON.stringify({ ...begun, seal }));
  }

  #secretOf({ by, id }: Knock, token: string, listenerKey: Buffer): string | undefined {
    if (by === "link") return this.#codes.find(id);
    const session = by === "session" ? id : sessionIn(id, listenerKey);
    if (session === undefined || !this.#sessions.isOpen(session, digestOf(token))) return undefined;
    return by === "session" ? secretOfSession(token, session) : bearerOf(listenerKey, session);
  }

  /** The id of the open session whose bearer this is, at the listener with that key. */
  sessionOf(bearer: string, token: AccessPolicy["token"], listenerKey: Buffer): string | undefined {
    const id = sessionIn(bearer.split(".")[0] ?? "", listenerKey);
    if (id === undefined || !this.#sessions.isOpen(id, token)) return undefined;
    return timingSafeEqual(digestOf(bearer), digestOf(bearerOf(listenerKey, id))) ? id : undefined;
  }

  /** Whether a session has not ended. */
  isOpen(session: string, token: AccessPolicy["token"]): boolean {
    return this.#sessions.isOpen(session, token);
  }

  /** Ends the session that asks. */
  signOut(request: IncomingMessage, response: ServerResponse, session: string | undefined): void {
    if (session === undefined) {
      const message = "the token is no session: ollm token rotate ends all sessions";
      return answerError(request, response, { status: 400, message });
    }
    this.#sessions.end(session);
    response.writeHead(204, commonHeaders).end();
  }

  /** Prompt and answer of a request, if `log.prompts` kept them. No program with the token reads what others asked. */
  async answerTexts(
    request: IncomingMessage,
    response: ServerResponse,
    session: string | undefined,
    trace: string | null,
  ): Promise<void> {
    if (session === undefined || !/^[\da-f]{32}$/.test(trace ?? "")) {
      const message = "texts are for a page that ollm dashboard opened: send the id of a trace and its session";
      return answerError(request, response, { status: 403, message });
    }
    answerJson(response, 200, JSON.stringify((await this.#options.parts.textsOf?.(trace ?? "")) ?? {}));
  }

  openStream(response: ServerResponse, limits: StreamLimits): void {
    this.#feed.open(response, limits);
  }
}

/** How a page knocks: `by` a link's code, a session's secret, or what a tab kept over a reload. */
const knockForm = z.object({
  by: z.enum(["link", "session", "bearer"]),
  id: z.string().regex(/^[\da-f]{16,40}$/),
  nonce: z.custom<string>(isNonce),
  proof: z.unknown().optional(),
});
type Knock = z.output<typeof knockForm>;

const endedTexts: Readonly<Record<Knock["by"], string>> = {
  link: "this link was used, or is older than 5 minutes",
  session: "this session has ended",
  bearer: "this session has ended, or the daemon was restarted before the page was read again",
};

/** A daemon's nonce serves for one to two of these; nothing is stored until a page has proved itself. */
const noncePeriodMs = 10_000;

function macOf(key: Buffer | string, text: string, encoding: "hex" | "base64url"): string {
  return createHmac("sha256", key).update(text).digest(encoding);
}

/** Not stored, the same in the next daemon, and gone with the token. */
function secretOfSession(token: string, id: string): string {
  return macOf(token, `ollm dashboard session ${id}`, "base64url");
}

/** Its name, in front of the point, is the session's id and the listener's: a page learns that it is of another one. */
function bearerOf(listenerKey: Buffer, id: string): string {
  return `${id}${nameOf(listenerKey)}.${macOf(listenerKey, `bearer ${id}`, "base64url")}`;
}

function nameOf(listenerKey: Buffer): string {
  return macOf(listenerKey, "name", "hex").slice(0, 8);
}

/** The session in the name of a bearer, if that is of this listener. */
function sessionIn(name: string, listenerKey: Buffer): string | undefined {
  return name.slice(idLength) === nameOf(listenerKey) ? name.slice(0, idLength) : undefined;
}

/** Sessions that have not ended, and the digest of the HTTP token that they end with. */
export const keptSessions = z.object({
  token: z.string(),
  /** `endsAt` in milliseconds since 1970. Oldest first. */
  open: z.array(z.object({ id: z.string(), endsAt: z.number() })).readonly(),
});
type KeptSessions = Readonly<z.output<typeof keptSessions>>;

/** Hexadecimal digits of a session's id. */
const idLength = 32;
const sessionMs = 24 * 60 * 60_000;
/** More sessions than these are not open at once: the oldest ends. */
const maxSessions = 16;

function createSessions({ sessions, now = Date.now, onSessions = () => undefined }: DashboardOptions) {
  let kept: KeptSessions = sessions ?? { token: "", open: [] };

  function keep(changed: KeptSessions): void {
    kept = changed;
    onSessions(kept);
  }

  function isOpen(id: string, token: AccessPolicy["token"]): boolean {
    if (typeof token === "string" || kept.token !== token.toString("hex")) return false;
    const left = (kept.open.find((each) => each.id === id)?.endsAt ?? 0) - now();
    // A clock that was set back must not lengthen it.
    return left > 0 && left <= sessionMs;
  }

  return {
    begin(token: Buffer): string {
      const id = randomBytes(idLength / 2).toString("hex");
      const open = [...kept.open.filter((each) => isOpen(each.id, token)), { id, endsAt: now() + sessionMs }];
      keep({ token: token.toString("hex"), open: open.slice(-maxSessions) });
      return id;
    },
    isOpen,
    end: (id: string) => keep({ ...kept, open: kept.open.filter((each) => each.id !== id) }),
  };
}

const lifetimeMs = 5 * 60_000;
/** More links than these are not open at once: the oldest ends. */
const maxCodes = 8;

/**
 * Codes that are accepted once, within five minutes. Wrong ones aren't counted: 256 bits can't be guessed, and a limit would
 * let any program of this machine lock the user out. `now` is monotonic, in milliseconds.
 */
export function createOneTimeCodes(now: () => number) {
  /** Oldest first. */
  let alive: readonly { readonly id: string; readonly code: string; readonly endsAtMs: number }[] = [];
  return {
    /** `id` names the code, and reveals nothing of it. */
    make(): { readonly id: string; readonly code: string } {
      const made = { id: randomBytes(8).toString("hex"), code: randomBytes(32).toString("base64url") };
      alive = [...alive, { ...made, endsAtMs: now() + lifetimeMs }].slice(-maxCodes);
      return made;
    },
    /** The code of that name, unless it was used or has ended. */
    find: (id: string): string | undefined => alive.find((each) => each.id === id && now() < each.endsAtMs)?.code,
    /** Uses a code up; false if another page was faster. */
    redeem(code: string): boolean {
      const before = alive.length;
      alive = alive.filter((each) => each.code !== code);
      return alive.length < before;
    },
  };
}
