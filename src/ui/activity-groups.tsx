import { formatAmount, formatDuration, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { dimensions, timeOf, withFilter } from "./activity-filter.ts";
import { Chart, CsvButton } from "./chart.tsx";
import { Card, type Column, Facts, Name, Table } from "./components.tsx";
import { CheckField } from "./fields.tsx";
import { formatCount, formatRate, formatTokens, given, visibleName } from "./format.ts";
import { addressOf, route } from "./state.ts";

type Page = ResourceData["ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}"];
type Group = ReturnType<typeof flat>;

/** Rows of the table; the CSV has all that the daemon sent. */
const maxRows = 25;
/** Lines of a chart: so many colours there are. */
const maxLines = 6;

/** The requests that match, grouped as the address says: `by=model,client`. */
export function Groups({ of: { groups = [], group_total: total = 0 } }: { readonly of: Page }) {
  const asked = route.value.query;
  const by = dimensions.filter((name) => groups[0]?.[name] !== undefined);
  const rows = groups.map(flat);
  const choose = (name: (typeof dimensions)[number], isOn: boolean): void => {
    const names = isOn ? [...by, name] : by.filter((each) => each !== name);
    location.hash = addressOf("activity", withFilter(asked, "by", names.join(",")));
  };
  const title = `Groups by ${by.join(", ")}`;
  return (
    <>
      <Card
        title={title}
        actions={<CsvButton of={title} rows={() => [Object.keys(rows[0] ?? {}), ...rows.map(Object.values)]} />}
      >
        <div class="checks" role="group" aria-label="Group by">
          <span class="muted">Group by</span>
          {dimensions.map((name) => (
            <CheckField
              key={name}
              label={name}
              isChecked={by.includes(name)}
              onCheck={(isChecked) => choose(name, isChecked)}
            />
          ))}
        </div>
        <Table
          label={title}
          rows={rows.slice(0, maxRows)}
          keyOf={(row) => by.map((name) => row[name]).join("\n")}
          columns={[
            { title: "Group", show: (row) => <Names of={by.map((name) => row[name] || "none")} /> },
            ...columns,
          ]}
        />
        {total > maxRows && (
          <p class="muted">{`The ${maxRows} largest of ${formatCount(total)} groups; CSV has ${formatCount(groups.length)}.`}</p>
        )}
      </Card>
      <Speeds rows={rows} by={by} />
    </>
  );
}

/** The first, with the others below it. */
function Names({ of: [first = "", ...others] }: { readonly of: readonly string[] }) {
  return (
    <span class="cell-name">
      <Name text={first} />
      <Facts of={others} />
    </span>
  );
}

const columns: readonly Column<Group>[] = [
  { title: "Requests", isNumber: true, show: ({ requests }) => formatCount(requests) },
  { title: "Success", isNumber: true, show: ({ answered, failed }) => success(answered, failed) },
  {
    title: "Time (p50, p95)",
    isNumber: true,
    show: ({ total_ms_p50: p50, total_ms_p95: p95 }) =>
      p50 === undefined ? "" : `${formatDuration(p50)}, ${formatDuration(p95)}`,
  },
  {
    title: "Tokens/s (timed)",
    isNumber: true,
    show: (row) => given(row.tokens_per_second_p50, (speed) => `${formatRate(speed)} (${row.timed_answers})`),
  },
  { title: "Tokens", isNumber: true, show: (row) => formatTokens(row.prompt_tokens + row.completion_tokens) },
  { title: "Failed", show: ({ errors }) => visibleName(errors) },
  { title: "Fell back", show: ({ fallbacks }) => visibleName(fallbacks) },
  { title: "Cost", isNumber: true, show: ({ cost }) => visibleName(cost) },
];

/** A text or a number for each figure: for the table and CSV. */
function flat({ total_ms: time, tokens_per_second: speed, ...group }: NonNullable<Page["groups"]>[number]) {
  const { first_token_ms: first, errors, fallbacks, cost, ...counts } = group;
  const known = ({ count, ...ranked }: typeof time) => (count === 0 ? undefined : ranked);
  return {
    ...counts,
    total_ms_p50: known(time)?.p50,
    total_ms_p95: known(time)?.p95,
    first_token_ms_p50: known(first)?.p50,
    first_token_ms_p95: known(first)?.p95,
    tokens_per_second_p50: known(speed)?.p50,
    timed_answers: speed.count,
    errors: Object.entries(errors)
      .map(([kind, count]) => `${count} × ${kind.replaceAll("_", " ")}`)
      .join(", "),
    fallbacks: fallbacks.map(({ from, to, count }) => `${count} × ${from} → ${to}`).join(", "),
    cost: cost.map(({ amount, currency }) => formatAmount(amount, currency)).join(" + "),
  };
}

/** Of those that were not cancelled, rounded down: 100 % only without a failure. */
function success(answered: number, failed: number): string {
  return answered + failed === 0 ? "" : `${Math.floor((answered / (answered + failed)) * 100)} %`;
}

/** Tokens per second over time, where requests are grouped by it: a line for each of the other names. */
function Speeds({ rows, by }: { readonly rows: readonly Group[]; readonly by: (typeof dimensions)[number][] }) {
  const time = by.find((name) => name === "hour" || name === "day");
  const timed = rows.filter(({ tokens_per_second_p50: speed }) => speed !== undefined);
  if (time === undefined) return null;
  const others = by.filter((name) => name !== "hour" && name !== "day");
  const titleOf = (row: Group): string => others.map((name) => row[name]).join(", ") || "All answers";
  const secondOf = (row: Group): number => Date.parse(timeOf(row[time] ?? "")) / 1_000;
  const seconds = [...new Set(timed.map(secondOf))].toSorted((one, other) => one - other);
  // A moment alone is no course.
  if (seconds.length < 2) return null;
  const lines = [...new Set(timed.map(titleOf))].slice(0, maxLines).map((title, at) => {
    const own = new Map(timed.filter((row) => titleOf(row) === title).map((row) => [secondOf(row), row]));
    const values = seconds.map((second) => own.get(second)?.tokens_per_second_p50 ?? null);
    return { title: visibleName(title), values, colour: `--model-${at + 1}` };
  });
  return (
    <Chart
      title={`Tokens per second by ${time}`}
      kind="lines"
      seconds={seconds}
      lines={lines}
      format={formatRate}
      formatTime={(second) => localTime(new Date(second * 1_000).toISOString())}
    />
  );
}
