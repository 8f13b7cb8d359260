/** What all pages are made of. Everything that the daemon sends is text: no component takes HTML. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { type Loaded, useAction } from "./data.ts";
import { visibleName, visibleText } from "./format.ts";
import paths from "./icons.json" with { type: "json" };
import { errorText } from "./mcp.ts";
import { ask, notify } from "./state.ts";

interface Children {
  readonly children?: ComponentChildren;
}

/** The name of a model, client or file: harmless, cut in its middle where there is no room, whole in its title. */
export function Name({ text }: { readonly text: string }) {
  const shown = visibleName(text);
  const end = shown.length > 14 ? -10 : shown.length;
  return (
    <span class="name" title={shown}>
      <span>{shown.slice(0, end)}</span>
      {end < 0 && <span>{shown.slice(end)}</span>}
    </span>
  );
}

/** Short facts in one line, separated by points; undefined and empty ones are left out. */
export function Facts({ of }: { readonly of: readonly ComponentChildren[] }) {
  const given = of.filter((fact) => fact !== undefined && fact !== "" && fact !== false && fact !== null);
  return (
    <p class="facts figure">
      {given.map((fact, at) => (
        // The position is what a fact has instead of a name.
        <span key={at}>{typeof fact === "string" ? visibleName(fact) : fact}</span>
      ))}
    </p>
  );
}

/** A sentence of the daemon, with what stands in backticks as code. */
export function Prose({ text }: { readonly text: string }) {
  return (
    <>
      {visibleText(text)
        .split("`")
        .map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}
    </>
  );
}

/** A part of a page under its own heading. */
export function Card(props: Children & { readonly title: string; readonly actions?: ComponentChildren }) {
  const { title, actions, children } = props;
  const id = useId();
  return (
    <section class="card" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {actions}
      </header>
      <div class="card-body">{children}</div>
    </section>
  );
}

export type Tone = "plain" | "good" | "warning" | "bad";

/** A word of state. Its colour only repeats what it says. */
export function Badge({ tone = "plain", children }: Children & { readonly tone?: Tone }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

interface ButtonProps extends Children {
  /** What it says, before its children. */
  readonly text?: string;
  /** What it acts on, for screen readers: `Unload smollm2:135m`. */
  readonly of?: string;
  /** May be async: the button is busy until it has ended, and its error is shown as a notice. */
  readonly onRun: () => Promise<void> | void;
  readonly kind?: "normal" | "primary" | "danger" | "quiet" | "link";
  /** For screen readers, in place of both. */
  readonly label?: string;
  readonly isDisabled?: boolean;
  /** Asked before what can't be undone; without an action the answer is what the button says. */
  readonly question?: Omit<Parameters<typeof ask>[0], "action" | "isDangerous"> & { readonly action?: string };
  /** Shown as a notice after success. */
  readonly done?: string;
  readonly icon?: keyof typeof paths;
}

/** A button that does something; it keeps the focus while it works. */
export function Button(props: ButtonProps) {
  const { text = "", of, onRun, kind = "normal", isDisabled = false, question, done, icon, children } = props;
  const { label = of === undefined ? undefined : `${text} ${of}` } = props;
  const { isRunning, run } = useAction();
  const isOff = isDisabled || isRunning.value;
  return (
    <button
      type="button"
      class={`button ${kind}`}
      aria-label={label === undefined ? undefined : visibleName(label)}
      aria-disabled={isOff}
      aria-busy={isRunning.value}
      onClick={() => {
        if (isOff) return;
        void run(async () => {
          if (question !== undefined && !(await ask({ action: text, ...question, isDangerous: true }))) return;
          await onRun();
          if (done !== undefined) notify({ kind: "done", text: done });
        });
      }}
    >
      {icon && <Icon name={icon} />}
      {text}
      {children}
    </button>
  );
}

/** A name that opens what it names; the verb is for screen readers. */
export function NameButton(props: { readonly name: string; readonly verb?: string; readonly onOpen: () => void }) {
  const { name, verb = "Open", onOpen } = props;
  return (
    <Button kind="link" label={`${verb} ${name}`} onRun={onOpen}>
      <Name text={name} />
    </Button>
  );
}

/** A command of the shell, with a button that copies it. */
export function Command({ text }: { readonly text: string }) {
  return (
    <span class="command">
      <code>{text}</code>
      <Button
        kind="quiet"
        icon="copy"
        label={`Copy ${text}`}
        onRun={() => navigator.clipboard.writeText(text)}
        done="Copied."
      />
    </span>
  );
}

/** A line icon on a grid of 16, drawn for this page; always beside a text, so it is hidden from screen readers. */
export function Icon({ name }: { readonly name: keyof typeof paths }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}

/** An error in the place of what could not be shown. */
export function Failure({ error, onRetry }: { readonly error: unknown; readonly onRetry?: () => Promise<void> }) {
  return (
    <div class="failure" role="alert">
      <Icon name="warning" />
      <p>
        <Prose text={errorText(error)} />
      </p>
      {onRetry && <Button text="Try again" onRun={onRetry} />}
    </div>
  );
}

/** What a page shows where there is nothing yet: what it is for, and what to do. */
export function Empty({ title, children }: Children & { readonly title: string }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Data once it is there; its error if it never was, or above the last data. */
export function Show<Data>(props: { readonly of: Loaded<Data>; readonly children: (data: Data) => ComponentChildren }) {
  const { of, children } = props;
  const data = of.data.value;
  const error = of.error.value;
  if (data === undefined) return error === undefined ? <Loading /> : <Failure error={error} onRetry={of.retry} />;
  return (
    <>
      {error !== undefined && <Failure error={error} onRetry={of.retry} />}
      {children(data)}
    </>
  );
}

export function Loading() {
  return (
    <p class="loading" aria-busy="true">
      Loading…
    </p>
  );
}

/** A dialog over the page. Escape, its button and a click beside it close it; the focus returns by itself. */
export function Dialog(
  props: Children & { readonly title: string; readonly onClose: () => void; readonly isWide?: boolean },
) {
  const { title, onClose, isWide = false, children } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={isWide ? "wide" : undefined}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === event.currentTarget) onClose();
      }}
    >
      <div class="dialog">
        <header>
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" icon="close" label="Close" onRun={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** A text that opens: its summary is always shown, the rest is made when it is. */
export function Details({ summary, children }: Children & { readonly summary: ComponentChildren }) {
  const isOpen = useSignal(false);
  return (
    <details onToggle={({ currentTarget }) => void (isOpen.value = currentTarget.open)}>
      <summary>{summary}</summary>
      {isOpen.value && children}
    </details>
  );
}

/** Announces a text to screen readers when it changes; nothing is seen of it. */
export function Announce({ text }: { readonly text: string }) {
  return (
    <p class="unseen" role="status">
      {text}
    </p>
  );
}

export interface Column<Row> {
  readonly title: string;
  readonly show: (row: Row) => ComponentChildren;
  /** Aligned to the end of the line, with figures of equal width. */
  readonly isNumber?: boolean;
  /** Pixels, or a share: `20%`. With one, no column follows its content: what is seen of a long table would move them all. */
  readonly width?: number | string;
}

/** Tables of more columns need more room than half a page has. */
const maxNarrow = 4;
/** Rows of a long table that come and go together: an even number, because cards stand side by side. */
const blockRows = 20;

/**
 * A table; where it has too little room each row becomes a card. The first column names the row. Without rows its children
 * stand in its place. Of a long one only the rows near those that are seen are in the page.
 */
export function Table<Row>(
  props: Children & {
    readonly label: string;
    readonly columns: readonly Column<Row>[];
    readonly rows: readonly Row[];
    readonly keyOf: (row: Row) => string;
    /** How many there are, if `rows` are only the first; `onEnd` is called when the last of those is near. */
    readonly total?: number;
    readonly onEnd?: () => void;
  },
) {
  const { label, columns, rows, keyOf, total = rows.length, onEnd, children } = props;
  const rowHeight = useRef(40); // Pixels, until a row was seen.
  const table = useRef<HTMLTableElement>(null);
  const { activeElement: focused } = document;
  const held = table.current?.contains(focused) === true ? focused?.closest("tr") : undefined;
  const key = held?.dataset["key"];
  const place = [...(held?.querySelectorAll("button") ?? [])].findIndex((button) => button === focused);
  useLayoutEffect(() => {
    if (key === undefined || table.current?.contains(focused) === true) return;
    // A row that went to another block was made anew.
    const row = [...(table.current?.rows ?? [])].find(({ dataset }) => dataset["key"] === key);
    row?.querySelectorAll("button")[place]?.focus({ preventScroll: true });
  });
  if (rows.length === 0 && children !== undefined) return <>{children}</>;
  const isLong = rows.length > 2 * blockRows;
  const blocks = Array.from({ length: isLong ? Math.ceil(rows.length / blockRows) : 1 }, (_none, at) => at * blockRows);
  // The roles are written out, because a table that is laid out as cards loses them.
  const line = (row: Row, at: number) => (
    <tr key={keyOf(row)} data-key={keyOf(row)} role="row" aria-rowindex={at + 2}>
      {columns.map(({ title, show, isNumber }, column) => {
        // Buttons have no title.
        const content = title === "" ? <span class="row-actions">{show(row)}</span> : show(row);
        const attributes = { class: isNumber === true ? "number" : undefined, "data-label": title };
        return column === 0 ? (
          <th key={title} role="rowheader" scope="row" {...attributes}>
            {content}
          </th>
        ) : (
          <td key={title} role="cell" {...attributes}>
            {content}
          </td>
        );
      })}
    </tr>
  );
  return (
    <div class={columns.length > maxNarrow ? "table wide" : "table"}>
      <table
        ref={table}
        role="table"
        aria-label={label}
        aria-rowcount={total + 1}
        class={columns.some(({ width }) => width !== undefined) ? "fixed" : undefined}
      >
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {columns.map(({ title, isNumber, width }) => {
              const attributes = { class: isNumber === true ? "number" : undefined, style: { width } };
              return (
                <th key={title} role="columnheader" scope="col" {...attributes}>
                  {title === "" ? <span class="unseen">Actions</span> : title}
                </th>
              );
            })}
          </tr>
        </thead>
        {blocks.map((first) => {
          const block = isLong ? rows.slice(first, first + blockRows) : rows;
          return (
            <Block
              key={first}
              count={block.length}
              isAlone={!isLong}
              isFirst={first === 0}
              hasFocus={key !== undefined && block.some((row) => keyOf(row) === key)}
              rowHeight={rowHeight}
              onNear={first + block.length === rows.length && rows.length < total ? onEnd : undefined}
            >
              {() => block.map((row, at) => line(row, first + at))}
            </Block>
          );
        })}
      </table>
    </div>
  );
}

/** Rows of a table or, far from those that are seen, a space for them. One that has the focus stays. */
function Block(props: {
  readonly count: number;
  readonly isAlone: boolean;
  readonly isFirst: boolean;
  readonly hasFocus: boolean;
  /** Of the rows that were seen last. */
  readonly rowHeight: { current: number };
  readonly onNear: (() => void) | undefined;
  readonly children: () => ComponentChildren;
}) {
  const { count, isAlone, isFirst, hasFocus, rowHeight, onNear, children } = props;
  const host = useRef<HTMLTableSectionElement>(null);
  const isNear = useSignal(isFirst);
  const near = useRef(onNear);
  near.current = onNear;
  useEffect(() => {
    const element = host.current;
    if (element === null || isAlone) return void (isNear.value = true);
    const observer = new IntersectionObserver(
      (entries) => {
        const isSeen = entries.at(-1)?.isIntersecting === true;
        if (isNear.peek()) rowHeight.current = element.offsetHeight / element.rows.length;
        isNear.value = isSeen || element.contains(document.activeElement);
        if (isSeen) near.current?.();
      },
      // As much again above and below what is seen.
      { root: element.closest(".scroll"), rootMargin: "100%" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [isAlone]);
  const show = (): void => void (isNear.value = true);
  return (
    <tbody ref={host} role="rowgroup" tabIndex={isNear.value ? undefined : -1} onFocus={show}>
      {isNear.value || hasFocus ? children() : <tr aria-hidden="true" style={{ height: count * rowHeight.current }} />}
    </tbody>
  );
}
