import { useSignal } from "@preact/signals";
import { formatBytes, formatNeed } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { Badge, Card, Details, Empty, Filter, Name, Show, type Tone, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { Values, FilterSelect, When, isMatch } from "./fields.tsx";
import { formatCount, given, visibleName } from "./format.ts";
import { client } from "./state.ts";

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
        if (decisions.length === 0) {
          return (
            <Empty title="No decision since the daemon started.">
              <p>When a model is loaded, unloaded or refused, the reason and the calculation appear here.</p>
            </Empty>
          );
        }
        return (
          <Card title="Loads and unloads, newest first" actions={<p class="muted">{countText(shown, decisions)}</p>}>
            <div class="toolbar">
              <Filter label="Filter by model or engine" query={query} />
              <FilterSelect
                label="Kind of decision"
                value={kind.value}
                choices={[{ value: "", text: "All kinds" }, ...kindsIn(decisions)]}
                onValue={(value) => (kind.value = value)}
              />
            </div>
            {shown.length === 0 ? (
              <p class="muted">No decision matches the filter.</p>
            ) : (
              <Table
                label="Decisions"
                rows={shown}
                keyOf={(each) => `${each.at} ${each.kind} ${each.model} ${each.engine}`}
                columns={[
                  { title: "Model", show: ({ model }) => <Name text={model} /> },
                  {
                    title: "Decision",
                    show: (each) => <Badge tone={kinds[each.kind][1]}>{kinds[each.kind][0]}</Badge>,
                  },
                  { title: "Why", show: (each) => <Why decision={each} /> },
                  { title: "When", show: ({ at }) => <When iso={at} /> },
                ]}
              />
            )}
          </Card>
        );
      }}
    </Show>
  );
}

function countText(shown: readonly Decision[], all: readonly Decision[]): string {
  return shown.length === all.length ? formatCount(all.length) : `${shown.length} of ${all.length}`;
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
