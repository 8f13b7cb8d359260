import { useComputed, useSignal } from "@preact/signals";
import { counted, formatBytes, formatNeed, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { ranges, requestsQuery, timeOf } from "./activity-filter.ts";
import { Badge, Card, Details, Empty, Name, Show, type Tone, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { Choice, Filter, Values, FilterSelect, When, isMatch } from "./fields.tsx";
import { formatCount, given, visibleName } from "./format.ts";
import { addressOf, client, now, route } from "./state.ts";

type Decision = ResourceData["ollm://decisions"]["decisions"][number];

/** What was decided, in a word, and how it looks. */
const kinds: Readonly<Record<Decision["kind"], readonly [word: string, tone: Tone]>> = {
  load: ["loaded", "good"],
  preload: ["preloaded", "good"],
  wait: ["waited", "plain"],
  refuse: ["refused", "bad"],
  replan: ["planned again", "warning"],
  fail: ["failed", "bad"],
  unload: ["unloaded", "plain"],
  expire: ["expired", "plain"],
  touch: ["kept loaded", "plain"],
};

/** What a line of the timeline shows, with its colour, and where it stands in 24 pixels. */
const parts = [
  ["Answers", "--accent", 8, 8],
  ["Loads", "--good", 0, 12],
  ["Unloads", "--warning", 12, 12],
  ["Failed loads", "--bad", 0, 24],
] as const;
/** Lines of the timeline. */
const maxModels = 12;
/** What answers are counted by in each range, and how long that is. */
const cells = { hour: ["minute", 60_000], day: ["hour", 3_600_000], week: ["day", 86_400_000] } as const;

/** What a decision did to models; nothing if a request only waited. */
function marksOf({ kind, model, at, needed_bytes, evicted = [] }: Decision) {
  const mark = (name: string, part: string) => ({ model: name, part, at, ms: 0, count: 1 });
  if (kind === "unload" || kind === "expire") return [mark(model, "Unloads")];
  if (kind === "fail" || kind === "refuse") return [mark(model, "Failed loads")];
  // Without a plan a model was not preloaded.
  if (kind !== "load" && (kind !== "preload" || needed_bytes === undefined)) return [];
  return [mark(model, "Loads"), ...evicted.map(({ name }) => mark(name, "Unloads"))];
}

/** A line for each model: when it was loaded and unloaded, and when it answered. */
function Timeline({ decisions }: { readonly decisions: readonly Decision[] }) {
  const asked = new URLSearchParams(route.value.query).get("range");
  const range = ranges.find(({ id }) => id === asked && id !== "") ?? ranges[1];
  const [by, ms] = cells[range.id || "day"];
  const answers = useData(
    () =>
      client.readResource("ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}", {
        ...requestsQuery(`range=${range.id}`, Date.now()),
        by: `model,${by}`,
        limit: "1",
      }),
    ["requests"],
    range.id,
  );
  const minute = useComputed(() => Math.ceil(now.value / 60_000)).value;
  const fromMs = minute * 60_000 - range.ms;
  const answered = (answers.data.value?.groups ?? []).map(({ model = "", [by]: at = "", answered: count }) => {
    return { model, part: "Answers", at: timeOf(at), ms, count };
  });
  const marks = [...answered, ...decisions.flatMap(marksOf)].filter(
    (each) => each.count > 0 && Date.parse(each.at) + each.ms > fromMs,
  );
  const models = [...new Set(marks.map(({ model }) => model))];
  const rows = models.slice(0, maxModels).map((name) => ({ name, own: marks.filter(({ model }) => model === name) }));
  const lane = (own: typeof marks) => {
    const most = Math.max(...own.map(({ count }) => count));
    return (
      // The figures beside it say the same to a screen reader, and the list below has each time.
      <svg class="lane" viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true">
        {own.map((mark, at) => {
          const [title, colour, y, height] = parts.find(([part]) => part === mark.part) ?? parts[0];
          return (
            <rect
              key={at}
              x={Math.min(996, ((Date.parse(mark.at) - fromMs) / range.ms) * 1_000)}
              width={Math.max(4, (mark.ms / range.ms) * 1_000)}
              y={y}
              height={height}
              style={{ fill: `var(${colour})` }}
              fill-opacity={mark.ms === 0 ? 1 : 0.3 + (0.7 * mark.count) / most}
            >
              <title>{`${title}: ${mark.count}, ${localTime(mark.at)}`}</title>
            </rect>
          );
        })}
      </svg>
    );
  };
  return (
    <Card
      title="Models over time"
      actions={
        <Choice
          label="Time shown"
          options={ranges.filter(({ id }) => id !== "")}
          chosen={range.id}
          onChoose={(id) => void (location.hash = addressOf("decisions", `range=${id}`))}
        />
      }
    >
      <Table
        label="Models over time"
        rows={rows}
        keyOf={({ name }) => name}
        columns={[
          { title: "Model", show: ({ name }) => <Name text={name} /> },
          { title: "Time", show: ({ own }) => lane(own) },
          ...parts.map(([title]) => ({
            title,
            isNumber: true,
            show: ({ own }: (typeof rows)[number]) =>
              formatCount(own.reduce((sum, { part, count }) => sum + (part === title ? count : 0), 0)),
          })),
        ]}
      >
        <p class="muted">No model was loaded, unloaded or asked in this time.</p>
      </Table>
      <p class="legend muted">
        {parts.map(([title, colour]) => (
          <span key={title}>
            <span class="dash" style={{ backgroundColor: `var(${colour})` }} />
            {title}
          </span>
        ))}
        <span>{`${localTime(new Date(fromMs).toISOString())} to now; answers by the ${by}`}</span>
        {models.length > maxModels && <span>{`and ${counted(models.length - maxModels, "more model")}`}</span>}
      </p>
    </Card>
  );
}

/** The log of loads, unloads and refusals, each with its calculation. */
export function Decisions() {
  const found = useData(() => client.readResource("ollm://decisions"), ["decisions"]);
  const kind = useSignal("");
  const query = useSignal("");
  return (
    <Show of={found}>
      {({ decisions }) => {
        const shown = decisions.filter(
          (each) => (kind.value === "" || each.kind === kind.value) && isMatch(query.value, each.model, each.engine),
        );
        return (
          <>
            <Timeline decisions={decisions} />
            {decisions.length === 0 ? (
              <Empty title="No decision since the daemon started.">
                <p>When a model is loaded, unloaded or refused, the reason and the calculation appear here.</p>
              </Empty>
            ) : (
              <Card title="Loads and unloads, newest first" actions={<p class="muted">{formatCount(shown.length)}</p>}>
                <div class="toolbar">
                  <Filter label="Filter by model or engine" query={query} />
                  <FilterSelect
                    label="Kind of decision"
                    value={kind.value}
                    choices={[{ value: "", text: "All kinds" }, ...kindsIn(decisions)]}
                    onValue={(value) => (kind.value = value)}
                  />
                </div>
                <Table
                  label="Decisions"
                  rows={shown}
                  keyOf={(each) => `${each.at} ${each.kind} ${each.model} ${each.engine}`}
                  columns={[
                    { title: "Model", width: "22%", show: ({ model }) => <Name text={model} /> },
                    {
                      title: "Decision",
                      width: 110,
                      show: (each) => <Badge tone={kinds[each.kind][1]}>{kinds[each.kind][0]}</Badge>,
                    },
                    { title: "Why", show: (each) => <Why decision={each} /> },
                    { title: "When", width: 110, show: ({ at }) => <When iso={at} /> },
                  ]}
                >
                  <p class="muted">No decision matches the filter.</p>
                </Table>
              </Card>
            )}
          </>
        );
      }}
    </Show>
  );
}

/** Only the kinds that there are. */
function kindsIn(decisions: readonly Decision[]) {
  const present = new Set(decisions.map(({ kind }) => kind));
  return [...present].map((kind) => ({ value: kind, text: kinds[kind][0] }));
}

/** `needs 0.6 GB, 2.1 GB stay free; 21.7 GB available, unloads a:1b`; without figures the last step, which is the conclusion. */
function reasonOf({ steps, predicted_bytes, needed_bytes, free_bytes, evicted = [] }: Decision): string {
  if (needed_bytes === undefined || free_bytes === undefined) return steps.at(-1) ?? "";
  const unloads = evicted.length === 0 ? "" : `, unloads ${evicted.map(({ name }) => name).join(", ")}`;
  return `${formatNeed(predicted_bytes ?? needed_bytes, needed_bytes)}; ${formatBytes(free_bytes)} available${unloads}`;
}

/** The reason, with the calculation on request. */
function Why({ decision }: { readonly decision: Decision }) {
  const { steps, engine, needed_bytes, free_bytes, context_tokens, evicted = [] } = decision;
  const last = visibleName(reasonOf(decision));
  if (steps.length < 2 && needed_bytes === undefined) return <span class="wrap">{last}</span>;
  return (
    <Details summary={<span class="wrap">{last}</span>}>
      <ol class="steps">
        {steps.map((step, at) => (
          <li key={at}>{visibleName(step)}</li>
        ))}
      </ol>
      <Values
        rows={[
          ["Engine", <Name text={engine} />],
          ["Needed", given(needed_bytes, formatBytes)],
          ["Free", given(free_bytes, formatBytes)],
          ["Estimate", estimateText(decision)],
          ["Context", given(context_tokens, (tokens) => `${formatCount(tokens)} tokens`)],
          [
            "Unloaded for it",
            evicted.map(({ name, bytes }) => `${visibleName(name)} (${formatBytes(bytes)})`).join(", "),
          ],
        ]}
      />
    </Details>
  );
}

/** `1.2 GB, learned, ±5 %` */
function estimateText({ predicted_bytes, method, margin }: Decision): string | undefined {
  if (predicted_bytes === undefined) return undefined;
  const how = [method, margin === undefined ? undefined : `±${Math.round(margin * 100)} %`];
  return [formatBytes(predicted_bytes), ...how].filter(Boolean).join(", ");
}
