/** Controls of forms, and the small parts that several pages show. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { localTime } from "../orchestrator/util/format-bytes.ts";
import { Field } from "./components.tsx";
import { formatAgo, visibleName, visibleText } from "./format.ts";
import { now } from "./state.ts";
import { defined } from "../orchestrator/util/defined.ts";

interface ControlProps {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly problem?: string | undefined;
  readonly isReadOnly?: boolean;
}

/** A field for text; with `rows` one of several lines. */
export function TextField({
  value,
  onValue,
  rows,
  kind = "text",
  ...rest
}: ControlProps & {
  readonly value: string;
  readonly onValue: (text: string) => void;
  readonly rows?: number;
  readonly kind?: "text" | "number";
}) {
  const { isReadOnly = false, ...field } = rest;
  return (
    <Field {...given(field)}>
      {(attributes) =>
        rows === undefined ? (
          <input
            {...attributes}
            type="text"
            inputMode={kind === "number" ? "decimal" : "text"}
            autocomplete="off"
            spellcheck={false}
            readOnly={isReadOnly}
            value={value}
            onInput={({ currentTarget }) => onValue(currentTarget.value)}
          />
        ) : (
          <textarea
            {...attributes}
            rows={rows}
            readOnly={isReadOnly}
            value={value}
            onInput={({ currentTarget }) => onValue(currentTarget.value)}
          />
        )
      }
    </Field>
  );
}

export interface Choice {
  readonly value: string;
  readonly text: string;
}

export function SelectField({
  value,
  choices,
  onValue,
  ...field
}: Omit<ControlProps, "isReadOnly"> & {
  readonly value: string;
  readonly choices: readonly Choice[];
  readonly onValue: (value: string) => void;
}) {
  return (
    <Field {...given(field)}>
      {(attributes) => (
        <select {...attributes} value={value} onChange={({ currentTarget }) => onValue(currentTarget.value)}>
          {choices.map((choice) => (
            <option key={choice.value} value={choice.value}>
              {visibleName(choice.text)}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

/** A hint that is absent is left out, which `Field` tells from one that is undefined. */
function given({ label, hint, problem }: ControlProps) {
  return { label, problem, ...defined({ hint }) };
}

export function CheckField({
  label,
  isChecked,
  onCheck,
}: {
  readonly label: string;
  readonly isChecked: boolean;
  readonly onCheck: (isChecked: boolean) => void;
}) {
  const id = useId();
  return (
    <div class="check">
      <input
        id={id}
        type="checkbox"
        checked={isChecked}
        onChange={({ currentTarget }) => onCheck(currentTarget.checked)}
      />
      <label for={id}>{label}</label>
    </div>
  );
}

/** A select of a toolbar, labelled for screen readers only: its first choice says what it filters. */
export function FilterSelect({
  label,
  value,
  choices,
  onValue,
}: {
  readonly label: string;
  readonly value: string;
  readonly choices: readonly Choice[];
  readonly onValue: (value: string) => void;
}) {
  return (
    <select aria-label={label} value={value} onChange={({ currentTarget }) => onValue(currentTarget.value)}>
      {choices.map((choice) => (
        <option key={choice.value} value={choice.value}>
          {visibleName(choice.text)}
        </option>
      ))}
    </select>
  );
}

/** Text of several lines from a model, a file or a user; it scrolls, also by keyboard. */
export function TextBlock({ label, text }: { readonly label: string; readonly text: string }) {
  return (
    <pre class="text-block" role="region" aria-label={visibleName(label)} tabIndex={0}>
      {visibleText(text)}
    </pre>
  );
}

/** How long ago; the time itself in its title. */
export function When({ iso }: { readonly iso: string }) {
  return (
    <time dateTime={iso} title={localTime(iso)} class="figure">
      {formatAgo(iso, now.value)}
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
