import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import type { Farewell, Hello, Welcome } from "../../ipc/protocol.ts";
import { dashboardFile } from "../../ipc/run-folder.ts";
import { DaemonUnavailable, InvalidRequest } from "../../orchestrator/api/errors.ts";
import { codeOf, fieldsIn, messageOf, orUndefined } from "../../orchestrator/util/values.ts";
import { Dashboard, keptSessions } from "../http/dashboard.ts";
import { type HttpListener, openHttpListener } from "../http/listener.ts";
import { type CallerOrigin, type DaemonParts, callerParts, noticesFor } from "./caller-home.ts";

/** The dashboard's first choice, so that a bookmark stays right; `ollm serve` has 7411. */
const dashboardPort = 7412;
/** Waits before each attempt to listen where the last daemon did: its end, or a kill, frees the port. */
const retryMs: readonly number[] = [0, 100, 250, 500, 1_000, 2_000, 4_000];
/** After this time a page that was open has reconnected, or is gone. */
const reconnectMs = 60_000;

/** How long the program at a port is asked what it is. */
const probeMs = 1_000;

/** The daemon's HTTP listeners: those that `ollm serve` leases, and its own, for the dashboard. */
export class Listeners {
  readonly #parts: DaemonParts;
  readonly #dashboard: Dashboard;
  /** By the connection that keeps it open. */
  readonly #leased = new Map<Socket, HttpListener>();
  #own: Promise<HttpListener> | undefined;
  #ownUrl: string | undefined;
  /** Aborts when a link is asked for: it waits for no port. */
  readonly #asked = new AbortController();
  /** Those leased by `ollm serve`. */
  #serves = 0;
  /** `http.ollamaPort` as it was last opened, or why it was not. */
  #ollama: { readonly key: string; readonly listener?: HttpListener; readonly notice: string } | undefined;
  #ollamaWork = Promise.resolve();
  #isClosed = false;
  #kept: Kept;

  constructor(parts: DaemonParts) {
    this.#parts = parts;
    this.#kept = readKept(parts.home);
    this.#dashboard = new Dashboard({
      home: parts.home,
      log: parts.log,
      parts: callerParts(parts, "dashboard", this.#ownOrigin),
      onPages: (isAnyOpen) => this.#keep({ isOpen: isAnyOpen }),
      sessions: this.#kept.sessions,
      onSessions: (sessions) => this.#keep({ sessions }),
    });
  }

  /** Listeners that `ollm serve` leases. */
  get leased(): number {
    return this.#leased.size;
  }

  /** Open pages of the dashboard. */
  get pages(): number {
    return this.#dashboard.pages;
  }

  get urls(): readonly string[] {
    const leased = [...this.#leased.values(), ...(this.#ollama?.listener ? [this.#ollama.listener] : [])].map(
      ({ url }) => url,
    );
    return this.#ownUrl === undefined ? leased : [...leased, this.#ownUrl];
  }

  /** Opens a listener for as long as the connection lasts. */
  async serveHttp(socket: Socket, hello: Hello, welcome: (message: Welcome) => void): Promise<void> {
    const wanted = hello.http;
    if (wanted === undefined) throw new DaemonUnavailable("an HTTP listener was requested without address and port");
    const origin: CallerOrigin = { ...this.#ownOrigin, environment: hello.environment };
    const opening = this.#open(origin, wanted);
    const notices = await noticesFor(callerParts(this.#parts, "http", origin), origin, this.#parts.orchestrator);
    const listener = await opening;
    this.#leased.set(socket, listener);
    const isServe = wanted.doors === undefined;
    if (isServe) this.#serves += 1;
    const opened = await this.#parts.orchestrator.open();
    const ignore = opened.live.onChange(() => void this.#followOllamaPort(origin));
    const close = (): void => {
      ignore();
      if (!this.#leased.delete(socket)) return;
      if (isServe) this.#serves -= 1;
      this.#close(listener);
      void this.#followOllamaPort(origin);
    };
    socket.once("close", close);
    const ollama = await this.#followOllamaPort(origin);
    // No more messages follow; reading detects the end.
    socket.resume();
    if (socket.destroyed || this.#isClosed) return close();
    const { url, tokenFile } = listener;
    const said = [...notices, ...(isServe && ollama !== undefined ? [ollama] : [])];
    const doors = wanted.doors ?? opened.settings.http.doors;
    welcome({ ok: true, http: { url, tokenFile, doors }, ...(said.length > 0 && { notices: said }) });
  }

  /** Answers with a link to the dashboard. */
  async serveDashboard(welcome: (message: Welcome) => void): Promise<void> {
    this.#asked.abort();
    const { url } = await (this.#own ??= this.#openOwn(false));
    const notices = this.#parts.isStandalone
      ? [`a standalone server (pid ${process.pid}) holds this home: the dashboard ends with its client`]
      : [];
    welcome({ ok: true, dashboard: { url: this.#dashboard.link(url) }, notices });
  }

  /** Listens where the last daemon did if a page was open when that ended, so that it reconnects. */
  async reopen(): Promise<void> {
    if (!this.#kept.isOpen || this.#kept.port === undefined) return;
    try {
      await (this.#own ??= this.#openOwn(true));
    } catch (error) {
      this.#parts.log.warn(`dashboard: ${messageOf(error)}`);
      return;
    }
    const timer = setTimeout(() => this.pages === 0 && this.#keep({ isOpen: false }), reconnectMs);
    timer.unref();
  }

  sayFarewell(farewell: Farewell): void {
    for (const socket of this.#leased.keys()) socket.write(`${JSON.stringify(farewell)}\n`);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const own = await this.#own?.catch(() => undefined);
    await Promise.all([...this.#leased.values(), ...(own === undefined ? [] : [own])].map((each) => each.close()));
    this.#leased.clear();
    await this.#followOllamaPort(this.#ownOrigin);
  }

  /** Opens and closes `http.ollamaPort` by the settings, while `ollm serve` runs. Resolves with what to say of it. */
  async #followOllamaPort(origin: CallerOrigin): Promise<string | undefined> {
    this.#ollamaWork = this.#ollamaWork.then(async () => {
      const { ollamaPort: port, ollamaWithoutToken: isWithoutToken } =
        this.#parts.orchestrator.current()?.settings.http ?? {};
      const key = port === undefined || this.#serves === 0 || this.#isClosed ? "" : `${port} ${isWithoutToken}`;
      if (key === (this.#ollama?.key ?? "") && (key === "" || this.#ollama?.listener !== undefined)) return;
      await this.#ollama?.listener?.close().catch(() => undefined);
      this.#ollama = undefined;
      if (port === undefined || key === "") return;
      try {
        const wanted = {
          bind: "127.0.0.1",
          port,
          doors: ["ollama"] as const,
          ...(isWithoutToken === true && { isWithoutToken }),
        };
        const listener = await this.#open(origin, wanted);
        const how = isWithoutToken === true ? "without a token" : "with the token";
        this.#ollama = { key, listener, notice: `Ollama's API is served at ${listener.url}, ${how}` };
      } catch (error) {
        const notice = `http.ollamaPort: ${await whyNot(port, error)}; Ollama's API is not served there`;
        this.#parts.log.warn(notice);
        this.#ollama = { key, notice };
      }
    });
    await this.#ollamaWork;
    return this.#ollama?.notice;
  }

  get #ownOrigin(): CallerOrigin {
    return { environment: {}, flags: {}, userHome: this.#parts.userHome };
  }

  async #openOwn(isAgain: boolean): Promise<HttpListener> {
    const { port = dashboardPort } = this.#kept;
    try {
      const listener = await (isAgain ? this.#openAgain(port) : this.#openAtAny([port, 0]));
      this.#ownUrl = listener.url;
      if (this.#isClosed) this.#close(listener);
      else this.#keep({ port: Number(new URL(listener.url).port) });
      return listener;
    } catch (error) {
      this.#own = undefined;
      throw error;
    }
  }

  /** At the first port that is free. */
  async #openAtAny([port = 0, ...others]: readonly number[]): Promise<HttpListener> {
    try {
      return await this.#open(this.#ownOrigin, { bind: "127.0.0.1", port });
    } catch (error) {
      if (!(error instanceof InvalidRequest) || port === 0) throw error;
      return this.#openAtAny(others);
    }
  }

  async #openAgain(port: number): Promise<HttpListener> {
    let failure: unknown;
    const { signal } = this.#asked;
    for (const waitMs of retryMs) {
      await delay(waitMs, undefined, { ref: false, signal }).catch(() => undefined);
      if (signal.aborted) return this.#openAtAny([port, 0]);
      try {
        return await this.#open(this.#ownOrigin, { bind: "127.0.0.1", port });
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  async #open(origin: CallerOrigin, wanted: NonNullable<Hello["http"]>): Promise<HttpListener> {
    const { orchestrator, home, version, log } = this.#parts;
    const opened = await orchestrator.open();
    const listener = await openHttpListener({
      bind: wanted.bind,
      port: wanted.port,
      home,
      partsFor: (id) => callerParts(this.#parts, id, origin),
      settings: () => opened.settings.http,
      version,
      problems: () => orchestrator.current()?.orchestrator.problems() ?? [],
      log,
      dashboard: this.#dashboard,
      ...(wanted.isWithoutToken === true && { isWithoutToken: true }),
      ...(wanted.doors && { doors: wanted.doors }),
    });
    log.info(`HTTP listener at ${listener.url}`);
    return listener;
  }

  #close(listener: HttpListener): void {
    listener.close().catch((error: unknown) => this.#parts.log.warn(`closing ${listener.url}: ${String(error)}`));
  }

  /** What the next daemon reads. Pages that this daemon's end closes stay open for it. */
  #keep(change: Partial<Kept>): void {
    if (this.#isClosed) return;
    this.#kept = { ...this.#kept, ...change };
    const file = dashboardFile(this.#parts.home);
    try {
      // Never half of it: this process may be killed at any time.
      writeFileSync(`${file}.new`, `${JSON.stringify(this.#kept)}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      this.#parts.log.warn(`dashboard: ${String(error)}`);
    }
  }
}

/** Who has the port, as far as its answer tells. */
async function whyNot(port: number, error: unknown): Promise<string> {
  if (codeOf((error as { readonly cause?: unknown }).cause) !== "EADDRINUSE") return messageOf(error);
  const at = `port ${port} is taken by`;
  try {
    const reply = await fetch(`http://127.0.0.1:${port}/api/version`, { signal: AbortSignal.timeout(probeMs) });
    const text = (await reply.text()).slice(0, 1_000);
    if (/\bollm\b/.test(text)) return `${at} another ollm`;
    const { version } = fieldsIn(text);
    return `${at} ${typeof version === "string" ? `an Ollama server (${version.slice(0, 40)})` : "another program"}`;
  } catch {
    return `${at} another program`;
  }
}

/** What `run/dashboard.json` keeps. A part that others changed counts as absent. */
const keptForm = z.object({
  port: z.int().min(1).max(65_535).optional().catch(undefined),
  isOpen: z.boolean().catch(false),
  sessions: keptSessions.optional().catch(undefined),
});
type Kept = Readonly<z.output<typeof keptForm>>;

function readKept(home: string): Kept {
  const kept = orUndefined(() => keptForm.parse(JSON.parse(readFileSync(dashboardFile(home), "utf8"))));
  return kept ?? { isOpen: false };
}
