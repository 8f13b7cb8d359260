/** The state of the page, in signals; and what keeps it current: the session, the live stream, the calls. */
import { computed, effect, signal } from "@preact/signals";
import type { EventSourceMessage } from "eventsource-parser";
import type { Alert, LiveHistory, LiveState } from "../orchestrator/api/facade-metrics.ts";
import type { Change } from "../orchestrator/api/facade.ts";
import { type Connection, createLiveStream } from "./live.ts";
import { visibleText } from "./format.ts";
import { CallError, createMcpClient, errorText } from "./mcp.ts";
import { PageSession, type Session, linkIn } from "./session.ts";
import { LastHour } from "../orchestrator/util/last-hour.ts";

export const session = signal<Session>({ state: "opening" });
export const connection = signal<Connection>({ state: "connecting" });
/** What happens on this machine now; undefined until the first event. Kept while reconnecting. */
export const live = signal<LiveState | undefined>(undefined);
/** The last hour, by the second; read it again when `now` moves. */
export const samples = new LastHour();
/** Grows with each new connection: what was read before may be out of date. */
export const connectionCount = signal(0);
/** Milliseconds; moves each second while the page is visible and something runs, or each five seconds. */
export const now = signal(Date.now());

const fetchNow: typeof fetch = (...request) => fetch(...request);
const entrance = new PageSession({
  host: location.host,
  storage: sessionStorage,
  fetch: fetchNow,
  subtle: crypto.subtle,
});
const entry = () => entrance.entry();

/** What both ways to the daemon need. */
const way = { fetch: fetchNow, entry, doubt: () => entrance.doubt(), onRefused: () => endSession() };

/** Calls of tools, reads of resources. */
export const client = createMcpClient(way);

/** Prompt and answer of a request, as far as the daemon's log has them. */
export async function textsOf(trace: string): Promise<{ readonly prompt?: string; readonly answer?: string }> {
  const entered = await entry();
  const headers = { authorization: `Bearer ${entered.kind === "bearer" ? entered.bearer : ""}` };
  const response = await fetchNow(`/dashboard/texts?trace=${trace}`, { headers });
  return response.ok ? ((await response.json()) as object) : {};
}

function endSession(reason: string = endedText): void {
  stream?.stop();
  stream = undefined;
  entrance.close();
  session.value = { state: "none", reason };
}

/** Ends the session, here and in the tabs that share it. */
export async function signOut(): Promise<void> {
  const entered = await entry();
  if (entered.kind === "bearer") {
    const headers = { authorization: `Bearer ${entered.bearer}` };
    await fetch("/dashboard/session", { method: "DELETE", headers }).catch(() => undefined);
  }
  endSession("Signed out.");
}

// ------------------------------------------------------------------------------------------------------- pages

/** The page that the address names (`#/models`; empty for the first one), and what it says after that: `model=a`. */
export const route = signal(routeOf(location.hash));

function routeOf(hash: string) {
  const [, page = "", query = ""] = /^#\/([\w-]*)(?:\?(.*))?/.exec(hash) ?? [];
  return { page, query };
}

/** `#/models`, `#/activity?model=a` */
export function addressOf(page: string, asked = ""): string {
  return `#/${page}${asked === "" ? "" : `?${asked}`}`;
}

// ----------------------------------------------------------------------------------------------------- changes

const changeListeners = new Set<(change: Change) => void>();

/** Calls `listener` for each change of the daemon's data; returns the function that ends that. */
export function onChange(listener: (change: Change) => void): () => void {
  changeListeners.add(listener);
  return () => changeListeners.delete(listener);
}

function received({ event, data }: EventSourceMessage): void {
  const parsed: unknown = JSON.parse(data);
  if (event === "state") {
    const state = parsed as LiveState;
    const known = new Set(live.value?.alerts.map(({ id }) => id));
    if (document.hidden && switches.notifications.value && live.value !== undefined)
      for (const { text } of state.alerts.filter((each) => each.until === undefined && !known.has(each.id))) {
        const shown = new Notification("ollm", { body: visibleText(text) });
        shown.addEventListener("click", () => window.focus());
      }
    live.value = state;
    samples.add(state, Date.now());
  } else if (event === "history") samples.takeHistory(parsed as LiveHistory);
  else if (event === "change") for (const listener of changeListeners) listener(parsed as Change);
}

// ----------------------------------------------------------------------------------------------------- notices

/** A message to the user; failures stay until they are dismissed. */
interface Notice {
  readonly id: number;
  readonly kind: "done" | "failed";
  readonly text: string;
  readonly dismiss: () => void;
}

export const notices = signal<readonly Notice[]>([]);
const noticeMs = 6_000;
const maxNotices = 4;
let lastNotice = 0;

export function notify(notice: Omit<Notice, "id" | "dismiss">): void {
  lastNotice += 1;
  const id = lastNotice;
  const dismiss = (): void => void (notices.value = notices.value.filter((each) => each.id !== id));
  notices.value = [...notices.value, { ...notice, id, dismiss }].slice(-maxNotices);
  if (notice.kind === "done") setTimeout(dismiss, noticeMs);
}

/** Shows an error with its next steps, unless the page itself ended the call. */
export function notifyError(error: unknown): void {
  if (error instanceof CallError && (error.kind === "aborted" || error.kind === "refused")) return;
  notify({ kind: "failed", text: errorText(error) });
}

// --------------------------------------------------------------------------------------------------- questions

/** A question of the page before it does what can't be undone. */
interface Question {
  readonly title: string;
  readonly text: string;
  /** What the button says: `Delete 98.1 MB`. */
  readonly action: string;
  readonly isDangerous?: boolean;
}

export const question = signal<(Question & { readonly answer: (isYes: boolean) => void }) | undefined>(undefined);

/** Shows a dialog; resolves with the user's decision. */
export async function ask(asked: Question): Promise<boolean> {
  question.value?.answer(false);
  return new Promise((resolve) => {
    question.value = {
      ...asked,
      answer: (isYes) => {
        question.value = undefined;
        resolve(isYes);
      },
    };
  });
}

// ---------------------------------------------------------------------------------------------- kept choices

const themes = ["system", "light", "dark"] as const;
export const theme = signal<(typeof themes)[number]>(themes.find((name) => name === kept("theme")) ?? "system");
export const switches = {
  /** Single keys as shortcuts; a user of voice input turns them off. */
  shortcuts: signal(kept("shortcuts") !== "off"),
  /** The system's notifications of what goes wrong while the page is hidden. */
  notifications: signal(kept("notifications") === "on"),
};

/** Which of light and dark is in force. */
export const isDark = signal(false);

/** Ids of alerts that were dismissed in this browser. */
const dismissed = signal(kept("dismissed")?.split("\n") ?? []);

/** What is wrong now and was not dismissed. */
export const alerts = computed(() =>
  (live.value?.alerts ?? []).filter(({ id, until }) => until === undefined && !dismissed.value.includes(id)),
);

export function dismissAlert({ id }: Alert): void {
  const known = live.value?.alerts.map((alert) => alert.id);
  dismissed.value = [...dismissed.value.filter((each) => known?.includes(each)), id];
  keep("dismissed", dismissed.value.join("\n"));
}

function kept(name: string): string | undefined {
  try {
    return localStorage.getItem(`ollm-${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

function keep(name: string, value: string): void {
  // Writing waits for the disk.
  if (kept(name) === value) return;
  try {
    localStorage.setItem(`ollm-${name}`, value);
  } catch {
    // A browser without storage: the choice holds until the page is closed.
  }
}

// ------------------------------------------------------------------------------------------------------- start

let stream: ReturnType<typeof createLiveStream> | undefined;
/** Browsers open six connections to a server, for all their tabs, and a stream takes one. */
const tabs = new BroadcastChannel("ollm-dashboard");
/** Between two moves of what changes with time alone, while nothing runs. */
const idleMs = 5_000;
/** A page that is left learns that it is hidden a moment after the next one is seen. */
const leftMs = 1_000;

/** Tries again at once while the page waits to reconnect. */
export function reconnectNow(): void {
  stream?.retryNow();
}

/** Follows the daemon. The last page that was looked at does so in the background, too: an open page keeps the daemon up. */
function follow(): void {
  if (session.value.state !== "open") return;
  tabs.postMessage("follows");
  if (stream !== undefined) return reconnectNow();
  stream = createLiveStream({
    ...way,
    now: Date.now,
    random: Math.random,
    wait,
    onConnection: (next) => {
      connection.value = next;
      if (next.state === "reconnecting") samples.pause(Date.now());
      if (next.state === "connected") connectionCount.value += 1;
    },
    onEvent: received,
  });
  void stream.run();
}

/** Leaves the connection to the page that is looked at now, until this one is looked at again. */
function rest(): void {
  if (!document.hidden || stream === undefined) return;
  stream.stop();
  stream = undefined;
  samples.pause(Date.now());
}

/** Opens the session and follows the daemon, once per page. */
export async function start(): Promise<void> {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const wish = signal(dark.matches);
  dark.addEventListener("change", () => (wish.value = dark.matches));
  effect(() => {
    document.documentElement.style.colorScheme = theme.value === "system" ? "" : theme.value;
    isDark.value = theme.value === "system" ? wish.value : theme.value === "dark";
    keep("theme", theme.value);
  });
  for (const [name, isOn] of Object.entries(switches)) effect(() => keep(name, isOn.value ? "on" : "off"));
  setInterval(() => {
    const isIdle = live.value?.operations.length === 0 && connection.value.state === "connected";
    const nowMs = Date.now();
    if (!document.hidden && (!isIdle || Math.abs(nowMs - now.value) >= idleMs)) now.value = nowMs;
  }, 1_000);
  addEventListener("online", reconnectNow);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) follow();
  });
  // What was dismissed in another tab.
  addEventListener("storage", () => (dismissed.value = kept("dismissed")?.split("\n") ?? []));
  tabs.addEventListener("message", () => setTimeout(rest, leftMs));
  addEventListener("hashchange", () => {
    // A new link, opened in this tab.
    if (location.hash !== "" && !location.hash.startsWith("#/")) void open();
    else route.value = routeOf(location.hash);
  });
  await open();
}

async function open(): Promise<void> {
  const { hash } = location;
  // Out of the address, so that it is in no bookmark.
  if (linkIn(hash) !== undefined) history.replaceState(undefined, "", location.pathname);
  session.value = await entrance.open(hash);
  stream?.stop();
  stream = undefined;
  follow();
}

async function wait(milliseconds: number, signalled: AbortSignal): Promise<void> {
  const ended = AbortSignal.any([signalled, AbortSignal.timeout(milliseconds)]);
  return new Promise((resolve) => ended.addEventListener("abort", () => resolve()));
}

const endedText =
  "The session has ended: after a day, at a sign-out, with the token, or because the daemon was restarted before this page was reloaded.";
