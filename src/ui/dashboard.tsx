import { type ComponentType, render } from "preact";
import {
  start,
  addressOf,
  connection,
  dismiss,
  hasShortcuts,
  live,
  nextTheme,
  notices,
  now,
  question,
  reconnectNow,
  route,
  session,
  signOut,
  theme,
} from "./state.ts";
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Button, Command, Dialog, Loading, Prose, withNext, Icon } from "./components.tsx";
import { CheckField } from "./fields.tsx";
import { formatSpan } from "./format.ts";
import { Activity } from "./activity.tsx";
import { Compare } from "./compare.tsx";
import { Decisions } from "./decisions.tsx";
import { Engines } from "./engines.tsx";
import { Evals } from "./evals.tsx";
import { Models } from "./models.tsx";
import { Jobs } from "./jobs.tsx";
import { Memory } from "./memory.tsx";
import { Overview } from "./overview.tsx";
import { Pipelines } from "./pipelines.tsx";
import { Profiles } from "./profiles.tsx";
import { Settings } from "./settings.tsx";
import { Templates } from "./templates.tsx";
import { foreignText } from "./session.ts";

/** A page of the dashboard. To add one, write its component in a file of its own and list it here. */
interface Page {
  /** Its address, `#/models`, and its icon; the first page also has the empty address. */
  readonly id: Parameters<typeof Icon>[0]["name"];
  readonly title: string;
  /** The key after `g` that opens it. */
  readonly key: string;
  readonly View: ComponentType;
  /** The heading above it in the navigation; absent: that of the page before. */
  readonly group?: string;
}

/** In the order of the navigation. On a phone the first three are shown, the rest under "More". */
const pages: readonly [Page, ...Page[]] = [
  { id: "overview", title: "Overview", key: "o", View: Overview, group: "This machine" },
  { id: "models", title: "Models", key: "m", View: Models },
  { id: "activity", title: "Activity", key: "a", View: Activity },
  { id: "engines", title: "Engines", key: "e", View: Engines },
  { id: "jobs", title: "Jobs", key: "j", View: Jobs, group: "Work" },
  { id: "pipelines", title: "Pipelines", key: "l", View: Pipelines },
  { id: "compare", title: "Compare", key: "c", View: Compare },
  { id: "evals", title: "Evals", key: "v", View: Evals },
  { id: "decisions", title: "Decisions", key: "d", View: Decisions },
  { id: "profiles", title: "Profiles", key: "p", View: Profiles },
  { id: "memory", title: "Memories", key: "r", View: Memory, group: "Yours" },
  { id: "templates", title: "Templates", key: "t", View: Templates },
  { id: "settings", title: "Settings", key: "s", View: Settings },
];

/** Pages in the bar of a phone, beside "More". */
const barPages = 3;
/** Time for the second key of a shortcut. */
const chordMs = 1_500;

/** The frame of the dashboard: navigation, state of the connection, and the page that the address names. */
function App() {
  if (session.value.state === "opening") return <Loading />;
  if (session.value.state === "none") return <Closed reason={session.value.reason} />;
  return <Frame />;
}

/** Without a session there is nothing to see: the page has no data of its own. */
function Closed({ reason }: { readonly reason: string | undefined }) {
  return (
    <main class="closed">
      <h1>ollm</h1>
      {reason !== undefined && <p>{reason}</p>}
      <p>To open the dashboard, run this in a terminal. It prints a link that works once.</p>
      <Command text="ollm dashboard" />
    </main>
  );
}

function Frame() {
  const page = pages.find(({ id }) => id === route.value.page) ?? pages[0];
  const open = useSignal<"shortcuts" | "pages" | undefined>(undefined);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useShortcuts(() => (open.value = "shortcuts"));
  const failures = notices.value.filter(({ kind }) => kind === "failed").length;
  const alerts = failures + (live.value?.warnings.length ?? 0);
  useEffect(() => {
    document.title = `${alerts === 0 ? "" : `(${alerts}) `}${page.title} · ollm`;
  }, [page, alerts]);
  useEffect(() => {
    // The new page is read from its start; the first one is where the browser begins anyway.
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
    scrollTo(0, 0);
  }, [page]);
  const { View } = page;
  return (
    <div class="frame">
      <a
        class="skip"
        href="#page"
        onClick={(event) => {
          // The address names the page.
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the page
      </a>
      <header class="side">
        <p class="brand">ollm</p>
        <nav aria-label="Pages">
          <PageLinks list={pages} current={page} />
        </nav>
        <div class="side-foot">
          <ConnectionState />
          <Button text={`Theme: ${theme.value}`} kind="quiet" icon="theme" onRun={nextTheme} />
          <Button text="Shortcuts" kind="quiet" icon="keyboard" onRun={() => void (open.value = "shortcuts")} />
          <SignOut />
        </div>
      </header>
      <main id="page" ref={main} tabIndex={-1} aria-labelledby="page-title">
        <ConnectionBanner />
        <h1 id="page-title">{page.title}</h1>
        <View key={page.id} />
      </main>
      <nav class="bar" aria-label="Main pages">
        <PageLinks list={pages.slice(0, barPages)} current={page} />
        <button type="button" aria-haspopup="dialog" onClick={() => (open.value = "pages")}>
          <Icon name="more" />
          More
        </button>
      </nav>
      <Notices />
      {open.value === "shortcuts" && <Shortcuts onClose={() => (open.value = undefined)} />}
      {open.value === "pages" && <MorePages current={page} onClose={() => (open.value = undefined)} />}
      <QuestionDialog />
    </div>
  );
}

function PageLinks(props: { readonly list: readonly Page[]; readonly current: Page; readonly onOpen?: () => void }) {
  const { list, current, onOpen } = props;
  return (
    <ul>
      {list.map((page) => (
        <li key={page.id}>
          {page.group !== undefined && <p class="group">{page.group}</p>}
          <a href={addressOf(page.id)} aria-current={page === current ? "page" : undefined} onClick={onOpen}>
            <Icon name={page.id} />
            {page.title}
          </a>
        </li>
      ))}
    </ul>
  );
}

function MorePages({ current, onClose }: { readonly current: Page; readonly onClose: () => void }) {
  return (
    <Dialog title="Pages" onClose={onClose}>
      <nav class="sheet" aria-label="All pages">
        <PageLinks list={pages} current={current} onOpen={onClose} />
      </nav>
      <Button text={`Theme: ${theme.value}`} icon="theme" onRun={nextTheme} />
      <SignOut />
    </Dialog>
  );
}

function SignOut() {
  return <Button text="Sign out" kind="quiet" icon="close" onRun={signOut} />;
}

/** Whether what is shown is current, in words. */
function ConnectionState() {
  const { state } = connection.value;
  const text = state === "connected" ? "Connected" : state === "connecting" ? "Connecting…" : "Reconnecting…";
  return (
    <p class={`connection ${state}`}>
      <span class="dot" />
      {text}
    </p>
  );
}

function ConnectionBanner() {
  const current = connection.value;
  if (current.state !== "reconnecting") return <div role="status" />;
  return (
    <div role="status">
      <div class="banner">
        <Icon name="warning" />
        <p>
          {current.isForeign ? (
            `${foreignText} `
          ) : (
            <>
              {/* Not announced each second. */}
              The daemon has not answered for <span aria-live="off">{formatSpan(now.value - current.sinceMs)}</span>
              {live.value === undefined ? ". " : "; what you see is from before. "}
            </>
          )}
          <code>ollm dashboard</code> {current.isForeign ? "opens yours at another address." : "starts it."}
        </p>
        <Button text="Try now" onRun={reconnectNow} />
      </div>
    </div>
  );
}

function Notices() {
  return (
    <div class="notices" role="status">
      {notices.value.map(({ id, kind, text, next }) => (
        <div key={id} class={`notice ${kind}`}>
          <Icon name={kind === "done" ? "check" : "warning"} />
          <p>
            <Prose text={withNext(text, next)} />
          </p>
          <Button kind="quiet" icon="close" label="Dismiss" onRun={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}

function QuestionDialog() {
  const asked = question.value;
  if (asked === undefined) return null;
  return (
    <Dialog title={asked.title} onClose={() => asked.answer(false)}>
      <p>{asked.text}</p>
      <div class="dialog-actions">
        <Button text="Cancel" onRun={() => asked.answer(false)} />
        <Button
          text={asked.action}
          kind={asked.isDangerous === true ? "danger" : "primary"}
          onRun={() => asked.answer(true)}
        />
      </div>
    </Dialog>
  );
}

const otherKeys = [
  ["Filter the list", "/"],
  ["Next row of the list", "j"],
  ["Row before it", "k"],
  ["Open the row", "Enter"],
  ["These shortcuts", "?"],
  ["Close a dialog", "Esc"],
];

function Shortcuts({ onClose }: { readonly onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl class="shortcuts">
        {[...pages.map(({ title, key }) => [title, "g", key]), ...otherKeys].map(([title, first, second]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd>
              <kbd>{first}</kbd>
              {second !== undefined && [" then ", <kbd key="second">{second}</kbd>]}
            </dd>
          </div>
        ))}
      </dl>
      <CheckField
        label="Shortcuts are on"
        isChecked={hasShortcuts.value}
        onCheck={(isOn) => (hasShortcuts.value = isOn)}
      />
    </Dialog>
  );
}

/** Keys that work anywhere but in fields and dialogs. */
function useShortcuts(onHelp: () => void): void {
  useSignalEffect(() => {
    if (!hasShortcuts.value) return;
    let chordAtMs = 0;
    const pressed = (event: KeyboardEvent): void => {
      const { target, key } = event;
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (target instanceof Element && target.closest("input, textarea, select, dialog") !== null) return;
      const isSecond = Date.now() - chordAtMs < chordMs;
      chordAtMs = 0;
      const page = isSecond ? pages.find((candidate) => candidate.key === key) : undefined;
      if (page !== undefined) location.hash = addressOf(page.id);
      else if (key === "g") chordAtMs = Date.now();
      else if (key === "j" || key === "k") focusRow(key === "j" ? 1 : -1);
      else if (key === "?") onHelp();
      else if (key === "/") document.querySelector<HTMLElement>("[data-filter]")?.focus();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  });
}

/** Moves the focus along the rows that can be opened. */
function focusRow(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main tbody th .button.link")];
  const at = rows.findIndex((row) => row === document.activeElement);
  rows[Math.max(0, at + by)]?.focus();
}

render(<App />, document.body);
void start();
