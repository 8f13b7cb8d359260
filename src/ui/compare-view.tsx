import { type ComponentChildren, h } from "preact";
import { useState } from "preact/hooks";
import type { ToolAnswers } from "../tools/index.ts";
import { figuresOf, markdown, runningAnswers } from "./answers.ts";
import { visibleName, visibleText } from "./format.ts";
import { Notices, type ViewHost, type ViewState, Waiting, showView, useBusy } from "./view-host.tsx";

type Comparison = ToolAnswers["compare"];
type Answer = Comparison["results"][number];
type Job = Partial<ToolAnswers["job"]>;
type Pick = NonNullable<ToolAnswers["pick_winner"]["picked"]>;

/** The tool's answer, or a job's when the comparison outlasted the assistant's patience. */
function comparisonIn(value: unknown): Comparison | undefined {
  const data = value as (Partial<Comparison> & { readonly result?: unknown }) | null | undefined;
  if (Array.isArray(data?.results)) return data as Comparison;
  return data?.result === undefined ? undefined : comparisonIn(data.result);
}

function CompareView({ state, host }: { readonly state: ViewState; readonly host: ViewHost }) {
  const [fetched, setFetched] = useState<Job>();
  const { isBusy, problem, button } = useBusy();
  const { input, result, data, ended } = state;
  const answered = comparisonIn(fetched) ?? comparisonIn(data);
  const underway = { ...(data as Job | undefined), ...fetched };
  const { job, error, partial_text = "", progress, state: jobState = "running" } = underway;
  const models = Array.isArray(input?.["models"]) ? input["models"].map(String) : [];
  const ask = (action: "status" | "wait") => async () =>
    setFetched((await host.callTool("job", { action, job_id: job })) as Job);
  return (
    <main aria-busy={isBusy}>
      {typeof input?.["prompt"] === "string" && (
        <Folded kind="prompt" label="Prompt" text={input["prompt"]}>
          {visibleText}
        </Folded>
      )}
      {answered !== undefined ? (
        <Answers comparison={answered} canPick={state.canCall} host={host} />
      ) : typeof job === "string" ? (
        <>
          <div class="columns">
            {runningAnswers(models, progress?.message, textsIn(partial_text)).map((answer) => (
              <Column key={answer.model} answer={{ ...answer, error: undefined }} isWinner={false}>
                <p class="faint">{visibleName(answer.state ?? "")}</p>
              </Column>
            ))}
          </div>
          {jobState === "running" ? (
            <p>
              The models are still answering (job {job}).{" "}
              {state.canCall && (
                <>
                  {button("Show the answers so far", ask("status"))} {button("Wait for the answers", ask("wait"))}
                </>
              )}
            </p>
          ) : (
            <p class="problem">
              The comparison {visibleName(jobState)}: {visibleText(error ?? "it gave no answer")}
            </p>
          )}
        </>
      ) : (
        <Waiting result={result} ended={ended}>
          Asking {models.length === 0 ? "the models" : visibleName(models.join(", "))} …
        </Waiting>
      )}
      {problem}
    </main>
  );
}

/** The answers in a job's text so far, each after its model: `=== MODEL ===`. */
function textsIn(partial: string) {
  const parts = partial.split(/^=== (.+) ===\n/m).slice(1);
  return parts.flatMap((model, at) => (at % 2 === 0 ? [{ model, text: parts[at + 1]?.trimEnd() ?? "" }] : []));
}

/** Longer texts are shown by their beginning. */
const most = { characters: 1_200, lines: 16 } as const;

/** A text, whole or by its beginning until "Show all"; `readRest` reads what the answer to the call left out. */
function Folded(props: {
  readonly kind: "prompt" | "answer";
  readonly label: string;
  readonly text: string;
  readonly readRest?: (() => Promise<string>) | undefined;
  readonly children: (text: string) => ComponentChildren;
}) {
  const { kind, label, text, readRest, children } = props;
  const [whole, setWhole] = useState<string>();
  const { problem, button } = useBusy();
  const isLong = readRest !== undefined || text.length > most.characters || text.split("\n").length > most.lines;
  const isFolded = isLong && whole === undefined;
  return (
    <>
      <div class={isFolded ? `${kind} folded` : kind} dir="auto" role="group" aria-label={label}>
        {children(whole ?? text)}
      </div>
      {isFolded && button("Show all", async () => setWhole((await readRest?.()) ?? text), `Show all: ${label}`)}
      {problem}
    </>
  );
}

function Answers(props: { readonly comparison: Comparison; readonly canPick: boolean; readonly host: ViewHost }) {
  const { comparison, canPick, host } = props;
  const [picked, setPicked] = useState<Pick>();
  const { problem, button } = useBusy();
  const { comparison_id, results, order, judgement, notes = [] } = comparison;
  const fastest = Math.max(...results.map(({ tokens_per_second: speed = 0 }) => speed));
  const pick = async (model: string) => {
    const { picked: winner } = (await host.callTool("pick_winner", { action: "pick", comparison_id, model })) as {
      readonly picked?: Pick;
    };
    if (winner === undefined) return;
    setPicked(winner);
    host.tellAssistant(`The user picked ${winner.model} as the winner of comparison ${comparison_id}.`);
  };
  const undo = async ({ task }: Pick) => {
    await host.callTool("pick_winner", { action: "undo", task });
    setPicked(undefined);
    host.tellAssistant(`The user withdrew the pick for comparison ${comparison_id}.`);
  };
  return (
    <>
      <div class="columns">
        {results.map((answer) => (
          <Column
            key={answer.model}
            answer={answer}
            fastest={fastest}
            isWinner={picked?.model === answer.model}
            readRest={() => host.readAnswer(comparison.resource, answer.model)}
          >
            {canPick &&
              picked === undefined &&
              button("Pick as winner", () => pick(answer.model), `Pick as winner: ${visibleName(answer.model)}`)}
          </Column>
        ))}
      </div>
      <p role="status">
        {picked !== undefined && (
          <>
            Routing now prefers <bdi>{visibleName(picked.model)}</bdi> for {picked.task} tasks.{" "}
            {button("Undo", () => undo(picked))}
          </>
        )}
      </p>
      {problem}
      {judgement !== undefined && (
        <p>
          {visibleName(judgement.judge)} ranks{" "}
          {visibleName(judgement.ranking.map((tied) => tied.join(" = ")).join(" > "))}: {visibleText(judgement.reason)}
        </p>
      )}
      <p class="faint">Order: {visibleName(order)}.</p>
      <Notices lines={notes} />
    </>
  );
}

function Column(props: {
  readonly answer: Answer;
  readonly fastest?: number;
  readonly isWinner: boolean;
  readonly readRest?: () => Promise<string>;
  readonly children: ComponentChildren;
}) {
  const { answer, fastest = 0, isWinner, readRest, children } = props;
  const { text = "", error, is_cut, tokens_per_second: speed = 0 } = answer;
  const model = visibleName(answer.model);
  return (
    <article class={isWinner ? "card winner" : "card"} aria-label={model}>
      <h2>
        <bdi>{model}</bdi>
        {isWinner && <span class="badge">winner</span>}
      </h2>
      {error !== undefined ? (
        <p class="problem">Failed: {visibleText(error)}</p>
      ) : (
        <>
          {/* Logarithmic, so that one fast answer doesn't make all others alike. Its figure stands below. */}
          {speed > 0 && <meter aria-hidden="true" max={Math.log1p(fastest)} value={Math.log1p(speed)} />}
          <p class="faint">
            {figuresOf(answer)
              .flatMap(([name, value]) => (value === undefined ? [] : `${name}: ${value}`))
              .join(" · ")}
          </p>
          <Folded
            kind="answer"
            label={`Answer of ${model}`}
            text={text}
            readRest={is_cut === true ? readRest : undefined}
          >
            {(whole) => markdown(whole, h)}
          </Folded>
          {children}
        </>
      )}
    </article>
  );
}

showView("ollm compare", CompareView);
