import { batch, signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { formatBytes, formatDuration, formatAmount } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolInputs } from "../tools/index.ts";
import { Announce, Badge, Button, Card, Details, Empty, Failure, Name, Show, Table } from "./components.tsx";
import { type Answer, finishedAnswers, mostModels, problemOf, runningAnswers } from "./compare-form.ts";
import { useData } from "./data.ts";
import { CheckField, Fields, TextBlock, Values, When } from "./fields.tsx";
import { formatCount, formatRate, given, visibleName, visibleText } from "./format.ts";
import { CallError } from "./mcp.ts";
import { client, live, notify } from "./state.ts";

type Comparison = ResourceData["ollm://comparisons/{id}"];
type Model = ResourceData["ollm://models"]["models"][number];

/** Characters of a prompt in the list. */
const shownCharacters = 100;

/** A comparison that this page has started. It continues while another page is shown. */
interface Run {
  /** Empty: the daemon chooses. */
  readonly models: readonly string[];
  /** Its operation; undefined until it is in the live state. */
  readonly id?: string;
  /** The newest line of progress, where the live state has none yet. */
  readonly message: string;
  readonly end: AbortController;
}

const running = signal<Run | undefined>(undefined);
const shown = signal<string | undefined>(undefined);
const failed = signal<unknown>(undefined);
/** Moves when the list of comparisons is out of date. */
const listAge = signal(0);

/** Asks several models the same, and picks the best answer. */
export function Compare() {
  return (
    <>
      <Question />
      {failed.value !== undefined && <Failure error={failed.value} />}
      {running.value !== undefined && <Running run={running.value} />}
      {running.value === undefined && shown.value !== undefined && <Finished key={shown.value} id={shown.value} />}
      <Past />
    </>
  );
}

function Question() {
  const models = useData(() => client.readResource("ollm://models"), ["models"]);
  return (
    <Card title="Ask several models">
      <Show of={models}>
        {({ models: all }) => {
          const able = all.filter(canAnswer);
          if (able.length < 2) {
            return (
              <Empty title={able.length === 0 ? "No model is installed." : "Only one model is installed."}>
                <p>
                  A comparison takes at least two. Pull one on the page <a href="#/models">Models</a>.
                </p>
              </Empty>
            );
          }
          // By name: the list has those in memory first, and a click must not meet another model.
          return <QuestionForm models={able.toSorted((one, other) => one.name.localeCompare(other.name))} />;
        }}
      </Show>
    </Card>
  );
}

function canAnswer({ capabilities, status }: Model): boolean {
  return (
    status !== "pulling" && status !== "error" && (capabilities === undefined || capabilities.includes("completion"))
  );
}

const prompt = signal("");

function QuestionForm({ models }: { readonly models: readonly Model[] }) {
  const chosen = useSignal<readonly string[]>([]);
  const options = useSignal({ system: "", judge: "", maxTokens: "" });
  const problem = useSignal<string | undefined>(undefined);
  const names = models.map(({ name }) => name);
  const picked = chosen.value.filter((name) => names.includes(name));
  const ask = (): void => {
    const { system, judge, maxTokens } = options.value;
    problem.value = problemOf(prompt.value, picked, maxTokens);
    if (problem.value !== undefined) return;
    void start({
      prompt: prompt.value,
      models: picked.length === 0 ? "auto" : picked,
      ...(system.trim() !== "" && { system }),
      ...(judge !== "" && { judge }),
      ...(maxTokens.trim() !== "" && { max_tokens: Number(maxTokens) }),
    });
  };
  return (
    <div class="form">
      <Fields
        rows={[{ text: { title: "Prompt", lines: 4 } }]}
        values={{ text: prompt.value }}
        onChange={({ text = "" }) => (prompt.value = text)}
        problem={problem.value === undefined ? undefined : { field: "text", message: problem.value }}
      />
      <fieldset>
        <legend>Models (2 to {mostModels}; none: the best ones that fit)</legend>
        <div class="checks">
          {models.map(({ name, is_remote }) => (
            <CheckField
              key={name}
              label={`${visibleName(name)}${is_remote ? " (remote)" : ""}`}
              isChecked={picked.includes(name)}
              onCheck={(isChecked) =>
                (chosen.value = isChecked ? [...picked, name] : picked.filter((each) => each !== name))
              }
            />
          ))}
        </div>
      </fieldset>
      <Details summary="System prompt, judge, length">
        <div class="form">
          <Fields
            rows={optionRows(models)}
            values={options.value}
            onChange={(changes) => (options.value = { ...options.value, ...changes })}
          />
        </div>
      </Details>
      <div class="toolbar">
        <Button text="Compare" kind="primary" onRun={ask} isDisabled={running.value !== undefined} />
        <span class="muted">Models that share cores answer one after the other.</span>
      </div>
    </div>
  );
}

function optionRows(models: readonly Model[]) {
  const judges = models.filter(({ is_remote }) => !is_remote).map(({ name }) => name);
  const judge = {
    title: "Judge",
    description: "A local model that ranks the answers without their names.",
    choices: [{ value: "", text: "No judge: you decide" }, { value: "auto", text: "Chosen automatically" }, ...judges],
  };
  return [
    { system: { title: "System prompt", lines: 2 } },
    { judge, maxTokens: { title: "Maximum tokens of each answer", type: "number" as const } },
  ];
}

async function start(input: ToolInputs["compare"]): Promise<void> {
  const end = new AbortController();
  const before = new Set(live.value?.operations.map(({ id }) => id));
  const models = typeof input.models === "object" ? input.models : [];
  batch(() => {
    running.value = { models, message: "", end };
    shown.value = undefined;
    failed.value = undefined;
  });
  const change = (changes: Partial<Run>): void => {
    if (running.value?.end === end) running.value = { ...running.value, ...changes };
  };
  // Several pages may compare at once: it is the first that was not there before and has the same models.
  const title = models.length === 0 ? "compare models" : `compare ${models.join(", ")}`;
  const endSearch = live.subscribe((state) => {
    const own = state?.operations.find(
      (each) => each.kind === "compare" && each.title === title && !before.has(each.id),
    );
    if (own !== undefined && running.value?.id === undefined) change({ id: own.id });
  });
  try {
    // The page waits as long as it takes: its calls become no jobs.
    const { comparison_id } = await client.callTool("compare", input, {
      signal: end.signal,
      onProgress: ({ message }) => change({ message }),
    });
    shown.value = comparison_id;
  } catch (error) {
    if (!(error instanceof CallError && error.kind === "aborted")) failed.value = error;
  } finally {
    endSearch();
    batch(() => {
      running.value = undefined;
      listAge.value += 1;
    });
  }
}

function Running({ run }: { readonly run: Run }) {
  const operation = live.value?.operations.find(({ id }) => id === run.id);
  const message = operation?.message ?? run.message;
  const answers = runningAnswers(run.models, message, operation?.texts);
  return (
    <Card title="Answering" actions={<Button text="Cancel" kind="danger" onRun={() => run.end.abort()} />}>
      <Announce text="The models are answering." />
      {answers.length === 0 ? (
        <p class="muted">{message === "" ? "Planning…" : visibleName(message)}</p>
      ) : (
        <>
          {!message.includes(": ") && message !== "" && <p class="muted">{visibleName(message)}…</p>}
          <AnswerColumns answers={answers} />
        </>
      )}
    </Card>
  );
}

function Finished({ id }: { readonly id: string }) {
  const found = useData(() => client.readResource("ollm://comparisons/{id}", { id }), [], id);
  return <Show of={found}>{(comparison) => <Result comparison={comparison} onPicked={found.reload} />}</Show>;
}

function Result({ comparison, onPicked }: { readonly comparison: Comparison; readonly onPicked: () => void }) {
  const { id, task, results, judgement, notes = [], winner, order } = comparison;
  const answered = results.filter(({ error }) => error === undefined);
  const done = (text: string): void => {
    notify({ kind: "done", text });
    listAge.value += 1;
    onPicked();
  };
  const pick = async (model: string): Promise<void> => {
    await client.callTool("pick_winner", { action: "pick", comparison_id: id, model });
    done(`Routing now prefers ${model} for ${task} tasks.`);
  };
  const undo = async (): Promise<void> => {
    await client.callTool("pick_winner", { action: "undo", task });
    done(`The pick for ${task} tasks was undone.`);
  };
  const refuseAll = async (): Promise<void> => {
    for (const { model } of answered) {
      await client.callTool("pick_winner", { action: "bad", model, task, answer_id: `${id} ${model}` });
    }
    done("All answers were rated bad.");
  };
  return (
    <Card title="Which answer is best?" actions={<Badge>{visibleName(task)}</Badge>}>
      <Announce text="The answers are complete." />
      <p class="wrap">{visibleText(comparison.prompt.slice(0, 500))}</p>
      <AnswerColumns
        answers={finishedAnswers(results)}
        winner={winner}
        actionsFor={({ model, result }) =>
          result?.error !== undefined ? null : winner === model ? (
            <Button text="Undo the pick" label={`Undo the pick: ${model}`} onRun={undo} />
          ) : (
            <Button
              text="Pick as winner"
              kind="primary"
              label={`Pick as winner: ${model}`}
              onRun={async () => pick(model)}
            />
          )
        }
      />
      {answered.length > 0 && winner === undefined && (
        <div class="toolbar">
          <Button text="All are bad" onRun={refuseAll} />
        </div>
      )}
      {judgement !== undefined && (
        <p class="wrap">
          {visibleName(judgement.judge)} ranks{" "}
          {visibleName(judgement.ranking.map((tied) => tied.join(" = ")).join(", then "))}:{" "}
          {visibleText(judgement.reason)} <span class="muted">({visibleName(judgement.note)})</span>
        </p>
      )}
      {[`Order: ${order}.`, ...notes].map((note) => (
        <p key={note} class="muted wrap">
          {visibleText(note)}
        </p>
      ))}
    </Card>
  );
}

function Past() {
  const found = useData(() => client.readResource("ollm://comparisons"), [], String(listAge.value));
  return (
    <Show of={found}>
      {({ comparisons }) =>
        comparisons.length === 0 ? null : (
          <Card title="Earlier comparisons">
            <Table
              label="Earlier comparisons"
              rows={comparisons}
              keyOf={({ id }) => id}
              columns={[
                {
                  title: "Prompt",
                  show: ({ id, prompt: asked }) => (
                    <Button kind="link" label={`Open the comparison: ${asked}`} onRun={() => void (shown.value = id)}>
                      <span class="wrap">
                        {visibleText(asked.length > shownCharacters ? `${asked.slice(0, shownCharacters)}…` : asked)}
                      </span>
                    </Button>
                  ),
                },
                { title: "Models", show: ({ models }) => <span class="wrap">{visibleName(models.join(", "))}</span> },
                { title: "Winner", show: ({ winner }) => (winner === undefined ? "" : <Name text={winner} />) },
                { title: "When", show: ({ created_at }) => <When iso={created_at} /> },
              ]}
            />
          </Card>
        )
      }
    </Show>
  );
}

/** Answers of several models side by side, while they are written and afterwards. */
function AnswerColumns(props: {
  readonly answers: readonly Answer[];
  readonly winner?: string | undefined;
  /** Buttons under the answer of a model. */
  readonly actionsFor?: (answer: Answer) => ComponentChildren;
}) {
  const { answers, winner, actionsFor } = props;
  return (
    <div class="answers">
      {answers.map((answer) => (
        <section
          key={answer.model}
          class="answer"
          aria-label={visibleName(answer.model)}
          aria-busy={answer.state !== undefined}
        >
          <header>
            <h3>
              <Name text={answer.model} />
            </h3>
            <AnswerState answer={answer} isWinner={winner === answer.model} />
          </header>
          <AnswerText answer={answer} />
          {answer.result !== undefined && <Figures result={answer.result} />}
          {actionsFor?.(answer)}
        </section>
      ))}
    </div>
  );
}

function AnswerState({ answer: { state, result }, isWinner }: { readonly answer: Answer; readonly isWinner: boolean }) {
  if (isWinner) return <Badge tone="good">winner</Badge>;
  if (result?.error !== undefined) return <Badge tone="bad">failed</Badge>;
  return state === undefined ? null : <span class="muted figure">{visibleName(state)}</span>;
}

function AnswerText({ answer: { model, text, result } }: { readonly answer: Answer }) {
  if (result?.error !== undefined) return <p class="wrap">{visibleText(result.error)}</p>;
  if (text === "") return <p class="muted">{result === undefined ? "…" : "No text."}</p>;
  return <TextBlock label={`Answer of ${model}`} text={text} />;
}

function Figures({ result }: { readonly result: NonNullable<Answer["result"]> }) {
  if (result.error !== undefined) return null;
  const { tokens_per_second, first_token_ms, total_ms, load_ms, memory_bytes, completion_tokens, cost } = result;
  return (
    <Values
      rows={[
        ["Speed", given(tokens_per_second, (speed) => `${formatRate(speed)} tokens/s`)],
        ["First token", given(first_token_ms, formatDuration)],
        ["Total", given(total_ms, formatDuration)],
        ["Load", load_ms === 0 ? "was loaded" : given(load_ms, formatDuration)],
        ["Tokens", given(completion_tokens, formatCount)],
        ["Memory", given(memory_bytes, formatBytes)],
        ["Cost", given(cost, ({ amount, currency }) => formatAmount(amount, currency))],
        ["Cut", result.finish_reason === "length" ? "at the token limit" : undefined],
        ["Note", result.is_contended === true ? "other work ran meanwhile: times are unreliable" : undefined],
      ]}
    />
  );
}
