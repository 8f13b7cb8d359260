import { useState } from "preact/hooks";
import type { ToolAnswers } from "../tools/index.ts";
import { formatBytes, formatDuration } from "../orchestrator/util/format-bytes.ts";
import { visibleName, visibleText } from "./format.ts";
import { Notices, Problem, type ViewHost, type ViewState, Waiting, showView, useBusy } from "./view-host.tsx";

type Comparison = ToolAnswers["compare"];
type Answer = Comparison["results"][number];
type Pick = NonNullable<ToolAnswers["pick_winner"]["picked"]>;

/** The tool's answer, or a job's when the comparison outlasted the assistant's patience. */
function comparisonIn(value: unknown): Comparison | undefined {
  const data = value as (Partial<Comparison> & { readonly result?: unknown }) | null | undefined;
  if (Array.isArray(data?.results)) return data as Comparison;
  return data?.result === undefined ? undefined : comparisonIn(data.result);
}

function CompareView({ state, host }: { readonly state: ViewState; readonly host: ViewHost }) {
  const [fetched, setFetched] = useState<unknown>();
  const { isBusy, problem, attempt } = useBusy();
  const { input, result, ended } = state;
  const answered = comparisonIn(fetched) ?? comparisonIn(result?.structuredContent);
  const job = (result?.structuredContent as { readonly job?: unknown } | undefined)?.job;
  const wait = () =>
    attempt(async () => setFetched(await host.callTool("job", { action: "wait", job_id: String(job) })));
  return (
    <main aria-busy={isBusy}>
      {typeof input?.["prompt"] === "string" && (
        <div class="prompt" tabIndex={0} role="group" aria-label="Prompt">
          {visibleText(input["prompt"])}
        </div>
      )}
      {answered !== undefined ? (
        <Answers comparison={answered} canPick={state.canCall} host={host} />
      ) : typeof job === "string" ? (
        <p>
          The models are still answering (job {job}).{" "}
          {state.canCall && (
            <button type="button" disabled={isBusy} onClick={wait}>
              Wait for the answers
            </button>
          )}
        </p>
      ) : (
        <Waiting result={result} ended={ended}>
          {namesIn(input?.["models"])}
        </Waiting>
      )}
      <Problem text={problem} />
    </main>
  );
}

function namesIn(models: unknown): string {
  return Array.isArray(models)
    ? `Asking ${models.map((model) => visibleName(String(model))).join(", ")} …`
    : "Asking the models …";
}

function Answers(props: { readonly comparison: Comparison; readonly canPick: boolean; readonly host: ViewHost }) {
  const { comparison, canPick, host } = props;
  const [picked, setPicked] = useState<Pick>();
  const { isBusy, problem, attempt } = useBusy();
  const { comparison_id, results, order, judgement, notes = [] } = comparison;
  const fastest = Math.max(...results.map(({ tokens_per_second: speed = 0 }) => speed));
  const pick = (model: string) =>
    attempt(async () => {
      const { picked: winner } = (await host.callTool("pick_winner", { action: "pick", comparison_id, model })) as {
        readonly picked?: Pick;
      };
      if (winner === undefined) return;
      setPicked(winner);
      host.tellAssistant(`The user picked ${winner.model} as the winner of comparison ${comparison_id}.`);
    });
  const undo = ({ task }: Pick) =>
    attempt(async () => {
      await host.callTool("pick_winner", { action: "undo", task });
      setPicked(undefined);
      host.tellAssistant(`The user withdrew the pick for comparison ${comparison_id}.`);
    });
  return (
    <>
      <div class="columns">
        {results.map((answer) => (
          <Column key={answer.model} answer={answer} fastest={fastest} isWinner={picked?.model === answer.model}>
            {canPick && picked === undefined && (
              <button
                type="button"
                disabled={isBusy}
                aria-label={`Pick as winner: ${visibleName(answer.model)}`}
                onClick={() => pick(answer.model)}
              >
                Pick as winner
              </button>
            )}
          </Column>
        ))}
      </div>
      <p role="status">
        {picked !== undefined && (
          <>
            Routing now prefers <bdi>{visibleName(picked.model)}</bdi> for {picked.task} tasks.{" "}
            <button type="button" disabled={isBusy} onClick={() => undo(picked)}>
              Undo
            </button>
          </>
        )}
      </p>
      <Problem text={problem} />
      {judgement !== undefined && (
        <p>
          {visibleName(judgement.judge)} ranks{" "}
          {visibleName(judgement.ranking.map((tied) => tied.join(" = ")).join(" > "))}: {visibleText(judgement.reason)}
        </p>
      )}
      <p class="faint">
        Order: {visibleName(order)}.
        {results.some(({ is_contended }) => is_contended) && " Other work ran meanwhile: times are unreliable."}
      </p>
      <Notices lines={notes} />
    </>
  );
}

function Column(props: {
  readonly answer: Answer;
  readonly fastest: number;
  readonly isWinner: boolean;
  readonly children: preact.ComponentChildren;
}) {
  const { answer, fastest, isWinner, children } = props;
  const { text = "", error, is_cut, tokens_per_second: speed } = answer;
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
          {speed !== undefined && fastest > 0 && (
            // Logarithmic, so that one fast answer doesn't make all others alike.
            <div class="speed">
              <span style={{ width: `${(100 * Math.log1p(speed)) / Math.log1p(fastest)}%` }} />
            </div>
          )}
          <p class="faint">{figures(answer)}</p>
          <div class="answer" tabIndex={0} role="group" aria-label={`Answer of ${model}`}>
            {visibleText(text)}
            {is_cut === true && " …"}
          </div>
          {children}
        </>
      )}
    </article>
  );
}

function figures(answer: Answer) {
  const { tokens_per_second, completion_tokens, first_token_ms, total_ms, load_ms, memory_bytes, cost } = answer;
  return [
    tokens_per_second !== undefined && `${tokens_per_second.toFixed(1)} tokens/s`,
    completion_tokens !== undefined && `${completion_tokens} tokens`,
    first_token_ms !== undefined && `first after ${formatDuration(first_token_ms)}`,
    total_ms !== undefined && `${formatDuration(total_ms)} in all`,
    load_ms !== undefined && load_ms > 0 && `loaded in ${formatDuration(load_ms)}`,
    memory_bytes !== undefined && formatBytes(memory_bytes),
    cost,
  ]
    .filter(Boolean)
    .join(" · ");
}

showView("ollm compare", CompareView);
