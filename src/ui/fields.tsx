/** Forms, and the small parts that several pages show. */
import { type Signal, useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { localTime } from "../orchestrator/util/format-bytes.ts";
import { Button, Failure } from "./components.tsx";
import { type FieldProblem, formatAgo, lineRange, visibleName, visibleText } from "./format.ts";
import { now } from "./state.ts";

/** A text alone is its own value. */
type Option = string | { readonly value: string; readonly text: string };

/** A field as a JSON schema says it, with what only a page knows. Numbers are typed as text: who sends them reads them. */
export interface Property {
  readonly title: string;
  /** What is expected, under the field. */
  readonly description?: string | undefined;
  readonly type?: "string" | "number" | "boolean";
  readonly choices?: readonly Option[] | undefined;
  /** How many lines a longer text gets. */
  readonly lines?: number;
  readonly isCode?: boolean;
  readonly isReadOnly?: boolean;
}

/** The fields of a form, by the value that each sets: those of one row stand beside each other. */
export type Rows<Values> = readonly { readonly [Name in keyof Values]?: Property }[];

interface FieldsProps<Values> {
  readonly rows: Rows<Values>;
  readonly values: Values;
  readonly onChange: (changes: Partial<Values>) => void;
  readonly problem?: FieldProblem<Values> | undefined;
}

export function Fields<Values extends object>({ rows, values, onChange, problem }: FieldsProps<Values>) {
  return (
    <>
      {rows.map((row, at) => {
        const fields = (Object.entries(row) as [keyof Values & string, Property][]).map(([name, property]) => (
          <Control
            key={name}
            of={property}
            value={values[name]}
            onValue={(value) => onChange({ [name]: value } as Partial<Values>)}
            problem={problem?.field === name ? problem : undefined}
          />
        ));
        return fields.length === 1 ? (
          fields
        ) : (
          <div key={at} class="form-row">
            {fields}
          </div>
        );
      })}
    </>
  );
}

/** A labelled field, with what is expected, or wrong with its value, below it. */
function Control(props: {
  readonly of: Property;
  readonly value: unknown;
  readonly onValue: (value: string | boolean) => void;
  readonly problem: { readonly message: string; readonly line?: number } | undefined;
}) {
  const { of, value, onValue, problem } = props;
  const { title, description, type = "string", choices, lines, isCode = false, isReadOnly = false } = of;
  const text = typeof value === "string" ? value : "";
  const area = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useEffect(() => {
    if (problem?.line === undefined) return;
    area.current?.focus();
    area.current?.setSelectionRange(...lineRange(text, problem.line));
  }, [problem]);
  if (type === "boolean") return <CheckField label={title} isChecked={value === true} onCheck={onValue} />;
  const attributes = { id, "aria-describedby": `${id}-note`, "aria-invalid": problem !== undefined };
  const typed = {
    ...attributes,
    value: text,
    readOnly: isReadOnly,
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) =>
      onValue(currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>{title}</label>
      {choices !== undefined ? (
        <select {...attributes} value={text} onChange={({ currentTarget }) => onValue(currentTarget.value)}>
          <Options of={choices} />
        </select>
      ) : lines === undefined ? (
        <input
          {...typed}
          type="text"
          inputMode={type === "number" ? "decimal" : "text"}
          autocomplete="off"
          spellcheck={false}
        />
      ) : (
        <textarea {...typed} ref={area} rows={lines} spellcheck={!isCode} />
      )}
      <p id={`${id}-note`} class={problem === undefined ? "hint" : "problem"}>
        {problem === undefined ? description : visibleText(problem.message)}
      </p>
    </div>
  );
}

function Options({ of }: { readonly of: readonly Option[] }) {
  return (
    <>
      {of.map((choice) => {
        const { value, text } = typeof choice === "string" ? { value: choice, text: choice } : choice;
        return (
          <option key={value} value={value}>
            {visibleName(text)}
          </option>
        );
      })}
    </>
  );
}

/** Choices of which one holds, side by side; the browser's radio buttons have the arrow keys. */
export function Choice<Id extends string | number>(props: {
  readonly label: string;
  readonly options: readonly { readonly id: Id; readonly title: string }[];
  readonly chosen: Id;
  readonly onChoose: (id: Id) => void;
}) {
  const { label, options, chosen, onChoose } = props;
  return (
    <fieldset class="segmented">
      <legend class="unseen">{label}</legend>
      {options.map(({ id, title }) => (
        <label key={title}>
          <input type="radio" name={label} checked={id === chosen} onChange={() => onChoose(id)} />
          <span>{title}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** A form that is saved: what `onSave` throws stands above its fields, the problem that it returns at one of them. */
export function Form<Values extends object>(props: {
  readonly rows: Rows<Values>;
  readonly initial: Values;
  readonly action?: string;
  /** In a line of a list, or on a page, not in a dialog. */
  readonly isInline?: boolean;
  readonly onSave: (values: Values) => Promise<FieldProblem<Values> | undefined>;
  readonly onCancel?: () => void;
  /** Between the fields and the buttons. */
  readonly children?: (form: Omit<FieldsProps<Values>, "rows"> & { readonly failure: unknown }) => ComponentChildren;
}) {
  const { rows, initial, action = "Save", isInline = false, onSave, onCancel, children } = props;
  const values = useSignal(initial);
  const problem = useSignal<FieldProblem<Values> | undefined>(undefined);
  const failure = useSignal<unknown>(undefined);
  const save = async (): Promise<void> => {
    problem.value = undefined;
    try {
      problem.value = await onSave(values.value);
      failure.value = undefined;
    } catch (error) {
      failure.value = error;
    }
  };
  const form = {
    values: values.value,
    onChange: (changes: Partial<Values>): void => void (values.value = { ...values.value, ...changes }),
    problem: problem.value,
  };
  const buttons = (
    <>
      {onCancel && <Button text="Cancel" onRun={onCancel} />}
      <Button text={action} kind={onCancel ? "primary" : "normal"} onRun={save} />
    </>
  );
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      {failure.value !== undefined && <Failure error={failure.value} />}
      <Fields rows={rows} {...form} />
      {children?.({ ...form, failure: failure.value })}
      <div class={isInline ? "toolbar" : "row-actions"}>{buttons}</div>
    </form>
  );
}

export function CheckField(props: {
  readonly label: string;
  readonly isChecked: boolean;
  readonly onCheck: (isChecked: boolean) => void;
}) {
  const { label, isChecked, onCheck } = props;
  return (
    <label class="check">
      <input type="checkbox" checked={isChecked} onChange={({ currentTarget }) => onCheck(currentTarget.checked)} />
      {label}
    </label>
  );
}

/** A field that filters a list by `query`; `/` moves the focus here. */
export function Filter({ label, query }: { readonly label: string; readonly query: Signal<string> }) {
  return (
    <input
      type="search"
      class="filter"
      data-filter
      aria-label={label}
      placeholder={label}
      value={query.value}
      onInput={({ currentTarget }) => (query.value = currentTarget.value)}
    />
  );
}

/** A select of a toolbar, labelled for screen readers only: its first choice says what it filters. */
export function FilterSelect(props: {
  readonly label: string;
  readonly value: string;
  readonly choices: readonly Option[];
  readonly onValue: (value: string) => void;
}) {
  const { label, value, choices, onValue } = props;
  return (
    <select aria-label={label} value={value} onChange={({ currentTarget }) => onValue(currentTarget.value)}>
      <Options of={choices} />
    </select>
  );
}

/** How far something is; without a total it shows that work continues. */
export function Progress(props: { readonly label: string; readonly value?: number; readonly total?: number }) {
  const { label, value, total } = props;
  const isKnown = value !== undefined && total !== undefined && total > 0;
  return (
    <progress
      aria-label={visibleName(label)}
      {...(isKnown ? { max: 1, value: Math.min(1, Math.max(0, value / total)) } : {})}
    />
  );
}

/** Text of several lines from a model, a file or a user, below a title, if any; it scrolls, also by keyboard. */
export function TextBlock(props: { readonly title?: string; readonly label?: string; readonly text: string }) {
  const { title, label = title ?? "", text } = props;
  return (
    <>
      {title !== undefined && <h3>{visibleName(title)}</h3>}
      <pre class="text-block" role="region" aria-label={visibleName(label)} tabIndex={0}>
        {visibleText(text)}
      </pre>
    </>
  );
}

/** How long ago; the time itself in its title. */
export function When({ iso }: { readonly iso: string }) {
  // Nothing is drawn again before its text changes.
  const text = useComputed(() => formatAgo(iso, now.value));
  return (
    <time dateTime={iso} title={localTime(iso)} class="figure">
      {text}
    </time>
  );
}

/** Names with values; a value that is absent has no row. */
export function Values({ rows }: { readonly rows: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="values">
      {rows
        .filter(([, value]) => value !== undefined && value !== "")
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** Whether all words of a query are in one of the texts. */
export function isMatch(query: string, ...texts: readonly (string | undefined)[]): boolean {
  const text = texts.join(" ").toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
