import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { ToolAnswers } from "../tools/index.ts";
import { Button, Details, Dialog, Failure, Field, errorText } from "./components.tsx";
import { CheckField, SelectField, TextField } from "./fields.tsx";
import { visibleName, visibleText } from "./format.ts";
import { CallError } from "./mcp.ts";
import { ask, client, notify } from "./state.ts";
import {
  type FieldProblem,
  type TemplateDraft,
  type VariableDraft,
  inputOf,
  lineRange,
  placeOf,
} from "./template-form.ts";
import { messageOf } from "../orchestrator/util/message-of.ts";

/** A template in a form; what the daemon refuses is shown at its field. */
export function TemplateEditor({
  draft: initial,
  isNew,
  onClose,
}: {
  readonly draft: TemplateDraft;
  readonly isNew: boolean;
  readonly onClose: () => void;
}) {
  const draft = useSignal(initial);
  const problem = useSignal<FieldProblem | undefined>(undefined);
  const failure = useSignal<unknown>(undefined);
  const set = (changes: Partial<TemplateDraft>): void => void (draft.value = { ...draft.value, ...changes });
  const save = async (): Promise<void> => {
    problem.value = undefined;
    failure.value = undefined;
    const made = inputOf(draft.value);
    if ("field" in made) {
      problem.value = made;
      return;
    }
    try {
      const saved = await create(made.input, !isNew && made.input.name === initial.name);
      if (saved === undefined) return;
      notify({ kind: "done", text: `${saved.name} was saved in ${saved.file}.` });
      onClose();
    } catch (error) {
      const message = messageOf(error);
      const place = placeOf(message);
      if (place === undefined) failure.value = error;
      else problem.value = { ...place, message: errorText(error) };
    }
  };
  const of = (field: keyof TemplateDraft): string | undefined =>
    problem.value?.field === field ? visibleText(problem.value.message) : undefined;
  const value = draft.value;
  return (
    <Dialog title={isNew ? "New template" : `Edit ${visibleName(initial.name)}`} onClose={onClose}>
      <div class="form">
        {failure.value !== undefined && <Failure error={failure.value} />}
        <TextField
          label="Name"
          value={value.name}
          onValue={(name) => set({ name })}
          problem={of("name")}
          hint="A template with the name of a built-in one is used in its place."
        />
        <TextField label="Description" value={value.description} onValue={(description) => set({ description })} />
        <SourceField
          label="Text"
          hint="{name} and {name:default} are variables; {{ and }} are braces."
          value={value.template}
          onValue={(template) => set({ template })}
          problem={of("template")}
        />
        <TextField
          label="System prompt"
          rows={2}
          value={value.system}
          onValue={(system) => set({ system })}
          problem={of("system")}
        />
        <VariableFields
          variables={value.variables}
          onChange={(variables) => set({ variables })}
          problem={of("variables")}
        />
        <Details summary="Model and options">
          <div class="form">
            <div class="form-row">
              <TextField label="Model" value={value.model} onValue={(model) => set({ model })} hint="Empty: chosen." />
              <TextField
                label="Profile"
                value={value.profile}
                onValue={(profile) => set({ profile })}
                problem={of("profile")}
              />
            </div>
            <div class="form-row">
              {(
                [
                  ["Temperature", "temperature"],
                  ["Top-p", "topP"],
                  ["Maximum tokens", "maxTokens"],
                ] as const
              ).map(([label, field]) => (
                <TextField
                  key={field}
                  label={label}
                  kind="number"
                  value={value[field]}
                  onValue={(text) => set({ [field]: text })}
                  problem={of(field)}
                />
              ))}
            </div>
            <TextField
              label="Format"
              rows={2}
              value={value.format}
              onValue={(format) => set({ format })}
              problem={of("format")}
              hint="Empty for text, json, or a JSON Schema."
            />
          </div>
        </Details>
        <div class="dialog-actions">
          <Button onRun={onClose}>Cancel</Button>
          <Button kind="primary" onRun={save}>
            Save
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

/** Undefined if the user keeps the template that is there. */
async function create(
  input: Parameters<typeof client.callTool<"create_template">>[1],
  mayReplace: boolean,
): Promise<ToolAnswers["create_template"] | undefined> {
  try {
    return await client.callTool("create_template", { ...input, ...(mayReplace && { overwrite: true }) });
  } catch (error) {
    if (!(error instanceof CallError) || !/already (a template|exists)/.test(error.message)) throw error;
    const isSure = await ask({
      title: "Replace the template?",
      text: `${visibleName(error.message)}. Its text is replaced.`,
      action: "Replace",
      isDangerous: true,
    });
    return isSure ? client.callTool("create_template", { ...input, overwrite: true }) : undefined;
  }
}

/** The text of a template; the line of its problem is selected. */
function SourceField({
  label,
  hint,
  value,
  onValue,
  problem,
}: {
  readonly label: string;
  readonly hint: string;
  readonly value: string;
  readonly onValue: (text: string) => void;
  readonly problem: string | undefined;
}) {
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const line = problem === undefined ? undefined : placeOf(problem)?.line;
    if (line === undefined) return;
    area.current?.focus();
    area.current?.setSelectionRange(...lineRange(value, line));
  }, [problem]);
  return (
    <Field label={label} hint={hint} problem={problem}>
      {(attributes) => (
        <textarea
          {...attributes}
          ref={area}
          rows={8}
          spellcheck={false}
          value={value}
          onInput={({ currentTarget }) => onValue(currentTarget.value)}
        />
      )}
    </Field>
  );
}

const types = [
  { value: "string", text: "Text" },
  { value: "number", text: "Number" },
  { value: "boolean", text: "True or false" },
] as const;

/** What is known of variables beyond their names; those that are only in the text need no row. */
function VariableFields({
  variables,
  onChange,
  problem,
}: {
  readonly variables: readonly VariableDraft[];
  readonly onChange: (variables: readonly VariableDraft[]) => void;
  readonly problem: string | undefined;
}) {
  const set = (at: number, changes: Partial<VariableDraft>): void =>
    onChange(variables.map((each, index) => (index === at ? { ...each, ...changes } : each)));
  return (
    <fieldset>
      <legend>Variables</legend>
      {problem !== undefined && <p class="problem">{problem}</p>}
      {variables.map((variable, at) => (
        <Details key={at} summary={visibleName(variable.name === "" ? "New variable" : variable.name)}>
          <div class="form">
            <div class="form-row">
              <TextField label="Name" value={variable.name} onValue={(name) => set(at, { name })} />
              <SelectField
                label="Type"
                value={variable.type}
                choices={types}
                onValue={(type) => set(at, { type: type as VariableDraft["type"] })}
              />
            </div>
            <TextField
              label="Meaning"
              value={variable.description}
              onValue={(description) => set(at, { description })}
            />
            <div class="form-row">
              <TextField label="Default" value={variable.fallback} onValue={(fallback) => set(at, { fallback })} />
              <TextField
                label="Allowed values"
                hint="Separated by commas; empty for any."
                value={variable.values}
                onValue={(values) => set(at, { values })}
              />
            </div>
            <CheckField
              label="Required"
              isChecked={variable.isRequired}
              onCheck={(isRequired) => set(at, { isRequired })}
            />
            <div class="toolbar">
              <Button
                label={`Remove variable ${variable.name}`}
                onRun={() => onChange(variables.filter((_each, index) => index !== at))}
              >
                Remove
              </Button>
            </div>
          </div>
        </Details>
      ))}
      <Button
        kind="quiet"
        onRun={() =>
          onChange([
            ...variables,
            { name: "", description: "", fallback: "", values: "", type: "string", isRequired: true },
          ])
        }
      >
        Add a variable
      </Button>
    </fieldset>
  );
}
