/** Answers of several models side by side, while they are written and afterwards. */
import type { ComponentChildren } from "preact";
import { formatBytes, formatDuration, formatAmount } from "../orchestrator/util/format-bytes.ts";
import type { Answer, Result } from "./compare-form.ts";
import { Badge, Name } from "./components.tsx";
import { Values, TextBlock } from "./fields.tsx";
import { formatCount, formatRate, given, visibleName, visibleText } from "./format.ts";

export function AnswerColumns(props: {
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

function Figures({ result }: { readonly result: Result }) {
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
