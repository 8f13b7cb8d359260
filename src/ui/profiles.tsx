import { type Signal, useSignal } from "@preact/signals";
import { localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { tasks } from "../orchestrator/api/types.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Badge, Button, Card, type Column, Dialog, Empty, Name, NameButton, Show, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { Choice, Filter, Values, TextBlock, isMatch } from "./fields.tsx";
import { given, visibleName } from "./format.ts";
import { client } from "./state.ts";
import { defined, messageOf } from "../orchestrator/util/values.ts";

type Plan = ToolAnswers["route_and_generate"];

/** What a dry run is about: a profile, or a task, for which the profile is found. */
interface Asked {
  readonly profile?: string;
  readonly task?: string;
}

/** No prompt is for embedding. */
const shownTasks = tasks.flatMap((name) => (name === "embedding" ? [] : { name }));

const views = [
  { id: "tasks", title: "By task" },
  { id: "profiles", title: "By profile" },
  { id: "learned", title: "Learned preferences" },
] as const;

/** Which model would answer now, and why; and what routing has learned. */
export function Profiles() {
  const view = useSignal<(typeof views)[number]["id"]>("tasks");
  const opened = useSignal<Asked | undefined>(undefined);
  const found = useData(() => client.readResource("ollm://profiles"), ["tools"]);
  return (
    <>
      <p class="muted">
        Each request is routed by its task or profile. This page asks the router what it would do with a short prompt
        now: nothing is loaded or generated.
      </p>
      <Choice label="Shown" options={views} chosen={view.value} onChoose={(id) => (view.value = id)} />
      {view.value === "tasks" && <WouldAnswer kind="task" rows={shownTasks} opened={opened} />}
      {view.value === "profiles" && (
        <Show of={found}>{({ profiles }) => <WouldAnswer kind="profile" rows={profiles} opened={opened} />}</Show>
      )}
      {view.value === "learned" && <Learned />}
      {opened.value !== undefined && <Ranking asked={opened.value} onClose={() => (opened.value = undefined)} />}
    </>
  );
}

async function dryRun({ profile, task }: Asked): Promise<Plan> {
  return client.callTool("route_and_generate", {
    // A text that belongs to no task by itself.
    prompt: "Hello",
    dry_run: true,
    explain: true,
    ...defined({ profile, task }),
  });
}

/** Without a model: why none would answer. */
interface Answering {
  readonly model?: string;
  readonly profile?: string | undefined;
  readonly reason: string;
}

/** Dry runs at a time: more would only wait for each other. */
const atOnce = 3;

/** Asks for each name, a few at a time; again after changes that may lead to another model, and on request. */
function useAnswers(names: readonly string[], askedOf: (name: string) => Asked) {
  const answers = useSignal<ReadonlyMap<string, Answering>>(new Map());
  const isAsking = useSignal(false);
  const { reload } = useData(
    async () => {
      isAsking.value = true;
      const rest = [...names];
      const work = async (): Promise<void> => {
        for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
          const found = await dryRun(askedOf(name)).then(
            ({ model, reason, route }): Answering => ({ model, reason, profile: route?.profile }),
            (error: unknown): Answering => ({ reason: messageOf(error) }),
          );
          answers.value = new Map([...answers.value, [name, found]]);
        }
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      isAsking.value = false;
    },
    ["decisions", "tools", "models"],
    names.join("\n"),
  );
  return { answers: answers.value, isAsking: isAsking.value, askAgain: reload };
}

interface Named {
  readonly name: string;
  readonly description?: string | undefined;
}

/** Of each task, or profile: what would answer now. */
function WouldAnswer(props: {
  readonly kind: keyof Asked;
  readonly rows: readonly Named[];
  readonly opened: Signal<Asked | undefined>;
}) {
  const { kind, rows, opened } = props;
  const query = useSignal("");
  const names = rows.map(({ name }) => name);
  const { answers, isAsking, askAgain } = useAnswers(names, (name) => ({ [kind]: name }));
  const shown = rows.filter(({ name, description }) => isMatch(query.value, name, description));
  const aside: Column<Named> =
    kind === "task"
      ? { title: "Profile", show: ({ name }) => <Name text={answers.get(name)?.profile ?? ""} /> }
      : { title: "For", show: ({ description }) => <span class="wrap">{visibleName(description ?? "")}</span> };
  return (
    <Card
      title={`What would answer now, by ${kind}`}
      actions={<Button text={isAsking ? "Asking…" : "Ask again"} onRun={askAgain} isDisabled={isAsking} />}
    >
      <div class="toolbar">
        <Filter label={`Filter ${kind}s`} query={query} />
        <a href="#/settings">Change profiles in the settings</a>
      </div>
      <Table
        label={`By ${kind}`}
        rows={shown}
        keyOf={({ name }) => name}
        columns={[
          {
            title: "Name",
            show: ({ name }) => (
              <NameButton
                name={name.replaceAll("_", " ")}
                verb="Ranking for"
                onOpen={() => (opened.value = { [kind]: name })}
              />
            ),
          },
          aside,
          { title: "Model", show: ({ name }) => <Answer of={answers.get(name)} /> },
          {
            title: "Why",
            show: ({ name }) =>
              given(answers.get(name), ({ reason }) => <span class="wrap muted">{visibleName(reason)}</span>),
          },
        ]}
      >
        <p class="muted">Nothing matches the filter.</p>
      </Table>
    </Card>
  );
}

function Answer({ of }: { readonly of: Answering | undefined }) {
  if (of === undefined) return <span class="muted">…</span>;
  return of.model === undefined ? <Badge tone="warning">none</Badge> : <Name text={of.model} />;
}

/** The whole ranking of one dry run, and the profile's values with their sources. */
function Ranking({ asked, onClose }: { readonly asked: Asked; readonly onClose: () => void }) {
  const name = asked.profile ?? asked.task ?? "";
  const found = useData(() => dryRun(asked), ["decisions", "models", "tools"], name);
  return (
    <Dialog title={`${visibleName(name.replaceAll("_", " "))}: what would answer`} onClose={onClose}>
      <Show of={found}>
        {({ model, engine, reason, route }) => (
          <>
            <Values
              rows={[
                ["Model", <Name text={`${model} on ${engine}`} />],
                ["Why", visibleName(reason)],
                ["Task", given(route, ({ task, because }) => visibleName(`${task}: ${because}`))],
                ["Profile", given(route?.profile, visibleName)],
                ["Served by", given(route?.fallback, visibleName)],
              ]}
            />
            {route !== undefined && <Considered route={route} />}
          </>
        )}
      </Show>
      {asked.profile !== undefined && <ProfileValues name={asked.profile} />}
    </Dialog>
  );
}

function Considered({ route }: { readonly route: NonNullable<Plan["route"]> }) {
  const ranked = route.considered.filter(({ rejected }) => rejected === undefined);
  const rejected = route.considered.filter((each) => each.rejected !== undefined);
  return (
    <>
      <h3>Ranking</h3>
      <ol class="steps">
        {ranked.map(({ model, engine, expected_seconds, terms }) => (
          <li key={`${model} ${engine}`}>
            <Name text={model} /> <span class="muted">on {visibleName(engine)}</span>
            {expected_seconds !== undefined && <> · about {expected_seconds} s</>}
            {terms !== undefined && <p class="muted">{visibleName(terms)}</p>}
          </li>
        ))}
      </ol>
      {rejected.length > 0 && (
        <>
          <h3>Not considered</h3>
          <ul class="steps">
            {rejected.map(({ model, engine, rejected: why }) => (
              <li key={`${model} ${engine}`}>
                <Name text={model} /> <span class="muted">{visibleName(why ?? "")}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

/** The values of a profile that are set, each with its source. */
function ProfileValues({ name }: { readonly name: string }) {
  const found = useData(() => client.readResource("ollm://profiles/{name}", { name }), ["tools"], name);
  return (
    <Show of={found}>
      {(profile) => (
        <>
          <h3>Values</h3>
          <Values rows={valuesOf(profile, profile.sources)} />
          {profile.system !== undefined && <TextBlock label="System prompt" text={profile.system} />}
        </>
      )}
    </Show>
  );
}

const shownValues = [
  ["Models", "models", "models"],
  ["Families", "families", "families"],
  ["Needs", "needs", "needs"],
  ["Context from", "min_context_tokens", "contextTokens"],
  ["Temperature", "temperature", "temperature"],
  ["Top-p", "top_p", "topP"],
  ["Maximum tokens", "max_tokens", "maxTokens"],
  ["Fallback", "fallback", "fallback"],
  ["Longest time to first token", "max_latency_ms", "maxLatencyMs"],
  ["Lowest success rate", "min_success_rate", "minSuccessRate"],
  ["Templates", "templates", "templates"],
] as const;

function valuesOf(profile: ResourceData["ollm://profiles/{name}"], sources: Readonly<Record<string, string>>) {
  return shownValues.map(([title, key, source]) => {
    const text = [profile[key] ?? []].flat().join(", ");
    const from = sources[source];
    if (text === "") return [title, undefined] as const;
    return [
      title,
      <>
        {visibleName(text)} {from !== undefined && <span class="muted">({visibleName(from)})</span>}
      </>,
    ] as const;
  });
}

/** Picks of the user, and what was learned from picks, ratings and outcomes. */
function Learned() {
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
          {({ preferences }) => (
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
                    <Button
                      text="Undo"
                      label={`Undo the pick of ${model} for ${task}`}
                      done="The pick was undone."
                      onRun={async () => {
                        await client.callTool("pick_winner", { action: "undo", task });
                        reload();
                      }}
                    />
                  ),
                },
              ]}
            >
              <Empty title="You have not picked a model yet.">
                <p>
                  <a href="#/compare">Compare models</a> and pick the best answer: routing then prefers that model for
                  the task.
                </p>
              </Empty>
            </Table>
          )}
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

function LearnedTable(props: {
  readonly rows: ResourceData["ollm://profiles"]["learned"];
  readonly onReset: () => void;
}) {
  const { rows, onReset } = props;
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
              <Button
                text="Reset"
                label={`Reset ${model} for ${task}`}
                {...reset(`what was learned about ${model} for ${task}`, { task, model })}
              />
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
