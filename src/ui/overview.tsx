import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import type { LiveOperation, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { counted, formatBytes, formatAmount, formatDuration } from "../orchestrator/util/format-bytes.ts";
import {
  Announce,
  Button,
  Card,
  Empty,
  Facts,
  Failure,
  Loading,
  Name,
  Progress,
  Prose,
  Command,
  Dialog,
  Show,
  Icon,
  type Column,
  Table,
} from "./components.tsx";
import { useData } from "./data.ts";
import { formatCount, formatRate, formatSpan, visibleName, visibleText } from "./format.ts";
import { MemoryCard } from "./memory-card.tsx";
import { cancel, failedPulls, forgetPull, pull } from "./model-actions.ts";
import { addressOf, chartNow, client, live, now, samples } from "./state.ts";
import { defined } from "../orchestrator/util/values.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolAnswers } from "../tools/index.ts";

/** What happens now. */
export function Overview() {
  const state = live.value;
  if (state === undefined) return <Loading />;
  return (
    <>
      <Glance state={state} />
      <Warnings warnings={state.warnings} />
      <FirstSteps />
      <MemoryCard memory={state.memory} />
      <div class="columns">
        <Running operations={state.operations} />
        <Queue queue={state.queue} />
      </div>
    </>
  );
}

function Warnings({ warnings }: { readonly warnings: readonly string[] }) {
  return (
    <>
      {/* Their number alone: the figures in them change each second. */}
      <Announce text={warnings.length === 0 ? "" : counted(warnings.length, "warning")} />
      <ul class="stack" aria-label="Warnings">
        {warnings.map((warning, at) => (
          <li key={at} class="banner">
            <Icon name="warning" />
            <p>
              <Prose text={warning} />
            </p>
          </li>
        ))}
      </ul>
    </>
  );
}

/** Not while a server is down: a warning says so. */
function FirstSteps() {
  const { data } = useData(() => client.callTool("list_models", { limit: 1 }), ["models"]);
  const { suggestion, total = 0, unreachable = [] } = data.value ?? {};
  if (suggestion === undefined || total > 0 || unreachable.length > 0) return null;
  return (
    <NoModels suggestion={suggestion}>
      <a href="#/models">Pull another model</a>
    </NoModels>
  );
}

/** On a machine without models: the one that fits it, with a button. */
export function NoModels(props: {
  readonly suggestion: NonNullable<ToolAnswers["list_models"]["suggestion"]>;
  readonly children?: ComponentChildren;
}) {
  const { model, reason } = props.suggestion;
  return (
    <Card title="No models yet">
      <Empty title={`${visibleName(model)} fits this machine`}>
        <p class="lines">{visibleText(reason)}</p>
        <Button text={`Pull ${visibleName(model)}`} kind="primary" onRun={() => pull(model)} />
        {props.children}
      </Empty>
    </Card>
  );
}

function Running({ operations }: { readonly operations: readonly LiveOperation[] }) {
  return (
    <Card title="Running">
      <Announce text={operations.length === 0 ? "Nothing is running" : `${operations.length} running`} />
      {operations.length === 0 && failedPulls.value.length === 0 && (
        <Empty title="Nothing is running">
          <p>Requests of your assistants appear here while they are answered.</p>
        </Empty>
      )}
      <ul class="list">
        {operations.map((operation) => (
          <OperationLine key={operation.id} operation={operation} />
        ))}
      </ul>
      <FailedPulls />
    </Card>
  );
}

/** A download of which nothing comes for longer has stalled. */
const stalledMs = 10_000;

/** A running operation with what it has done so far, and a button that ends it. */
export function OperationLine({ operation }: { readonly operation: LiveOperation }) {
  const { id, kind, title, model, client: by, isJob, completionTokens, tokensPerSecond, message } = operation;
  const { completedBytes, totalBytes, bytesPerSecond } = operation;
  const ageMs = now.value - Date.parse(operation.startedAt);
  const isCancelling = useSignal(false);
  const moved = useRef({ bytes: completedBytes, atMs: now.value });
  if (moved.current.bytes !== completedBytes) moved.current = { bytes: completedBytes, atMs: now.value };
  const isStalled = completedBytes !== totalBytes && now.value - moved.current.atMs > stalledMs;
  return (
    <li class="operation">
      <div class="operation-text">
        <Name text={title} />
        <Facts
          of={[
            model !== undefined && !title.includes(model) && <Name text={model} />,
            by !== undefined && <Name text={by} />,
            isJob && "background job",
            formatSpan(ageMs),
          ]}
        />
        {completedBytes === undefined && completionTokens === undefined && message !== undefined && (
          <p class="muted">{visibleName(message)}</p>
        )}
        <Facts
          of={[
            completionTokens !== undefined && `${formatCount(completionTokens)} tokens`,
            tokensPerSecond !== undefined && `${formatRate(tokensPerSecond)} tokens/s`,
            completedBytes !== undefined &&
              `${formatBytes(completedBytes)}${totalBytes === undefined ? "" : ` of ${formatBytes(totalBytes)}`}`,
            isStalled && `stalled for ${formatSpan(now.value - moved.current.atMs)}`,
            !isStalled && bytesPerSecond !== undefined && `${formatBytes(bytesPerSecond)}/s`,
            !isStalled &&
              bytesPerSecond !== undefined &&
              bytesPerSecond > 0 &&
              totalBytes !== undefined &&
              `about ${formatSpan(((totalBytes - (completedBytes ?? 0)) / bytesPerSecond) * 1_000 + 1_000)} left`,
          ]}
        />
        {kind === "pull" && (
          <Progress label={title} {...defined({ value: completedBytes })} {...defined({ total: totalBytes })} />
        )}
      </div>
      <Button
        text={isCancelling.value ? "Cancelling…" : "Cancel"}
        label={`Cancel ${title}`}
        isDisabled={isCancelling.value}
        onRun={async () => {
          await cancel(id);
          isCancelling.value = true;
        }}
      />
    </li>
  );
}

/** Downloads that ended early, each with its error, and a button that resumes it. */
export function FailedPulls() {
  return (
    <>
      {failedPulls.value.map(({ model, error }) => (
        <div key={model} class="stack">
          <Failure error={error} />
          <div class="row-actions">
            <Button text="Dismiss" onRun={() => forgetPull(model)} />
            <Button text="Resume" kind="primary" onRun={() => pull(model)} of={model} />
          </div>
        </div>
      ))}
    </>
  );
}

function Queue({ queue }: { readonly queue: LiveState["queue"] }) {
  const waiting = queue.filter((line) => line.waiting > 0);
  return (
    <Card title="Queue">
      {waiting.length === 0 ? (
        <Empty title="No request waits" />
      ) : (
        <ul class="list">
          {waiting.map(({ model, waiting: count, running, expectedWaitMs }) => (
            <li key={model} class="operation">
              <div class="operation-text">
                <Name text={model} />
                <p class="muted figure">
                  {count} waiting, {running} running
                  {expectedWaitMs !== undefined &&
                    `, the last one for about ${formatSpan(Math.max(1_000, expectedWaitMs))} more`}
                </p>
              </div>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

/** Seconds of a course by the second. */
const courseSeconds = 300;

/** The figures of this machine, with their course where one is known. */
function Glance({ state: { today, lastHour, queue } }: { readonly state: LiveState }) {
  const isOpen = useSignal(false);
  const { tokensPerSecond, waiting } = useComputed(() => samples.columns(chartNow.value, courseSeconds)).value;
  const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const { firstTokenP95Ms: firstToken, failed, requests } = lastHour;
  const figures: readonly (readonly [string, ComponentChildren, (readonly (number | null)[])?])[] = [
    ["Requests, 1 h", formatCount(sumOf(requests)), requests],
    ["Tokens/s", formatRate(tokensPerSecond.at(-1) ?? 0), tokensPerSecond],
    ["First token p95, 1 h", firstToken === undefined ? "–" : formatDuration(firstToken)],
    ["Failed, 1 h", <a href={addressOf("activity", "outcome=failed&range=hour")}>{formatCount(failed)}</a>],
    ["Waiting", formatCount(sumOf(queue.map((line) => line.waiting))), waiting],
    [
      "Saved today",
      <Button kind="link" text={signed(today.saved, today.currency)} onRun={() => void (isOpen.value = true)}>
        <span class="unseen">: how savings are counted</span>
      </Button>,
    ],
  ];
  return (
    <>
      <dl class="figures">
        {figures.map(([title, value, course]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd class="figure">{value}</dd>
            {course !== undefined && <Course values={course} />}
          </div>
        ))}
      </dl>
      {isOpen.value && (
        <Dialog title="How savings are counted" isWide onClose={() => (isOpen.value = false)}>
          <Account />
        </Dialog>
      )}
    </>
  );
}

/** A line without scale, from 0 to the most; a gap where nothing is known. */
function Course({ values }: { readonly values: readonly (number | null)[] }) {
  const most = Math.max(1e-9, ...values.map((value) => value ?? 0));
  const points = values.map((value, at) => {
    const step = (values[at - 1] ?? null) === null ? "M" : "L";
    return value === null ? "" : `${step}${at},${(20 * (1 - value / most)).toFixed(1)}`;
  });
  return (
    <svg class="course" viewBox={`0 -1 ${values.length - 1} 22`} preserveAspectRatio="none" aria-hidden="true">
      <path d={points.join("")} vector-effect="non-scaling-stroke" />
    </svg>
  );
}

/** The formula, its sums, and the rows of the day. */
function Account() {
  const metrics = useData(() => client.readResource("ollm://metrics"), ["metrics"]);
  return (
    <Show of={metrics}>
      {({ money }) => {
        const { currency, formula, rows, today, month, total } = money;
        const date = new Date().toISOString().slice(0, 10);
        const sums = [
          { title: "Today", ...today },
          { title: "This month", ...month },
          { title: "Total", ...total },
        ];
        return (
          <div class="stack-wide">
            <p>
              <Prose text={formula} />
            </p>
            <Table
              label="Savings"
              rows={sums}
              keyOf={({ title }) => title}
              columns={[
                { title: "Time", show: ({ title }) => title },
                { title: "Saved", isNumber: true, show: ({ saved }) => signed(saved, currency) },
                { title: "Spent", isNumber: true, show: ({ spent }) => signed(spent, currency) },
                { title: "Net", isNumber: true, show: (sum) => signed(sum.total, currency) },
              ]}
            />
            <p>
              Not part of the sums: {formatCount(today.never_sent_tokens)} tokens of files were read here today, so that
              no assistant had to send them ({formatCount(total.never_sent_tokens)} in all).
            </p>
            <Table
              label="Rows of today"
              rows={rows.filter(({ day }) => day === date)}
              keyOf={({ task, client: by, kind, price_per_million: price }) => [task, by, kind, price].join(" ")}
              columns={columnsOf(currency)}
            />
            <div class="toolbar">
              To recompute them from all rows: <Command text="ollm stats --money --csv" />
            </div>
          </div>
        );
      }}
    </Show>
  );
}

function columnsOf(currency: string): readonly Column<ResourceData["ollm://metrics"]["money"]["rows"][number]>[] {
  return [
    { title: "Task", show: ({ task }) => <Name text={task} /> },
    { title: "Client", show: ({ client: by }) => <Name text={by} /> },
    { title: "Kind", show: ({ kind }) => kind },
    { title: "Tokens", isNumber: true, show: ({ tokens }) => formatCount(tokens) },
    {
      title: "Per million",
      isNumber: true,
      show: (row) => formatAmount(row.price_per_million, row.currency ?? currency),
    },
    { title: "Amount", isNumber: true, show: (row) => signed(row.amount, row.currency ?? currency) },
  ];
}

/** Two significant digits below zero, too. */
function signed(amount: number, currency: string): string {
  return amount < 0 ? `−${formatAmount(-amount, currency)}` : formatAmount(amount, currency);
}
