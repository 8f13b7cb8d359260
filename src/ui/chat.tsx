/** Questions and what models answer. They are in this page only: nothing of it is stored, and a reload forgets it. */
import { type Signal, computed, signal, useSignal } from "@preact/signals";
import { type ComponentChildren, h } from "preact";
import { useEffect } from "preact/hooks";
import { reliabilityLines } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolInputs } from "../tools/index.ts";
import { Announce, Badge, Button, Card, Details, Failure, Name } from "./components.tsx";
import { type Answer, figuresOf, markdown, problemOf, profilePrefix } from "./answers.ts";
import { useData } from "./data.ts";
import { CheckField, Fields, Values } from "./fields.tsx";
import { partsOf, visibleName, visibleText } from "./format.ts";
import { CallError } from "./mcp.ts";
import { client, route } from "./state.ts";
import { messageOf } from "../orchestrator/util/values.ts";

type Model = ResourceData["ollm://models"]["models"][number];

interface Asking {
  readonly onCompare: (input: ToolInputs["compare"]) => void;
  readonly isComparing: boolean;
}

/** A question to one or several. */
interface Turn {
  readonly prompt: string;
  readonly answers: Signal<readonly Answer[]>;
  readonly end: AbortController;
}

/** The content of the form. `chosen`: models, and profiles after `profilePrefix`. */
export const question = signal({
  text: "",
  system: "",
  files: "",
  check: "",
  judge: "",
  maxTokens: "",
  chosen: [] as readonly string[],
});

const turns = signal<readonly Turn[]>([]);
const isAnswering = computed(() =>
  turns.value.some(({ answers }) => answers.value.some(({ state }) => state !== undefined)),
);
/** The id of the conversation with each, which the daemon has in memory. */
const threads = new Map<string, string>();

/** A page can't show every token: it would read the whole answer as Markdown for each. */
const textIntervalMs = 150;

/**
 * Asks each of `those` (a model, a profile, or empty: chosen by the daemon) in a conversation of its own, one after another, so
 * that their speeds are their own.
 */
async function askEach(
  input: ToolInputs["route_and_generate"] & { readonly prompt: string },
  those: readonly string[],
): Promise<void> {
  const end = new AbortController();
  const { signal: ended } = end;
  const answers = signal<readonly Answer[]>(
    those.map((name) => ({ model: name || "chosen automatically", text: "", state: "waits" })),
  );
  turns.value = [...turns.value, { prompt: input.prompt, answers, end }];
  const change = (index: number, changes: Partial<Answer>): void => {
    answers.value = answers.value.map((answer, at) => (at === index ? { ...answer, ...changes } : answer));
  };
  const ask = async (name: string, index: number): Promise<void> => {
    // One at a time continue the same conversation; side by side, each has its own.
    const thread = those.length === 1 && !threads.has(name) ? "" : name;
    const profile = name.startsWith(profilePrefix) ? name.slice(profilePrefix.length) : undefined;
    let [shownAtMs, thinking] = [0, ""];
    try {
      const generated = await client.callTool(
        "route_and_generate",
        {
          ...input,
          ...(profile !== undefined ? { profile } : name !== "" && { model: name }),
          continue_id: threads.get(thread) ?? "new",
          explain: true,
        },
        {
          signal: ended,
          onProgress: ({ message }) => change(index, { state: message }),
          onText(text, thoughts) {
            thinking = thoughts;
            if (Date.now() - shownAtMs < textIntervalMs) return;
            shownAtMs = Date.now();
            change(index, { text, thinking });
          },
        },
      );
      const { model, text = "", continue_id, total_ms = 0, timing } = generated;
      if (continue_id !== undefined) threads.set(thread, continue_id);
      const title = profile === undefined ? model : `${model} (${name})`;
      // As comparisons count it.
      const ownMs = total_ms - (timing?.queue_ms ?? 0) - (timing?.load_ms ?? 0);
      const result = { ...generated, ...timing, total_ms: ownMs };
      change(index, { model: title, text, thinking, state: undefined, result, generated });
    } catch (error) {
      // The daemon has forgotten it: the next question begins anew.
      if (messageOf(error).startsWith("there is no conversation")) threads.delete(thread);
      change(index, { state: undefined, error });
    }
  };
  for (const [index, name] of those.entries()) await ask(name, index);
}

/** The questions of this page, and the form of the next one, which is also that of a comparison. */
export function Chat(form: Asking) {
  return (
    <>
      <Turns />
      <Card title="Ask">
        <QuestionForm {...form} />
      </Card>
    </>
  );
}

function canAnswer({ capabilities, status }: Model): boolean {
  return (
    status !== "pulling" && status !== "error" && (capabilities === undefined || capabilities.includes("completion"))
  );
}

function QuestionForm({ onCompare, isComparing }: Asking) {
  const listed = useData(() => client.readResource("ollm://models"), ["models"]).data.value?.models ?? [];
  // By name: the list has those in memory first, and a click must not meet another model.
  const models = listed.filter(canAnswer).toSorted((one, other) => one.name.localeCompare(other.name));
  const known = useData(() => client.readResource("ollm://profiles"), ["tools"]).data.value?.profiles ?? [];
  const profiles = known.map(({ name }) => `${profilePrefix}${name}`);
  const problem = useSignal<string | undefined>(undefined);
  const names = models.map(({ name }) => name);
  const { chosen } = question.value;
  const picked = chosen.filter((name) => names.includes(name) || profiles.includes(name));
  const change = (changes: Partial<typeof question.value>): void =>
    void (question.value = { ...question.value, ...changes });
  const { query } = route.value;
  useEffect(() => {
    // A link from another page chooses.
    const linked = new URLSearchParams(query).getAll("model");
    if (linked.length > 0) change({ chosen: linked });
  }, [query]);
  const ask = (isComparison: boolean): void => {
    const { text, system, files, check, judge, maxTokens } = question.value;
    problem.value = problemOf(text, picked, maxTokens, isComparison);
    if (problem.value !== undefined) return;
    const input = {
      prompt: text,
      ...(system.trim() !== "" && { system }),
      ...(files.trim() !== "" && { files: partsOf(files, "\n") }),
      ...(maxTokens.trim() !== "" && { max_tokens: Number(maxTokens) }),
    };
    if (isComparison) {
      onCompare({ ...input, models: picked.length === 0 ? "auto" : picked, ...(judge !== "" && { judge }) });
    } else {
      void askEach(
        { ...input, ...(check !== "" && { check: check as "quotes" }) },
        picked.length === 0 ? [""] : picked,
      );
      change({ text: "" });
    }
  };
  const checks = (of: readonly { readonly name: string; readonly is_remote?: boolean | undefined }[]) => (
    <div class="checks">
      {of.map(({ name, is_remote }) => (
        <CheckField
          key={name}
          label={`${visibleName(name)}${is_remote === true ? " (remote)" : ""}`}
          isChecked={picked.includes(name)}
          onCheck={(isChecked) =>
            change({ chosen: isChecked ? [...picked, name] : picked.filter((each) => each !== name) })
          }
        />
      ))}
    </div>
  );
  return (
    <div
      class="form"
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !isAnswering.value) ask(false);
      }}
    >
      <Fields
        rows={[{ text: { title: "Prompt", lines: 4, description: "Ctrl+Enter asks." } }]}
        values={question.value}
        onChange={change}
        problem={problem.value === undefined ? undefined : { field: "text", message: problem.value }}
      />
      <fieldset>
        <legend>Models (none: the best ones that fit)</legend>
        {checks(models)}
        <Details summary="Profiles">{checks(profiles.map((name) => ({ name })))}</Details>
      </fieldset>
      <Details summary="System prompt, files, check, judge, length">
        <div class="form">
          <Fields rows={optionRows(models)} values={question.value} onChange={change} />
        </div>
      </Details>
      <div class="toolbar">
        <Button text="Ask" kind="primary" onRun={() => ask(false)} isDisabled={isAnswering.value} />
        <Button text="Compare" onRun={() => ask(true)} isDisabled={isComparing} />
        <a href="#/templates">Begin with a template</a>
      </div>
      <p class="muted">
        Ask: a chat with each, which this page does not store. Compare: the same question under equal conditions; it is
        kept, and you pick the winner. Models that share cores answer one after the other.
      </p>
    </div>
  );
}

function optionRows(models: readonly Model[]) {
  const judges = models.filter(({ is_remote }) => !is_remote).map(({ name }) => name);
  const judge = {
    title: "Judge of a comparison",
    description: "A local model that ranks the answers without their names.",
    choices: [{ value: "", text: "No judge: you decide" }, { value: "auto", text: "Chosen automatically" }, ...judges],
  };
  const check = {
    title: "Check of a chat's answers",
    choices: [
      { value: "", text: "None" },
      { value: "quotes", text: "Quotes of the files" },
      { value: "judged", text: "Quotes, judged by a model" },
      { value: "agree", text: "Three answers that agree" },
    ],
  };
  return [
    { system: { title: "System prompt", lines: 2 } },
    { files: { title: "Files", description: "A path on each line, in a folder that ollm may read.", lines: 2 } },
    { check, judge, maxTokens: { title: "Maximum tokens of each answer", type: "number" as const } },
  ];
}

/** What was asked since the chat began, oldest first. */
function Turns() {
  const stop = (): void => turns.value.forEach(({ end }) => end.abort());
  const begin = (): void => {
    stop();
    threads.clear();
    turns.value = [];
  };
  if (turns.value.length === 0) return null;
  const actions = (
    <span class="badges">
      {isAnswering.value && <Button text="Stop" kind="danger" onRun={stop} />}
      <Button text="New chat" onRun={begin} />
    </span>
  );
  return (
    <Card title="Chat" actions={actions}>
      <Announce text={isAnswering.value ? "Answering." : "The answer is complete."} />
      <ol class="entries">
        {turns.value.map(({ prompt, answers }, at) => (
          <li key={at} class="entry" aria-label={`Question ${at + 1}`}>
            <h3 class="wrap" dir="auto">
              {visibleText(prompt)}
            </h3>
            <AnswerColumns answers={answers.value} />
          </li>
        ))}
      </ol>
    </Card>
  );
}

/** Answers of several models side by side, while they are written and afterwards. */
export function AnswerColumns(props: {
  readonly answers: readonly Answer[];
  readonly winner?: string | undefined;
  /** Buttons under the answer of a model. */
  readonly actionsFor?: (answer: Answer) => ComponentChildren;
}) {
  const { answers, winner, actionsFor } = props;
  return (
    <div class="answers">
      {answers.map((answer, at) => (
        <section key={at} class="answer" aria-label={visibleName(answer.model)} aria-busy={answer.state !== undefined}>
          <header>
            <h3>
              <Name text={answer.model} />
            </h3>
            <AnswerState answer={answer} isWinner={winner === answer.model} />
          </header>
          <AnswerText answer={answer} />
          {answer.result !== undefined && <Values rows={figuresOf(answer.result)} />}
          {answer.generated !== undefined && <Grounds generated={answer.generated} />}
          {actionsFor?.(answer)}
        </section>
      ))}
    </div>
  );
}

function AnswerState({ answer, isWinner }: { readonly answer: Answer; readonly isWinner: boolean }) {
  const { state, result, error, generated } = answer;
  if (isWinner) return <Badge tone="good">winner</Badge>;
  if (error instanceof CallError && error.kind === "aborted") return <Badge>stopped</Badge>;
  if ((error ?? result?.error) !== undefined) return <Badge tone="bad">failed</Badge>;
  const { statements = [], problem } = generated?.check ?? {};
  const isDoubtful = statements.some(({ status }) => status === "not_found" || status === "contradicted");
  if (isDoubtful || problem !== undefined) return <Badge tone="warning">doubtful</Badge>;
  return state === undefined ? null : <span class="muted figure">{visibleName(state)}</span>;
}

function AnswerText({ answer }: { readonly answer: Answer }) {
  const { model, text, thinking = "", state, result, error } = answer;
  const isStopped = error instanceof CallError && error.kind === "aborted";
  return (
    <>
      {result?.error !== undefined && <p class="wrap">{visibleText(result.error)}</p>}
      {thinking !== "" && (
        <Details summary="Thinking">
          <p class="muted wrap" dir="auto">
            {visibleText(thinking)}
          </p>
        </Details>
      )}
      {text === "" && (error ?? result?.error) === undefined && (
        <p class="muted">{state === undefined ? "No text." : "…"}</p>
      )}
      {text !== "" && (
        <div class="wrap stack" role="group" aria-label={`Answer of ${visibleName(model)}`}>
          {markdown(text, h)}
        </div>
      )}
      {error !== undefined && !isStopped && <Failure error={error} />}
    </>
  );
}

/** Why this model, what stands behind a checked answer, and what else is to be known of it. */
function Grounds({ generated }: { readonly generated: NonNullable<Answer["generated"]> }) {
  const { reason, notes = [] } = generated;
  return (
    <>
      {reliabilityLines(generated).map((line) => (
        <p key={line} class="wrap" dir="auto">
          {visibleText(line)}
        </p>
      ))}
      {[`Chosen: ${reason}.`, ...notes].map((line) => (
        <p key={line} class="muted wrap" dir="auto">
          {visibleText(line)}
        </p>
      ))}
    </>
  );
}
