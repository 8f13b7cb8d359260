import { useComputed, useSignal } from "@preact/signals";
import { counted, formatBytes, formatDuration } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { Chart } from "./chart.tsx";
import { Card, Choice, Details, Empty, Name, Prose, Show, type Column, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { formatCount, formatRate, formatTokens } from "./format.ts";
import { client, now, samples } from "./state.ts";

type Metrics = ResourceData["ollm://metrics"];
type Day = Metrics["by"]["day"][number];

/** What happened: in the last hour by the second, before that by hour and day. */
export function History() {
  const metrics = useData(() => client.readResource("ollm://metrics"), ["metrics"]);
  return (
    <>
      <LastHour />
      <Show of={metrics}>
        {(data) => (
          <>
            <Days metrics={data} />
            <Advice advice={data.advice} />
          </>
        )}
      </Show>
    </>
  );
}

/** By their seconds. */
const ranges = [
  { title: "5 minutes", id: 300 },
  { title: "15 minutes", id: 900 },
  { title: "Hour", id: 3_600 },
] as const;

function LastHour() {
  const range = useSignal<number>(ranges[0].id);
  const columns = useComputed(() => samples.columns(now.value, range.value)).value;
  const { seconds } = columns;
  return (
    <>
      <Choice label="Time shown" options={ranges} chosen={range.value} onChoose={(id) => (range.value = id)} />
      <Chart
        title="Memory"
        kind="areas"
        seconds={seconds}
        lines={[
          { title: "Other programs", values: columns.otherBytes, colour: "--other" },
          { title: "Models", values: columns.modelBytes, colour: "--model-1" },
          { title: "Free", values: columns.availableBytes, colour: "--raised" },
        ]}
        format={formatBytes}
        formatTime={clock}
      />
      <div class="columns">
        <Chart
          title="Tokens per second"
          kind="lines"
          seconds={seconds}
          lines={[{ title: "All answers", values: columns.tokensPerSecond, colour: "--accent" }]}
          format={formatRate}
          formatTime={clock}
        />
        <Chart
          title="Requests"
          kind="lines"
          seconds={seconds}
          lines={[
            { title: "Running", values: columns.running, colour: "--good" },
            { title: "Waiting", values: columns.waiting, colour: "--warning" },
          ]}
          format={formatCount}
          formatTime={clock}
        />
      </div>
    </>
  );
}

/** Local time of a second. */
function clock(seconds: number): string {
  return new Date(seconds * 1_000).toLocaleTimeString("sv");
}

/** Days are those of UTC, as they are counted; their noon is the same day nearly everywhere. */
function noonOf(day: string): number {
  return Date.parse(`${day}T12:00:00Z`) / 1_000;
}

function dayText(seconds: number): string {
  return new Date(seconds * 1_000).toISOString().slice(0, 10);
}

/** What the figures suggest: models that are not used, limits that are too high or too low. */
function Advice({ advice }: Pick<Metrics, "advice">) {
  if (advice.length === 0) return null;
  return (
    <Card title="Advice">
      <ul class="list">
        {advice.map(({ kind, subject, text, next }) => (
          <li key={`${kind} ${subject}`} class="operation">
            <div class="operation-text">
              <Name text={subject} />
              <p>
                <Prose text={next === undefined ? text : `${text} ${next}`} />
              </p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

const shownDays = 7;

function Days({ metrics }: { readonly metrics: Metrics }) {
  const days = metrics.by.day.toSorted((one, other) => (one.name < other.name ? -1 : 1));
  if (days.length === 0) {
    return (
      <Card title="Days">
        <Empty title="No request was answered yet">
          <p>Requests and tokens of each hour and day appear here, and they are kept when the daemon restarts.</p>
        </Empty>
      </Card>
    );
  }
  const seconds = days.map(({ name }) => noonOf(name));
  const hours = hoursOf(days);
  const newest = days.toReversed();
  return (
    <>
      <div class="columns">
        <Chart
          title="Requests by hour"
          kind="bars"
          seconds={hours.map(({ second }) => second)}
          lines={[{ title: "Requests", values: hours.map(({ requests }) => requests), colour: "--accent" }]}
          format={formatCount}
          formatTime={clock}
        />
        <Chart
          title="Tokens by day"
          kind="bars"
          seconds={seconds}
          lines={[
            { title: "Written", values: days.map((day) => day.completion_tokens), colour: "--model-1" },
            { title: "Read", values: days.map((day) => day.prompt_tokens), colour: "--model-2" },
          ]}
          format={formatTokens}
          formatTime={dayText}
        />
      </div>
      <Card title={counted(days.length, "day")}>
        <Table label="Days" columns={dayColumns} rows={newest.slice(0, shownDays)} keyOf={({ name }) => name} />
        {newest.length > shownDays && (
          <Details summary={`${newest.length - shownDays} earlier`}>
            <Table
              label="Earlier days"
              columns={dayColumns}
              rows={newest.slice(shownDays)}
              keyOf={({ name }) => name}
            />
          </Details>
        )}
      </Card>
    </>
  );
}

/** The hours of the last two days until now, with their requests. */
function hoursOf(days: readonly Day[]): readonly { readonly second: number; readonly requests: number }[] {
  return days
    .slice(-2)
    .flatMap(({ name, history }) =>
      history.map((requests, hour) => ({ second: Date.parse(`${name}T00:00:00Z`) / 1_000 + hour * 3_600, requests })),
    )
    .filter(({ second }) => second * 1_000 <= Date.now());
}

const dayColumns: readonly Column<Day>[] = [
  { title: "Day (UTC)", show: ({ name }) => <Name text={name} /> },
  { title: "Requests", isNumber: true, show: ({ requests }) => formatCount(requests) },
  { title: "Failed", isNumber: true, show: ({ failed }) => formatCount(failed) },
  { title: "Tokens read", isNumber: true, show: (day) => formatCount(day.prompt_tokens) },
  { title: "Tokens written", isNumber: true, show: (day) => formatCount(day.completion_tokens) },
  { title: "Tokens/s", isNumber: true, show: (day) => day.tokens_per_second > 0 && formatRate(day.tokens_per_second) },
  {
    title: "Time (p50, p95)",
    isNumber: true,
    show: ({ total_ms: { count, p50, p95 } }) => (count === 0 ? "" : `${formatDuration(p50)}, ${formatDuration(p95)}`),
  },
];
