import { useSignal } from "@preact/signals";
import { counted } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Card, Dialog, NameButton, Show, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { Form, TextBlock } from "./fields.tsx";
import { formatCount, given, visibleName } from "./format.ts";
import { ask, client, notify } from "./state.ts";

type Pipeline = NonNullable<ToolAnswers["run_pipeline"]["pipelines"]>[number];

/** Prompts in steps: what there is, what a run would take, and a button that begins one. */
export function Pipelines() {
  const found = useData(() => client.callTool("run_pipeline", {}), ["templates"]);
  const opened = useSignal<Pipeline | undefined>(undefined);
  return (
    <>
      <Show of={found}>
        {({ pipelines = [], problems = [] }) => (
          <Card title="Prompts in steps">
            {problems.map((problem) => (
              <p key={problem} class="banner wrap">
                {visibleName(problem)}
              </p>
            ))}
            <Table
              label="Pipelines"
              rows={pipelines}
              keyOf={({ name }) => name}
              columns={[
                { title: "Name", show: (each) => <NameButton name={each.name} onOpen={() => (opened.value = each)} /> },
                { title: "From", show: ({ source }) => source },
                { title: "What it does", show: ({ description = "" }) => visibleName(description) },
              ]}
            />
            <p class="muted">
              Your own are YAML files in <code>OLLM_HOME/pipelines</code>; <code>ollm pipeline new</code> writes one.
            </p>
          </Card>
        )}
      </Show>
      {opened.value !== undefined && <OnePipeline of={opened.value} onClose={() => (opened.value = undefined)} />}
    </>
  );
}

/** `map: smollm2:135m, to be loaded, 12 prompts, 3,400 tokens to read, about 40 s` */
function planText(step: NonNullable<ToolAnswers["run_pipeline"]["plan"]>[number]): string {
  const { step: name, model, load, prompts, prompt_tokens: tokens, seconds } = step;
  const facts = [
    model,
    load && "to be loaded",
    given(prompts, (count) => counted(count, "prompt")),
    given(tokens, (count) => `${formatCount(count)} tokens to read`),
    given(seconds, (count) => `about ${formatCount(count)} s`),
  ];
  return visibleName(`${name}: ${facts.filter(Boolean).join(", ")}`);
}

function OnePipeline({ of: { name, inputs = [] }, onClose }: { readonly of: Pipeline; readonly onClose: () => void }) {
  const shown = useData(() => client.callTool("run_pipeline", { pipeline: name, dry_run: true }), [], name);
  const run = async (typed: Readonly<Record<string, string>>): Promise<undefined> => {
    // An empty field has its default.
    const values = Object.fromEntries(Object.entries(typed).filter(([, value]) => value.trim() !== ""));
    const planned = await client.callTool("run_pipeline", { pipeline: name, inputs: values, dry_run: true });
    const { plan, notes = [] } = planned;
    if (plan === undefined) throw new Error(notes.join("; "));
    const text = [...plan.map(planText), ...notes].map((each) => `${each}.`).join(" ");
    if (!(await ask({ title: `Run ${visibleName(name)}?`, text, action: "Run" }))) return;
    await client.callTool("run_pipeline", { pipeline: name, inputs: values });
    notify({ kind: "done", text: `${name} runs.` });
    onClose();
    location.hash = "#/jobs";
  };
  return (
    <Dialog title={visibleName(name)} onClose={onClose} isWide>
      <Form
        rows={inputs.map((input) => ({ [input]: { title: visibleName(input) } }))}
        initial={Object.fromEntries(inputs.map((input) => [input, ""]))}
        action="Run"
        onSave={run}
        onCancel={onClose}
      />
      <Show of={shown}>{({ yaml = "" }) => <TextBlock label="Steps" text={yaml} />}</Show>
    </Dialog>
  );
}
