import { batch, signal } from "@preact/signals";
import type { ResourceData } from "../resources/index.ts";
import type { ToolInputs } from "../tools/index.ts";
import { Announce, Badge, Button, Card, Failure, Name, Show, Table } from "./components.tsx";
import { AnswerColumns, Chat } from "./chat.tsx";
import { runningAnswers } from "./answers.ts";
import { useData } from "./data.ts";
import { When } from "./fields.tsx";
import { visibleName, visibleText } from "./format.ts";
import { CallError } from "./mcp.ts";
import { client, live, notify } from "./state.ts";

type Comparison = ResourceData["ollm://comparisons/{id}"];

/** Characters of a prompt in the list. */
const shownCharacters = 100;

/** A comparison that this page has started. It continues while another page is shown. */
interface Run {
  /** Empty: the daemon chooses. */
  readonly models: readonly string[];
  /** Operations that ran before it. */
  readonly before: ReadonlySet<string>;
  /** The newest line of progress. */
  readonly message: string;
  readonly end: AbortController;
}

const running = signal<Run | undefined>(undefined);
const shown = signal<string | undefined>(undefined);
const failed = signal<unknown>(undefined);
/** Moves when the list of comparisons is out of date. */
const listAge = signal(0);

/** Asks one model or several: in a chat, or in a comparison that is kept, with a winner. */
export function Compare() {
  return (
    <>
      <Chat onCompare={(input) => void start(input)} isComparing={running.value !== undefined} />
      {failed.value !== undefined && <Failure error={failed.value} />}
      {running.value !== undefined && <Running run={running.value} />}
      {running.value === undefined && shown.value !== undefined && <Finished key={shown.value} id={shown.value} />}
      <Past />
    </>
  );
}

async function start(input: ToolInputs["compare"]): Promise<void> {
  const end = new AbortController();
  const before = new Set(live.value?.operations.map(({ id }) => id));
  const models = typeof input.models === "object" ? input.models : [];
  batch(() => {
    running.value = { models, before, message: "", end };
    shown.value = undefined;
    failed.value = undefined;
  });
  try {
    // The page waits as long as it takes: its calls become no jobs.
    const { comparison_id } = await client.callTool("compare", input, {
      signal: end.signal,
      onProgress: ({ message }) => (running.value = { models, before, message, end }),
    });
    shown.value = comparison_id;
  } catch (error) {
    if (!(error instanceof CallError && error.kind === "aborted")) failed.value = error;
  } finally {
    batch(() => {
      running.value = undefined;
      listAge.value += 1;
    });
  }
}

function Running({ run: { models, before, message, end } }: { readonly run: Run }) {
  const title = models.length === 0 ? "compare models" : `compare ${models.join(", ")}`;
  // Several pages may compare at once: it is the first that was not there before and has the same models.
  const operation = live.value?.operations.find((each) => each.title === title && !before.has(each.id));
  const answers = runningAnswers(models, message, operation?.texts);
  return (
    <Card title="Answering" actions={<Button text="Cancel" kind="danger" onRun={() => end.abort()} />}>
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
        answers={results.map((result) => ({ text: "", ...result, result }))}
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
