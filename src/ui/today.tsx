import { useSignal } from "@preact/signals";
import type { LiveState } from "../orchestrator/api/facade-metrics.ts";
import { formatAmount } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import { Button, Card, Command, Dialog, Name, Prose, Show } from "./components.tsx";
import { useData } from "./data.ts";
import { formatCount } from "./format.ts";
import { client } from "./state.ts";
import { type Column, Table } from "./table.tsx";

type Money = ResourceData["ollm://metrics"]["money"];
/** What was done and saved today, and how that is counted. */
export function Today({ today }: { readonly today: LiveState["today"] }) {
  const isOpen = useSignal(false);
  return (
    <Card title="Today">
      <dl class="figures">
        <Figure title="Requests" value={formatCount(today.requests)} />
        <Figure title="Tokens" value={formatCount(today.tokens)} />
        <Figure title="Saved" value={signed(today.saved, today.currency)} />
      </dl>
      <div>
        <Button onRun={() => void (isOpen.value = true)}>How savings are counted</Button>
      </div>
      {isOpen.value && (
        <Dialog title="How savings are counted" isWide onClose={() => (isOpen.value = false)}>
          <Account />
        </Dialog>
      )}
    </Card>
  );
}

function Figure({ title, value }: { readonly title: string; readonly value: string }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd class="figure">{value}</dd>
    </div>
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

function columnsOf(currency: string): readonly Column<Money["rows"][number]>[] {
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
