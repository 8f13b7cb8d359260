import { useSignal } from "@preact/signals";
import type { ResourceData } from "../resources/index.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Badge, Button, Card, Dialog, Empty, Failure, NameButton, Show, Table } from "./components.tsx";
import { profilePrefix } from "./answers.ts";
import { question } from "./chat.tsx";
import { useData } from "./data.ts";
import { Filter, Fields, type Property, TextBlock, Values, isMatch } from "./fields.tsx";
import { given, visibleName, visibleText } from "./format.ts";
import { addressOf, client } from "./state.ts";
import { TemplateEditor } from "./template-editor.tsx";
import { type TemplateDraft, draftOf, emptyDraft } from "./template-form.ts";

type Template = ResourceData["ollm://templates/{name}"];
type Listed = ToolAnswers["list_templates"]["templates"][number];

/** Prompt templates: see, try, edit, delete. */
export function Templates() {
  const found = useData(() => client.callTool("list_templates", {}), ["templates"]);
  const query = useSignal("");
  const opened = useSignal<string | undefined>(undefined);
  const edited = useSignal<TemplateDraft | undefined>(undefined);
  const isNew = useSignal(true);
  const edit = (draft: TemplateDraft, isKnown: boolean): void => {
    opened.value = undefined;
    isNew.value = !isKnown;
    edited.value = draft;
  };
  return (
    <>
      <Show of={found}>
        {({ templates, problems = [] }) => (
          <Card
            title="Prompt templates"
            actions={<Button text="New template" kind="primary" onRun={() => edit(emptyDraft, false)} />}
          >
            {problems.map((problem) => (
              <Failure key={problem} error={problem} />
            ))}
            {templates.length === 0 ? (
              <Empty title="There are no templates.">
                <p>A template is a prompt with variables, for recurring work.</p>
              </Empty>
            ) : (
              <>
                <div class="toolbar">
                  <Filter label="Filter templates" query={query} />
                </div>
                <Table
                  label="Templates"
                  rows={templates.filter(({ name, description }) => isMatch(query.value, name, description))}
                  keyOf={({ name }) => name}
                  columns={[
                    {
                      title: "Template",
                      show: ({ name }) => <NameButton name={name} onOpen={() => (opened.value = name)} />,
                    },
                    { title: "For", show: ({ description }) => <span class="wrap">{visibleText(description)}</span> },
                    {
                      title: "Variables",
                      show: ({ variables = [] }) => <span class="wrap muted">{visibleName(variables.join(", "))}</span>,
                    },
                    { title: "From", show: (each) => <Origin template={each} /> },
                  ]}
                />
              </>
            )}
          </Card>
        )}
      </Show>
      {opened.value !== undefined && (
        <OneTemplate name={opened.value} onClose={() => (opened.value = undefined)} onEdit={edit} />
      )}
      {edited.value !== undefined && (
        <TemplateEditor draft={edited.value} isNew={isNew.value} onClose={() => (edited.value = undefined)} />
      )}
    </>
  );
}

function Origin({ template: { source = "built-in", hides } }: { readonly template: Pick<Listed, "source" | "hides"> }) {
  return (
    <>
      <Badge>{source === "user" ? "yours" : source}</Badge>
      {hides !== undefined && <span class="muted"> in place of the {hides} one</span>}
    </>
  );
}

function OneTemplate(props: {
  readonly name: string;
  readonly onClose: () => void;
  readonly onEdit: (draft: TemplateDraft, isKnown: boolean) => void;
}) {
  const { name, onClose, onEdit } = props;
  const found = useData(() => client.readResource("ollm://templates/{name}", { name }), ["templates"], name);
  return (
    <Dialog title={visibleName(name)} onClose={onClose}>
      <Show of={found}>
        {(template) => (
          <>
            <p class="wrap">{visibleText(template.description)}</p>
            <Values
              rows={[
                ["From", <Origin template={template} />],
                ["File", given(template.file, (file) => <code class="wrap">{visibleName(file)}</code>)],
                ["Model", given(template.model, visibleName)],
                ["Profile", given(template.profile, visibleName)],
                ["Format", given(template.format, (format) => visibleName(JSON.stringify(format)))],
              ]}
            />
            {template.system !== undefined && <TextBlock title="System prompt" text={template.system} />}
            <TextBlock title="Text" label="Text of the template" text={template.template} />
            <Use template={template} />
            <div class="row-actions">
              {template.source === "user" && <DeleteButton template={template} onDeleted={onClose} />}
              {template.source === "project" ? (
                <p class="muted">Edit its file in the project.</p>
              ) : (
                <Button
                  text={template.source === "user" ? "Edit" : "Edit a copy"}
                  kind="primary"
                  onRun={() => onEdit(draftOf(template), template.source === "user")}
                />
              )}
            </div>
          </>
        )}
      </Show>
    </Dialog>
  );
}

function DeleteButton({ template, onDeleted }: { readonly template: Template; readonly onDeleted: () => void }) {
  const { name, hides } = template;
  return (
    <Button
      text="Delete"
      kind="danger"
      question={{
        title: "Delete this template?",
        text: `The file of ${visibleName(name)} is deleted.${hides === undefined ? "" : ` The ${hides} one is used again.`}`,
      }}
      done={`${name} was deleted.`}
      onRun={async () => {
        await client.callTool("delete_template", { name, confirm: true });
        onDeleted();
      }}
    />
  );
}

/** Has the daemon fill in the template, and opens it as a question. */
function Use({ template }: { readonly template: Template }) {
  const values = useSignal<Readonly<Record<string, string | undefined>>>({});
  const fill = async (): Promise<void> => {
    const { name, model, profile } = template;
    const variables = Object.fromEntries(
      Object.entries(values.value).flatMap(([variable, value = ""]) => (value === "" ? [] : [[variable, value]])),
    );
    const { text, system = "" } = await client.callTool("render_template", { name, variables });
    const named = model ?? (profile === undefined ? undefined : `${profilePrefix}${profile}`);
    question.value = { ...question.value, text, system, chosen: named === undefined ? [] : [named] };
    location.hash = addressOf("compare");
  };
  return (
    <>
      <h3>Use</h3>
      <Fields
        rows={template.variables.map((variable) => ({ [variable.name]: propertyOf(variable) }))}
        values={values.value}
        onChange={(changes) => void (values.value = { ...values.value, ...changes })}
      />
      <div class="toolbar">
        <Button text="Fill in" onRun={fill} />
        <span class="muted">It becomes the prompt of a question. Nothing is sent to a model before you ask.</span>
      </div>
    </>
  );
}

function propertyOf({
  name,
  description,
  required,
  type,
  enum: allowed,
  ...variable
}: Template["variables"][number]): Property {
  const choices = allowed ?? (type === "boolean" ? ["true", "false"] : undefined);
  const hint = [description, variable.default === undefined ? undefined : `Default: ${variable.default}`];
  return {
    title: `${visibleName(name)}${required ? "" : " (optional)"}`,
    description: visibleName(hint.filter(Boolean).join(" ")),
    choices: choices && [{ value: "", text: "–" }, ...choices],
    ...(type === "string" ? { lines: 2 } : { type: "number" as const }),
  };
}
