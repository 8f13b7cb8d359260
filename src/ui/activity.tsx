import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { formatAmount, formatBytes, formatDuration, localDay, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { choicesOf, joined, outcomeText, ranges, requestsQuery, timeOf, withFilter } from "./activity-filter.ts";
import { Groups } from "./activity-groups.tsx";
import { Chart } from "./chart.tsx";
import { Badge, Button, Card, type Column, Dialog, Empty, Name, Prose, Show, Table, type Tone } from "./components.tsx";
import { question } from "./chat.tsx";
import { useData } from "./data.ts";
import { Choice, FilterSelect, TextBlock, Values, When } from "./fields.tsx";
import { formatCount, formatRate, formatTokens, given, visibleName } from "./format.ts";
import { addressOf, client, now, route, samples, textsOf } from "./state.ts";

type Metrics = ResourceData["ollm://metrics"];
type Day = Metrics["by"]["day"][number];
type Request =
  ResourceData["ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}"]["requests"][number];

/** Each request; below that what happened in the last hour by the second, and before it by hour and day. */
export function Activity() {
  const metrics = useData(() => client.readResource("ollm://metrics"), ["metrics"]);
  return (
    <>
      <Requests by={metrics.data.value?.by} />
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

const tones: Readonly<Record<string, Tone>> = { answered: "good", doubtful: "warning", cancelled: "plain" };

/** How many older ones are read at a time. */
const olderRows = 500;
const requestsUri = "ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}";

/** Newest first, as the address says; older ones are read when the list is scrolled to them. `by`: the names that there are. */
function Requests({ by }: { readonly by: Metrics["by"] | undefined }) {
  const opened = useSignal<Request | undefined>(undefined);
  const asked = route.value.query;
  // Groups change nothing of the list.
  const filtered = withFilter(asked, "by", "");
  const list = useRef({ filtered, rows: [] as readonly Request[], wanted: 0 });
  if (list.current.filtered !== filtered) list.current = { filtered, rows: [], wanted: 0 };
  const found = useData(
    async () => {
      const own = list.current;
      const { by: groups = "", ...query } = requestsQuery(asked, Date.now());
      const newest = await client.readResource(requestsUri, { ...query, by: groups });
      const { from = "", total } = { ...query, ...newest };
      // Those that were known may be too old by now, for the range or for the daemon.
      let rows = joined(newest.requests, own.rows)
        .filter((row) => row.started_at >= from)
        .slice(0, total);
      while (rows.length < Math.min(own.wanted, total)) {
        const after = { before: rows.at(-1)?.id ?? "", limit: String(olderRows) };
        const { requests: older } = await client.readResource(requestsUri, { ...query, ...after });
        if (older.length === 0) break;
        rows = [...rows, ...older];
      }
      own.rows = rows;
      return { ...newest, requests: rows };
    },
    ["requests"],
    asked,
  );
  const chosen = new URLSearchParams(asked);
  const choose = (name: string, value: string): void =>
    void (location.hash = addressOf("activity", withFilter(asked, name, value)));
  const filters = [
    ["model", "All models", by?.model],
    ["client", "All clients", by?.client],
    ["task", "All tasks", by?.task],
    ["outcome", "All outcomes", ["answered", "doubtful", "cancelled", "failed"].map((name) => ({ name }))],
  ] as const;
  return (
    <>
      <Card title="Requests, newest first" actions={<p class="muted">{given(found.data.value?.total, formatCount)}</p>}>
        <div class="toolbar">
          {filters.map(([name, all, names = []]) => (
            <FilterSelect
              key={name}
              label={`Filter by ${name}`}
              value={chosen.get(name) ?? ""}
              choices={choicesOf(all, names.map((each) => each.name).filter(Boolean), chosen.get(name) ?? "")}
              onValue={(value) => choose(name, value)}
            />
          ))}
          <Choice
            label="Requests since"
            options={ranges}
            chosen={ranges.find(({ id }) => id === chosen.get("range"))?.id ?? ""}
            onChoose={(id) => choose("range", id)}
          />
        </div>
        <Show of={found}>
          {({ requests, total }) =>
            requests.length === 0 ? (
              <Empty title={asked === "" ? "No request has ended yet." : "No request matches."}>
                <p>The last 10,000 requests are kept on this machine, without their texts.</p>
              </Empty>
            ) : (
              <div key={filtered} class="scroll">
                <Table
                  label="Requests"
                  columns={requestColumns((row) => (opened.value = row))}
                  rows={requests}
                  keyOf={({ id }) => id}
                  total={total}
                  onEnd={() => {
                    list.current.wanted = list.current.rows.length + 1;
                    found.reload();
                  }}
                />
              </div>
            )
          }
        </Show>
        {opened.value !== undefined && <OneRequest of={opened.value} onClose={() => (opened.value = undefined)} />}
      </Card>
      {found.data.value !== undefined && found.data.value.total > 0 && <Groups of={found.data.value} />}
    </>
  );
}

function requestColumns(open: (row: Request) => void): readonly Column<Request>[] {
  return [
    {
      title: "Started",
      width: 110,
      show: (row) => (
        <Button kind="link" onRun={() => open(row)}>
          <When iso={row.started_at} />
          <span class="unseen">{`, ${visibleName(row.task)} of ${visibleName(row.client)}: open`}</span>
        </Button>
      ),
    },
    { title: "Client", show: (row) => <Name text={row.client} /> },
    { title: "Task", show: ({ task }) => <Name text={task} /> },
    { title: "Model", width: "17%", show: ({ model }) => model !== "" && <Name text={model} /> },
    { title: "Outcome", width: "15%", show: ({ outcome }) => <Outcome of={outcome} /> },
    { title: "First token", isNumber: true, width: 80, show: (row) => given(row.first_token_ms, formatDuration) },
    { title: "Total", isNumber: true, width: 65, show: ({ total_ms }) => formatDuration(total_ms) },
    {
      title: "Tokens",
      isNumber: true,
      width: 60,
      show: (row) => formatTokens(row.prompt_tokens + row.completion_tokens),
    },
    { title: "Cost", isNumber: true, width: 85, show: ({ cost = [] }) => amounts(cost) },
  ];
}

function Outcome({ of }: { readonly of: string }) {
  return <Badge tone={tones[of] ?? "bad"}>{visibleName(outcomeText(of))}</Badge>;
}

function amounts(costs: NonNullable<Request["cost"]>): string {
  return costs.map(({ amount, currency }) => formatAmount(amount, visibleName(currency))).join(" + ");
}

const asks = { comparison: "a comparison", batch: "a batch", worker: "a worker", door: "a program's API" } as const;

function OneRequest({ of, onClose }: { readonly of: Request; readonly onClose: () => void }) {
  const { cached_prompt_tokens: cached, cost = [], saved, attempts } = of;
  return (
    <Dialog title={`Request of ${visibleName(of.client)}`} onClose={onClose}>
      <Values
        rows={[
          ["Started", localTime(of.started_at)],
          ["Outcome", <Outcome of={of.outcome} />],
          ["Task", visibleName(of.task)],
          ["Profile", visibleName(of.profile)],
          ["Asked by", given(of.via, (via) => asks[via])],
          ["Model", visibleName(of.model)],
          ["Engine", visibleName(of.engine)],
          ["Why this model", given(of.reason, visibleName)],
          ["Attempts", attempts.length === 0 ? undefined : <ol class="steps">{attempts.map(attemptLine)}</ol>],
          ["Waited in the queue", formatDuration(of.queue_ms)],
          ["Loaded the model", of.load_ms === 0 ? undefined : formatDuration(of.load_ms)],
          ["First token after", given(of.first_token_ms, formatDuration)],
          ["In all", formatDuration(of.total_ms)],
          ["Tokens read", formatCount(of.prompt_tokens)],
          ["From a cache", cached === 0 ? undefined : formatCount(cached)],
          ["Tokens written", formatCount(of.completion_tokens)],
          ["Tokens per second", given(of.tokens_per_second, formatRate)],
          ["Cost", amounts(cost)],
          ["Saved", given(saved, (each) => amounts([each]))],
          ["Id", of.id],
        ]}
      />
      <Texts of={of} />
    </Dialog>
  );
}

/** The log cuts longer ones, and ends them with a sign. */
const mostLogged = 2_000;

/** What was asked and answered, if the log has it, and the way to ask it again. */
function Texts({ of }: { readonly of: Request }) {
  const { trace, model, via } = of;
  const read = async (): ReturnType<typeof textsOf> => (trace === undefined ? {} : textsOf(trace).catch(() => ({})));
  const found = useData(read, [], of.id).data.value;
  if (found === undefined) return null;
  const { prompt, answer } = found;
  const isWhole = prompt !== undefined && prompt.length <= mostLogged;
  return (
    <>
      {prompt !== undefined && <TextBlock title="Prompt" text={prompt} />}
      {answer !== undefined && <TextBlock title="Answer" text={answer} />}
      <p>
        {isWhole
          ? "Its files and its instructions are not in the log. "
          : prompt === undefined
            ? "Requests are kept without their texts, unless log.prompts writes them to the log. "
            : `The log has the first ${formatCount(mostLogged)} characters of the prompt. `}
        <a
          href={addressOf("compare", model === "" ? "" : withFilter("", "model", model))}
          onClick={() => {
            if (isWhole) question.value = { ...question.value, text: prompt };
          }}
        >
          {isWhole
            ? "Ask again, or compare models, in the Playground"
            : via === "comparison"
              ? "Find the comparison in the Playground"
              : "Ask its model in the Playground"}
        </a>
      </p>
    </>
  );
}

function attemptLine({ model, engine, count, error }: Request["attempts"][number], at: number) {
  const times = count === 1 ? "" : `${count} × `;
  const end = error === undefined ? "" : `: ${error.replaceAll("_", " ")}`;
  return <li key={at}>{visibleName(`${times}${model} on ${engine}${end}`)}</li>;
}

/** By their seconds. */
const spans = [
  { title: "5 minutes", id: 300 },
  { title: "15 minutes", id: 900 },
  { title: "Hour", id: 3_600 },
] as const;

function LastHour() {
  const range = useSignal<number>(spans[0].id);
  const host = useRef<HTMLDivElement>(null);
  const isSeen = useSignal(true);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => (isSeen.value = entry?.isIntersecting !== false));
    if (host.current !== null) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  const columns = useComputed(() => samples.columns(isSeen.value ? now.value : now.peek(), range.value)).value;
  const { seconds } = columns;
  return (
    <div ref={host} class="stack-wide">
      <Choice label="Time shown" options={spans} chosen={range.value} onChoose={(id) => (range.value = id)} />
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
    </div>
  );
}

/** Local time of a second: zones differ by whole minutes. */
function clock(seconds: number): string {
  const iso = new Date(seconds * 1_000).toISOString();
  return `${localTime(iso).slice(11)}${iso.slice(16, 19)}`;
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

/** All days that are counted, more than the list has; their other figures: `ollm stats --by day`. */
function Days({ metrics }: { readonly metrics: Metrics }) {
  const days = metrics.by.day.toSorted((one, other) => (one.name < other.name ? -1 : 1));
  if (days.length === 0) return null;
  const seconds = days.map(({ name }) => Date.parse(timeOf(name)) / 1_000);
  const { today } = metrics.money;
  const hours = hoursOf(days, Date.parse(today.from) - Date.parse(timeOf(today.day)));
  return (
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
        formatTime={(second) => localDay(second * 1_000)}
      />
    </div>
  );
}

/** The hours of the last two days until now, with their requests. `laterMs`: by which a day of the daemon begins later than here. */
function hoursOf(days: readonly Day[], laterMs: number) {
  const hours = days.slice(-2).flatMap(({ name, history }) => {
    // They are counted by hours of UTC.
    const first = Math.ceil((Date.parse(timeOf(name)) + laterMs) / 3_600_000);
    return history.map((requests, hour) => ({ second: (first + hour) * 3_600, requests }));
  });
  return hours.filter(({ second }) => second * 1_000 <= Date.now());
}
