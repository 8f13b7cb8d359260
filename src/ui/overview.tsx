import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Alert, LiveOperation, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { counted, formatBytes, formatAmount, formatDuration, localTime } from "../orchestrator/util/format-bytes.ts";
import {
  Announce,
  Button,
  Card,
  Details,
  Empty,
  Facts,
  Loading,
  Name,
  Prose,
  Command,
  Dialog,
  Show,
  Icon,
  type Column,
  Table,
} from "./components.tsx";
import { useData } from "./data.ts";
import { Progress } from "./fields.tsx";
import { formatCount, formatRate, formatSpan, visibleName, visibleText } from "./format.ts";
import { MemoryCard } from "./memory-card.tsx";
import { cancel, pull } from "./model-actions.ts";
import { addressOf, alerts, client, dismissAlert, live, now, samples } from "./state.ts";
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
      <Alerts all={state.alerts} />
      <FirstSteps />
      <MemoryCard memory={state.memory} />
      <div class="columns">
        <Running operations={state.operations} />
        <Queue queue={state.queue} />
      </div>
    </>
  );
}

function Alerts({ all }: { readonly all: readonly Alert[] }) {
  const shown = alerts.value;
  const earlier = all.filter((each) => !shown.includes(each));
  return (
    <>
      {/* Their number alone: the figures in them change each second. */}
      <Announce text={shown.length === 0 ? "" : counted(shown.length, "warning")} />
      <AlertList of={shown} label="Warnings" />
      {earlier.length > 0 && (
        <Details summary={`Earlier: ${counted(earlier.length, "warning")}`}>
          <ul class="list">
            {earlier.map((alert) => (
              <li key={alert.id}>
                <Prose text={alert.text} /> <Times of={alert} />
              </li>
            ))}
          </ul>
        </Details>
      )}
    </>
  );
}

/** What is wrong, since when, with a button that dismisses it. */
export function AlertList({ of, label }: { readonly of: readonly Alert[]; readonly label: string }) {
  return (
    <ul class="stack" aria-label={label}>
      {of.map((alert) => (
        <li key={alert.id} class="banner">
          <Icon name="warning" />
          <p>
            <Prose text={alert.text} /> <Times of={alert} />
          </p>
          {alert.pull !== undefined && <Button text="Resume" of={alert.pull} onRun={() => pull(alert.pull ?? "")} />}
          <Button kind="quiet" icon="close" label={`Dismiss: ${alert.text}`} onRun={() => dismissAlert(alert)} />
        </li>
      ))}
    </ul>
  );
}

/** `since 14:03`, `14:03 to 15:10`: with the day, unless that is today. */
function Times({ of: { since, until } }: { readonly of: Alert }) {
  const today = localTime(new Date(now.value).toISOString()).slice(0, 11);
  const [first, last] = [since, until ?? since].map((iso) => localTime(iso).replace(today, ""));
  return <span class="muted figure">{until === undefined ? `since ${first}` : `${first} to ${last}`}</span>;
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
      {operations.length === 0 && (
        <Empty title="Nothing is running">
          <p>Requests of your assistants appear here while they are answered.</p>
        </Empty>
      )}
      <ul class="list">
        {operations.map((operation) => (
          <OperationLine key={operation.id} operation={operation} />
        ))}
      </ul>
    </Card>
  );
}

/** A download of which nothing comes for longer has stalled. */
const stalledMs = 10_000;

/** A running operation with what it has done so far, and a button that ends it. */
export function OperationLine({ operation }: { readonly operation: LiveOperation }) {
  const { id, kind, title, model, client: by, isJob, completionTokens, tokensPerSecond, message } = operation;
  const { completedBytes, totalBytes, bytesPerSecond, bytesAt = operation.startedAt } = operation;
  const ageMs = now.value - Date.parse(operation.startedAt);
  const isCancelling = useSignal(false);
  const quietMs = now.value - Date.parse(bytesAt);
  const isStalled = completedBytes !== totalBytes && quietMs > stalledMs;
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
            isStalled && `stalled for ${formatSpan(quietMs)}`,
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
function Glance({ state: { today, lastHour, queue, operations } }: { readonly state: LiveState }) {
  const isOpen = useSignal(false);
  const { tokensPerSecond, waiting } = useComputed(() => samples.columns(now.value, courseSeconds)).value;
  const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const { firstTokenP95Ms: firstToken, failed, requests } = lastHour;
  const figures: readonly (readonly [string, ComponentChildren, (readonly (number | null)[])?])[] = [
    ["Requests, 1 h", formatCount(sumOf(requests)), requests],
    ["Tokens/s", formatRate(operations.length === 0 ? 0 : (tokensPerSecond.at(-1) ?? 0)), tokensPerSecond],
    ["First token p95, 1 h", firstToken === undefined ? "–" : formatDuration(firstToken)],
    ["Failed, 1 h", <a href={addressOf("activity", "outcome=failed&range=hour")}>{formatCount(failed)}</a>],
    ["Waiting", formatCount(sumOf(queue.map((line) => line.waiting))), waiting],
    [
      `Saved ${todayText(today.from)}`,
      <Button kind="link" text={formatAmount(today.saved, today.currency)} onRun={() => void (isOpen.value = true)}>
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

/** The day of a daemon in another time zone began at another hour: `since 01:00`. */
function todayText(from: string): string {
  return localTime(from).replace(/^.* /, "since ").replace("since 00:00", "today");
}

/** The formula, its sums, and the rows of the day. */
function Account() {
  const metrics = useData(() => client.readResource("ollm://metrics"), ["metrics"]);
  return (
    <Show of={metrics}>
      {({ money }) => {
        const { currency, formula, today, month, total, rows } = money;
        const sums = [
          { title: todayText(today.from), ...today },
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
                { title: "Saved", isNumber: true, show: ({ saved }) => formatAmount(saved, currency) },
                { title: "Spent", isNumber: true, show: ({ spent }) => formatAmount(spent, currency) },
                { title: "Net", isNumber: true, show: (sum) => formatAmount(sum.total, currency) },
              ]}
            />
            <p>
              Not part of the sums: {formatCount(today.never_sent_tokens)} tokens of files were read here{" "}
              {todayText(today.from)}, so that no assistant had to send them ({formatCount(total.never_sent_tokens)} in
              all).
            </p>
            <Table
              label={`Rows: ${todayText(today.from)}`}
              rows={rows.filter(({ day }) => day === today.day)}
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
    { title: "Amount", isNumber: true, show: (row) => formatAmount(row.amount, row.currency ?? currency) },
  ];
}
