import { type ComponentType, render } from "preact";
import {
  start,
  addressOf,
  alerts,
  connection,
  live,
  notices,
  notify,
  now,
  question,
  reconnectNow,
  route,
  session,
  signOut,
  switches,
  theme,
} from "./state.ts";
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Button, Card, Command, Dialog, Loading, Prose, Icon } from "./components.tsx";
import { CheckField, Choice } from "./fields.tsx";
import { formatSpan } from "./format.ts";
import { Activity } from "./activity.tsx";
import { Compare } from "./compare.tsx";
import { Decisions } from "./decisions.tsx";
import { Evals } from "./evals.tsx";
import { Models } from "./models.tsx";
import { Jobs } from "./jobs.tsx";
import { Memory } from "./memory.tsx";
import { Overview } from "./overview.tsx";
import { Palette } from "./palette.tsx";
import { Pipelines } from "./pipelines.tsx";
import { Profiles } from "./profiles.tsx";
import { Settings } from "./settings.tsx";
import { Templates } from "./templates.tsx";
import { foreignText } from "./session.ts";

/** A page of the dashboard. To add one, write its component in a file of its own and list it in its room. */
interface Page {
  /** Its address: `#/models`. */
  readonly id: string;
  readonly title: string;
  readonly View: ComponentType;
}

/** Pages about one thing, the first of which its name opens. */
interface Room {
  readonly title: string;
  readonly icon: Parameters<typeof Icon>[0]["name"];
  /** The key after `g` that opens it. */
  readonly key: string;
  readonly pages: readonly [Page, ...Page[]];
}

/** In the order of the navigation; the first one also has the empty address. */
const rooms: readonly [Room, ...Room[]] = [
  {
    title: "Overview",
    icon: "overview",
    key: "o",
    pages: [{ id: "overview", title: "Overview", View: Overview }],
  },
  {
    title: "Activity",
    icon: "activity",
    key: "a",
    pages: [
      { id: "activity", title: "Requests", View: Activity },
      { id: "jobs", title: "Jobs", View: Jobs },
      { id: "pipelines", title: "Pipelines", View: Pipelines },
      { id: "decisions", title: "Loads", View: Decisions },
    ],
  },
  {
    title: "Models",
    icon: "models",
    key: "m",
    pages: [{ id: "models", title: "Models", View: Models }],
  },
  {
    title: "Playground",
    icon: "playground",
    key: "p",
    pages: [
      { id: "compare", title: "Ask and compare", View: Compare },
      { id: "templates", title: "Templates", View: Templates },
    ],
  },
  {
    title: "Routing",
    icon: "routing",
    key: "r",
    pages: [
      { id: "profiles", title: "Profiles", View: Profiles },
      { id: "evals", title: "Evaluations", View: Evals },
    ],
  },
  {
    title: "Settings",
    icon: "settings",
    key: "s",
    pages: [
      { id: "settings", title: "Settings", View: Settings },
      { id: "memory", title: "Memories", View: Memory },
      { id: "browser", title: "This browser", View: ThisBrowser },
    ],
  },
];

/** By their names in the address; those of a room with its title. */
const allPages = rooms.flatMap(({ title: room, pages }) =>
  pages.map(({ id, title }) => [id, pages.length === 1 ? room : `${room}: ${title}`] as const),
);

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
      <Notices />
    </main>
  );
}

function Frame() {
  const room = rooms.find(({ pages }) => pages.some(({ id }) => id === route.value.page)) ?? rooms[0];
  const page = room.pages.find(({ id }) => id === route.value.page) ?? room.pages[0];
  const open = useSignal<"help" | "palette" | undefined>(undefined);
  const close = (): void => void (open.value = undefined);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useShortcuts((dialog) => (open.value = dialog));
  const failures = notices.value.filter(({ kind }) => kind === "failed").length;
  const wrong = failures + alerts.value.length;
  const isWorking = (live.value?.operations.length ?? 0) > 0;
  useEffect(() => {
    document.title = `${isWorking ? "▸ " : ""}${wrong === 0 ? "" : `(${wrong}) `}${page.title} · ollm`;
  }, [page, wrong, isWorking]);
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
        <nav aria-label="Rooms">
          <ul>
            {rooms.map(({ title, icon, pages: [{ id }], ...each }) => (
              <li key={id}>
                <a
                  href={addressOf(id)}
                  aria-current={id === page.id ? "page" : each.key === room.key ? "true" : undefined}
                >
                  <Icon name={icon} />
                  {title}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <ConnectionState />
      </header>
      <main id="page" ref={main} tabIndex={-1} aria-labelledby="page-title">
        <ConnectionBanner />
        <h1 id="page-title">{room.title}</h1>
        {room.pages.length > 1 && (
          <nav class="tabs" aria-label={`Pages of ${room.title}`}>
            {room.pages.map(({ id, title }) => (
              <a key={id} href={addressOf(id)} aria-current={id === page.id ? "page" : undefined}>
                {title}
              </a>
            ))}
          </nav>
        )}
        <View key={page.id} />
      </main>
      <Notices />
      {open.value === "help" && (
        <Dialog title="Keyboard shortcuts" onClose={close}>
          <Shortcuts />
        </Dialog>
      )}
      {open.value === "palette" && <Palette pages={allPages} onClose={close} />}
      <QuestionDialog />
    </div>
  );
}

async function setNotifications(isOn: boolean): Promise<void> {
  switches.notifications.value = isOn && (await Notification.requestPermission()) === "granted";
  if (isOn && !switches.notifications.value)
    notify({ kind: "failed", text: "This browser does not allow notifications for this page: see its site settings." });
}

/** What holds for this browser alone. */
function ThisBrowser() {
  return (
    <Card title="This browser">
      <Choice
        label="Theme"
        options={(["system", "light", "dark"] as const).map((id) => ({ id, title: id }))}
        chosen={theme.value}
        onChoose={(id) => (theme.value = id)}
      />
      <CheckField
        label="Notifications of warnings while this page is hidden"
        isChecked={switches.notifications.value}
        onCheck={(isOn) => void setNotifications(isOn)}
      />
      <Shortcuts />
      <Button text="Sign out" onRun={signOut} />
    </Card>
  );
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
      {notices.value.map(({ id, kind, text, dismiss }) => (
        <div key={id} class={`notice ${kind}`}>
          <Icon name={kind === "done" ? "check" : "warning"} />
          <p>
            <Prose text={text} />
          </p>
          <Button kind="quiet" icon="close" label="Dismiss" onRun={dismiss} />
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
      <div class="row-actions">
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
  ["Open or do anything", "⌘K or Ctrl+K"],
  ["Filter the list", "/"],
  ["Next row of the list", "j"],
  ["Row before it", "k"],
  ["First or last row", "Home or End"],
  ["Open the row", "Enter"],
  ["These shortcuts", "?"],
  ["Close a dialog", "Esc"],
];

function Shortcuts() {
  return (
    <>
      <dl class="shortcuts">
        {[...rooms.map(({ title, key }) => [title, "g", key]), ...otherKeys].map(([title, first, second]) => (
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
        isChecked={switches.shortcuts.value}
        onCheck={(isOn) => (switches.shortcuts.value = isOn)}
      />
    </>
  );
}

/** Keys that work anywhere but in fields and dialogs. */
function useShortcuts(onOpen: (dialog: "help" | "palette") => void): void {
  useSignalEffect(() => {
    let chordAtMs = 0;
    const pressed = (event: KeyboardEvent): void => {
      const { target, key } = event;
      if ((event.ctrlKey || event.metaKey) && key === "k" && document.querySelector("dialog") === null) {
        event.preventDefault();
        return onOpen("palette");
      }
      if (!switches.shortcuts.value) return;
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (target instanceof Element && target.closest("input, textarea, select, dialog") !== null) return;
      const isSecond = Date.now() - chordAtMs < chordMs;
      chordAtMs = 0;
      const room = isSecond ? rooms.find((candidate) => candidate.key === key) : undefined;
      if (room !== undefined) location.hash = addressOf(room.pages[0].id);
      else if (key === "g") chordAtMs = Date.now();
      else if (key === "j" || key === "k") void focusRow(key === "j" ? 1 : -1);
      else if ((key === "Home" || key === "End") && target instanceof Element && target.closest("main tbody") !== null)
        void focusRow(key === "End" ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
      else if (key === "?") onOpen("help");
      else if (key === "/") document.querySelector<HTMLElement>("[data-filter]")?.focus();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  });
}

/** Moves the focus along the rows of lists that have a button; `Infinity`: to the last one of the list. */
async function focusRow(by: number): Promise<void> {
  const { activeElement: focused } = document;
  const list = (Number.isFinite(by) ? undefined : focused?.closest("table")) ?? document;
  const shown = "main :is(tbody tr, li):has(button), main table:has(tbody button) tbody[tabindex]";
  const rows = [...list.querySelectorAll<HTMLElement>(shown)];
  const at = rows.findIndex((row) => row.contains(focused));
  let row = rows[Math.max(0, Math.min(at + by, rows.length - 1))];
  if (row instanceof HTMLTableSectionElement) {
    // Rows that were too far away to be in the page: with the focus they are made.
    row.focus();
    await new Promise((resolve) => setTimeout(resolve));
    row = [...row.rows].at(by === 1 || by === Number.NEGATIVE_INFINITY ? 0 : -1);
  }
  row?.querySelector("button")?.focus();
}

render(<App />, document.body);
void start();
