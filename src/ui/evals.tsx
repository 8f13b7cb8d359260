import { useSignal } from "@preact/signals";
import { formatAmount, formatBytes, formatShare } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { Badge, Button, Card, Command, Details, Empty, Name, NameButton, Show, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { Progress, TextBlock, Values, When } from "./fields.tsx";
import { formatCount, formatRate, given, visibleName, visibleText } from "./format.ts";
import { ask, client, notify } from "./state.ts";

type Head = ResourceData["ollm://evals"]["evals"][number];
type Eval = ResourceData["ollm://evals/{id}"];

/** How models did on the user's own cases. */
export function Evals() {
  const found = useData(() => client.readResource("ollm://evals"), ["job"]);
  const opened = useSignal<string | undefined>(undefined);
  return (
    <Show of={found}>
      {({ evals }) => {
        const [newest] = evals;
        if (newest === undefined) return <NoEval />;
        const id = evals.some((each) => each.id === opened.value) ? opened.value : undefined;
        return (
          <>
            <OneEval key={id ?? newest.id} id={id ?? newest.id} />
            <Card title="Evals, newest first">
              <Table
                label="Evals"
                rows={evals}
                keyOf={(each) => each.id}
                columns={[
                  {
                    title: "Cases",
                    show: ({ id: of, name, cases }) => (
                      <NameButton
                        name={`${name} (${formatCount(cases)})`}
                        verb="Show"
                        onOpen={() => (opened.value = of)}
                      />
                    ),
                  },
                  { title: "Models", show: (each) => <Name text={each.models.join(", ")} /> },
                  { title: "State", show: (each) => <State of={each} /> },
                  { title: "Begun", show: (each) => <When iso={each.created_at} /> },
                  { title: "", show: (each) => <DeleteButton of={each} onDeleted={found.reload} /> },
                ]}
              />
            </Card>
          </>
        );
      }}
    </Show>
  );
}

function NoEval() {
  return (
    <Empty title="No eval yet.">
      <p>
        An eval asks each model each of your own cases, and shows how often it was right, how fast it was, and what it
        took. A case is a line such as <code>{'{"prompt": "17 * 3?", "expected": 51}'}</code>.
      </p>
      <Command text="ollm eval cases.jsonl" />
    </Empty>
  );
}

function State({ of: { is_running, ended_at } }: { readonly of: Head }) {
  if (is_running) return <Badge tone="warning">running</Badge>;
  return ended_at === undefined ? <Badge>interrupted</Badge> : <Badge tone="good">done</Badge>;
}

function DeleteButton(props: { readonly of: Head; readonly onDeleted: () => void }) {
  const {
    of: { id, name, is_running },
    onDeleted,
  } = props;
  if (is_running) return null;
  return (
    <Button
      text="Delete"
      of={name}
      question={{
        title: "Delete this eval?",
        text: `The answers of ${visibleName(name)} are deleted; it can't be continued.`,
      }}
      onRun={async () => {
        await client.callTool("evaluate_models", { action: "delete", eval_id: id }, { isConfirmed: true });
        onDeleted();
      }}
    />
  );
}

function OneEval({ id }: { readonly id: string }) {
  const found = useData(() => client.readResource("ollm://evals/{id}", { id }), ["job"], id);
  return (
    <Show of={found}>
      {(shown) => (
        <Card title={visibleName(shown.name)} actions={<State of={shown} />}>
          {shown.answered < shown.answers && <Missing of={shown} />}
          <Rows of={shown} />
          {shown.verdicts.map((verdict) => (
            <Verdict key={verdict.profile} of={verdict} />
          ))}
          <Values rows={decidedBy(shown)} />
          {shown.notes.map((note) => (
            <p key={note} class="muted wrap">
              {visibleText(note)}
            </p>
          ))}
          {shown.misses.length > 0 && <Misses of={shown} />}
        </Card>
      )}
    </Show>
  );
}

function Missing({ of: { answered, answers, is_running, name } }: { readonly of: Eval }) {
  return (
    <>
      <p>
        {formatCount(answered)} of {formatCount(answers)} answers
        {is_running ? "" : ": the command that began it continues it"}
      </p>
      {is_running && <Progress label={`Answers of ${name}`} value={answered} total={answers} />}
    </>
  );
}

function Rows({ of: { rows } }: { readonly of: Eval }) {
  const hasCost = rows.some(({ cost }) => cost !== undefined);
  return (
    <>
      <Table
        label="How often each model was right"
        rows={rows}
        keyOf={({ task, model }) => `${task} ${model}`}
        columns={[
          {
            title: "Model",
            show: ({ model, is_contended }) => <Name text={is_contended === true ? `${model} *` : model} />,
          },
          { title: "Task", show: ({ task }) => visibleName(task) },
          {
            title: "Right",
            isNumber: true,
            show: ({ right, scored }) => (scored === 0 ? "" : `${formatCount(right)} of ${formatCount(scored)}`),
          },
          {
            title: "95 % interval",
            isNumber: true,
            show: ({ quality }) => given(quality, ({ low, high }) => `${formatShare(low)} to ${formatShare(high)}`),
          },
          { title: "Failed", isNumber: true, show: ({ failed }) => (failed === 0 ? "" : formatCount(failed)) },
          { title: "Seconds", isNumber: true, show: ({ seconds }) => seconds?.toFixed(1) },
          { title: "Tokens/s", isNumber: true, show: (row) => given(row.tokens_per_second, formatRate) },
          { title: "Memory", isNumber: true, show: (row) => given(row.memory_bytes, formatBytes) },
          ...(hasCost
            ? [
                {
                  title: "Cost",
                  isNumber: true,
                  show: ({ cost }: Eval["rows"][number]) =>
                    given(cost, ({ amount, currency }) => formatAmount(amount, currency)),
                },
              ]
            : []),
        ]}
      />
      {rows.some(({ is_contended }) => is_contended === true) && (
        <p class="muted">* Other requests ran meanwhile: its times say little.</p>
      )}
    </>
  );
}

/** What the cases can tell about a profile, and a button that makes use of it. */
function Verdict({ of: { profile, winner, text } }: { readonly of: Eval["verdicts"][number] }) {
  return (
    <p class="wrap">
      <strong>{visibleName(profile ?? "All")}</strong>: {visibleText(text)}.{" "}
      {profile !== undefined && winner !== undefined && (
        <Button
          kind="link"
          label={`Prefer ${winner} in the profile ${profile}`}
          text={`Prefer ${visibleName(winner)}`}
          onRun={async () => prefer(profile, winner)}
        />
      )}
    </p>
  );
}

/** Puts a model first in a profile, after showing the change. */
async function prefer(profile: string, winner: string): Promise<void> {
  const path = `profiles.${profile}.models`;
  const { models: before = [] } = await client.readResource("ollm://profiles/{name}", { name: profile });
  if (before[0] === winner) {
    notify({ kind: "done", text: `${path} begins with ${winner} already.` });
    return;
  }
  const value = [winner, ...before.filter((model) => model !== winner)];
  const isSure = await ask({
    title: `Prefer ${visibleName(winner)}?`,
    text: visibleName(`${path}: ${before.join(", ") || "none"} → ${value.join(", ")}`),
    action: "Change it",
  });
  if (!isSure) return;
  await client.callTool("update_config", { action: "set", path, value }, { isConfirmed: true });
  notify({ kind: "done", text: `${path} begins with ${winner}. Settings can undo it.` });
}

const means = {
  values: "By values",
  format: "By their format",
  quotes: "By quotes",
  judge: "Judged",
  nothing: "Timed",
};

function decidedBy({ cases, decided_by, judge }: Eval): Parameters<typeof Values>[0]["rows"] {
  const kinds = (Object.keys(means) as (keyof typeof means)[]).filter((kind) => decided_by[kind] > 0);
  return [
    ["Cases", formatCount(cases)],
    ...kinds.map((kind) => [means[kind], formatCount(decided_by[kind])] as const),
    ["Judge", judge === undefined ? undefined : <Name text={judge} />],
  ];
}

function Misses({ of: { misses } }: { readonly of: Eval }) {
  return (
    <Details summary={`Not right: ${formatCount(misses.length)}`}>
      {misses.map(({ case: name, model, why, text }) => (
        <section key={`${name} ${model}`}>
          <p class="wrap">
            <Name text={`${name}, ${model}`} />: {visibleText(why)}
          </p>
          {text !== undefined && <TextBlock label={`Answer of ${model} to ${name}`} text={text} />}
        </section>
      ))}
    </Details>
  );
}
