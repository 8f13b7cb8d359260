import { localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { Button, Card, Empty, Name, Show, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { visibleName } from "./format.ts";
import { client } from "./state.ts";

/** Picks of the user, and what was learned from picks, ratings and outcomes. */
export function Learned() {
  const picks = useData(() => client.callTool("pick_winner", { action: "list" }), []);
  const learned = useData(() => client.readResource("ollm://profiles"), ["tools"]);
  const reload = (): void => {
    picks.reload();
    learned.reload();
  };
  return (
    <>
      <Card title="Your picks">
        <Show of={picks}>
          {({ preferences }) =>
            preferences.length === 0 ? (
              <Empty title="You have not picked a model yet.">
                <p>
                  <a href="#/compare">Compare models</a> and pick the best answer: routing then prefers that model for
                  the task.
                </p>
              </Empty>
            ) : (
              <Table
                label="Picks"
                rows={preferences}
                keyOf={({ task, picked_at }) => `${task} ${picked_at}`}
                columns={[
                  { title: "Task", show: ({ task }) => visibleName(task) },
                  { title: "Model", show: ({ model }) => <Name text={model} /> },
                  { title: "Picked", show: ({ picked_at }) => localTime(picked_at) },
                  {
                    title: "",
                    show: ({ task, model }) => (
                      <div class="row-actions">
                        <Button
                          text="Undo"
                          label={`Undo the pick of ${model} for ${task}`}
                          done="The pick was undone."
                          onRun={async () => {
                            await client.callTool("pick_winner", { action: "undo", task });
                            reload();
                          }}
                        />
                      </div>
                    ),
                  },
                ]}
              />
            )
          }
        </Show>
      </Card>
      <Card title="Learned from picks, ratings and outcomes">
        <Show of={learned}>
          {({ learned: rows }) =>
            rows.length === 0 ? (
              <Empty title="Nothing was learned yet.">
                <p>
                  Answers that are picked, rated, or asked for with a format or a check teach routing which model suits
                  a task.
                </p>
              </Empty>
            ) : (
              <LearnedTable rows={rows} onReset={reload} />
            )
          }
        </Show>
      </Card>
    </>
  );
}

function LearnedTable({
  rows,
  onReset,
}: {
  readonly rows: ResourceData["ollm://profiles"]["learned"];
  readonly onReset: () => void;
}) {
  const reset = (what: string, scope: { readonly task?: string; readonly model?: string } = {}) => ({
    question: {
      title: "Forget what was learned?",
      text: `Routing forgets ${visibleName(what)}. Your picks stay.`,
      action: "Forget it",
    },
    onRun: async () => {
      await client.callTool("pick_winner", { action: "reset", ...scope }, { isConfirmed: true });
      onReset();
    },
  });
  return (
    <>
      <Table
        label="What was learned"
        rows={rows}
        keyOf={({ task, model }) => `${task} ${model}`}
        columns={[
          { title: "Task", show: ({ task }) => visibleName(task) },
          { title: "Model", show: ({ model }) => <Name text={model} /> },
          { title: "Score", isNumber: true, show: ({ score }) => `${Math.round(score * 100)} %` },
          { title: "Answers", isNumber: true, show: ({ answers }) => answers },
          {
            title: "",
            show: ({ task, model }) => (
              <div class="row-actions">
                <Button
                  text="Reset"
                  label={`Reset ${model} for ${task}`}
                  {...reset(`what was learned about ${model} for ${task}`, { task, model })}
                />
              </div>
            ),
          },
        ]}
      />
      <div class="toolbar">
        <Button text="Reset everything learned" kind="danger" {...reset("everything that was learned")} />
      </div>
    </>
  );
}
