import type { ToolAnswers } from "../tools/index.ts";
import { Button, Details, Dialog } from "./components.tsx";
import { Fields, Form, type Rows } from "./fields.tsx";
import { type FieldProblem, visibleName, visibleText } from "./format.ts";
import { CallError, errorText } from "./mcp.ts";
import { ask, client, notify } from "./state.ts";
import { type TemplateDraft, emptyVariable, inputOf, placeOf } from "./template-form.ts";
import { messageOf } from "../orchestrator/util/values.ts";

const rows: Rows<TemplateDraft> = [
  { name: { title: "Name", description: "A template with the name of a built-in one is used in its place." } },
  { description: { title: "Description" } },
  {
    template: {
      title: "Text",
      description: "{name} and {name:default} are variables; {{ and }} are braces.",
      lines: 8,
      isCode: true,
    },
  },
  { system: { title: "System prompt", lines: 2 } },
];

const optionRows: Rows<TemplateDraft> = [
  { model: { title: "Model", description: "Empty: chosen." }, profile: { title: "Profile" } },
  {
    temperature: { title: "Temperature", type: "number" },
    topP: { title: "Top-p", type: "number" },
    maxTokens: { title: "Maximum tokens", type: "number" },
  },
  { format: { title: "Format", description: "Empty for text, json, or a JSON Schema.", lines: 2 } },
];

const variableRows: Rows<TemplateDraft["variables"][number]> = [
  {
    name: { title: "Name" },
    type: {
      title: "Type",
      choices: [
        { value: "string", text: "Text" },
        { value: "number", text: "Number" },
        { value: "boolean", text: "True or false" },
      ],
    },
  },
  { description: { title: "Meaning" } },
  {
    fallback: { title: "Default" },
    values: { title: "Allowed values", description: "Separated by commas; empty for any." },
  },
  { isRequired: { title: "Required", type: "boolean" } },
];

/** A template in a form; what the daemon refuses is shown at its field. */
export function TemplateEditor(props: {
  readonly draft: TemplateDraft;
  readonly isNew: boolean;
  readonly onClose: () => void;
}) {
  const { draft: initial, isNew, onClose } = props;
  const save = async (draft: TemplateDraft): Promise<FieldProblem<TemplateDraft> | undefined> => {
    const made = inputOf(draft);
    if ("field" in made) return made;
    try {
      const saved = await create(made.input, !isNew && made.input.name === initial.name);
      if (saved === undefined) return undefined;
      notify({ kind: "done", text: `${saved.name} was saved in ${saved.file}.` });
      onClose();
      return undefined;
    } catch (error) {
      const place = placeOf(messageOf(error));
      if (place === undefined) throw error;
      return { ...place, message: errorText(error) };
    }
  };
  return (
    <Dialog title={isNew ? "New template" : `Edit ${visibleName(initial.name)}`} onClose={onClose}>
      <Form rows={rows} initial={initial} onSave={save} onCancel={onClose}>
        {({ failure: _failure, ...form }) => (
          <>
            <VariableFields
              variables={form.values.variables}
              onChange={(variables) => form.onChange({ variables })}
              problem={form.problem?.field === "variables" ? form.problem.message : undefined}
            />
            <Details summary="Model and options">
              <div class="form">
                <Fields rows={optionRows} {...form} />
              </div>
            </Details>
          </>
        )}
      </Form>
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

/** What is known of variables beyond their names; those that are only in the text need no row. */
function VariableFields(props: {
  readonly variables: TemplateDraft["variables"];
  readonly onChange: (variables: TemplateDraft["variables"]) => void;
  readonly problem: string | undefined;
}) {
  const { variables, onChange, problem } = props;
  return (
    <fieldset>
      <legend>Variables</legend>
      {problem !== undefined && <p class="problem">{visibleText(problem)}</p>}
      {variables.map((variable, at) => (
        <Details key={at} summary={visibleName(variable.name === "" ? "New variable" : variable.name)}>
          <div class="form">
            <Fields
              rows={variableRows}
              values={variable}
              onChange={(changes) =>
                onChange(variables.map((each, index) => (index === at ? { ...each, ...changes } : each)))
              }
            />
            <div class="toolbar">
              <Button
                text="Remove"
                label={`Remove variable ${variable.name}`}
                onRun={() => onChange(variables.filter((_each, index) => index !== at))}
              />
            </div>
          </div>
        </Details>
      ))}
      <Button text="Add a variable" kind="quiet" onRun={() => onChange([...variables, emptyVariable])} />
    </fieldset>
  );
}
