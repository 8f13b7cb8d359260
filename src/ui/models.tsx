import { useSignal } from "@preact/signals";
import { counted, formatBytes, formatConnections, formatNeed } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Badge, Button, Card, Empty, Facts, Name, Show, type Column, Table, type Tone } from "./components.tsx";
import { useData } from "./data.ts";
import { Filter, CheckField, FilterSelect, Form, When, isMatch } from "./fields.tsx";
import { formatRate, visibleName } from "./format.ts";
import { load, pull, remove, setPinned, unload } from "./model-actions.ts";
import { AlertList, NoModels, OperationLine } from "./overview.tsx";
import { alerts, client, live } from "./state.ts";

type ModelList = ToolAnswers["list_models"];
type Status = ToolAnswers["system_status"];
type Engine = Status["engines"][number];
type Model = ModelList["models"][number];

/** Models in a list, at most. */
const limit = 1_000;
/** Shown while an engine is asked about the others, once after a start. */
const firstLimit = 20;

/** The models of each engine: what they need, what can be done to them; and whether anything leaves this machine. */
export function Models() {
  const read = (most: number) => client.callTool("list_models", { verbose: true, limit: most });
  const list = useData(
    () => read(limit),
    ["models", "memory"],
    "",
    async () => {
      const early = await read(firstLimit);
      return { early, isAll: early.total <= firstLimit };
    },
  );
  const status = useData(() => client.callTool("system_status", {}), ["memory", "models", "tools"]);
  return (
    <>
      <PullCard suggestion={list.data.value?.suggestion?.model} />
      <Show of={list}>
        {(found) => <Show of={status}>{({ engines }) => <Groups list={found} engines={engines} />}</Show>}
      </Show>
      <Show of={status}>{(found) => <Privacy status={found} />}</Show>
    </>
  );
}

/** A download by name; those that run, on any page or by any client. */
function PullCard({ suggestion }: { readonly suggestion: string | undefined }) {
  const pulls = (live.value?.operations ?? []).filter(({ kind }) => kind === "pull");
  const empty = suggestion === undefined ? "" : ` Empty: ${suggestion}.`;
  const description = `A name of Ollama's library, or hf.co/ORG/REPO:QUANT. A download that ended early is resumed.${empty}`;
  return (
    <Card title="Pull a model">
      <Form
        rows={[{ name: { title: "Name", description } }]}
        initial={{ name: "" }}
        action="Pull"
        isInline
        onSave={async ({ name }) => {
          const model = name.trim() || suggestion;
          if (model === undefined) return { field: "name", message: "Write the name of a model." };
          void pull(model);
          return undefined;
        }}
      />
      {pulls.length > 0 && (
        <ul class="list">
          {pulls.map((operation) => (
            <OperationLine key={operation.id} operation={operation} />
          ))}
        </ul>
      )}
      <div role="alert">
        <AlertList of={alerts.value.filter((alert) => alert.pull !== undefined)} label="Failed downloads" />
      </div>
    </Card>
  );
}

/** The order of models in their group. */
const orders: Readonly<Record<string, readonly [title: string, compare: (one: Model, other: Model) => number]>> = {
  name: ["By name", (one, other) => one.name.localeCompare(other.name)],
  size: ["Largest first", (one, other) => other.size_bytes - one.size_bytes],
  speed: ["Fastest first", (one, other) => (other.tokens_per_second ?? 0) - (one.tokens_per_second ?? 0)],
  use: ["Last used first", (one, other) => (other.last_used_at ?? "").localeCompare(one.last_used_at ?? "")],
};

function Groups({ list, engines }: { readonly list: ModelList; readonly engines: readonly Engine[] }) {
  const filter = useSignal("");
  const isLoadedOnly = useSignal(false);
  const order = useSignal("name");
  const { models, total, suggestion, unreachable = [] } = list;
  if (suggestion !== undefined && total === 0 && unreachable.length === 0) return <NoModels suggestion={suggestion} />;
  const shown = models
    .filter(({ is_loaded: isLoaded }) => isLoaded || !isLoadedOnly.value)
    .filter(({ name, engine, family, capabilities = [] }) =>
      isMatch(filter.value, name, engine, family, ...capabilities),
    )
    .toSorted(orders[order.value]?.[1]);
  return (
    <>
      <div class="toolbar">
        <Filter label="Filter models" query={filter} />
        <FilterSelect
          label="Order of models"
          value={order.value}
          choices={Object.entries(orders).map(([value, [text]]) => ({ value, text }))}
          onValue={(value) => (order.value = value)}
        />
        <CheckField
          label="Loaded only"
          isChecked={isLoadedOnly.value}
          onCheck={(isOn) => (isLoadedOnly.value = isOn)}
        />
      </div>
      {shown.length === 0 && total > 0 && <Empty title="No model matches" />}
      {engines.map((engine) => (
        <Group key={engine.id} engine={engine} models={shown.filter((model) => model.engine === engine.id)} />
      ))}
      {engines.length === 0 && (
        <Empty title="No engine is enabled.">
          <p>
            Enable one in the <a href="#/settings">settings</a>, under providers.
          </p>
        </Empty>
      )}
    </>
  );
}

/** Health of an engine: the word, how it looks, and what it means. */
const healths: Readonly<Record<string, readonly [word: string, tone: Tone, meaning: string]>> = {
  ok: ["ok", "good", ""],
  not_installed: ["not installed", "plain", "It is installed when it is first needed, for example by the first pull."],
  unreachable: ["unreachable", "bad", "Its server does not answer. Start it, or change its address in the settings."],
  stuck: ["stuck", "bad", "It answers, but generates no tokens. Restart its server."],
  not_contacted: [
    "not contacted",
    "plain",
    "It is not on this machine, and privacy is local_only: nothing is sent to it, not even to ask whether it is there.",
  ],
};

function Group({ engine, models }: { readonly engine: Engine; readonly models: readonly Model[] }) {
  const { id, health, is_remote: isRemote, version, message, model_count: count, connections } = engine;
  const [word, tone, meaning] = healths[health] ?? [health, "warning", ""];
  return (
    <Card title={visibleName(id)} actions={<Badge tone={tone}>{word}</Badge>}>
      <Facts
        of={[
          counted(count, "model"),
          isRemote === true ? <Badge tone="warning">another machine</Badge> : "this machine",
          version,
          connections && formatConnections(connections),
        ]}
      />
      {meaning !== "" && <p class="muted">{meaning}</p>}
      {message !== undefined && <p class="wrap">{visibleName(message)}</p>}
      {models.length > 0 && (
        <Table label={`Models of ${visibleName(id)}`} columns={columns} rows={models} keyOf={({ name }) => name} />
      )}
    </Card>
  );
}

/** Whether anything left this machine, and how one knows. */
function Privacy({ status: { privacy, remote_text: text, version, home } }: { readonly status: Status }) {
  const isLocal = privacy === "local_only";
  return (
    <Card
      title="Privacy"
      actions={<Badge tone={isLocal ? "good" : "warning"}>{isLocal ? "local only" : "remote allowed"}</Badge>}
    >
      <p class="statement">{visibleName(text)}.</p>
      <p class="muted">
        {isLocal
          ? "A lock in front of the engines refuses every call of an engine that is not on this machine, also after a failure. The daemon counts each prompt that passes it."
          : "Requests may go to remote engines when no local model suits. Set privacy to local_only in the settings to refuse that."}
      </p>
      <p class="muted">
        ollm {visibleName(version)}, home <code>{visibleName(home)}</code>
      </p>
    </Card>
  );
}

const columns: readonly Column<Model>[] = [
  { title: "Model", show: (model) => <NameCell model={model} /> },
  { title: "On disk", isNumber: true, width: 80, show: ({ size_bytes }) => size_bytes > 0 && formatBytes(size_bytes) },
  { title: "Memory", isNumber: true, width: "24%", show: (model) => <MemoryCell model={model} /> },
  { title: "State", width: "11.5%", show: (model) => <StateCell model={model} /> },
  { title: "Speed, last use", isNumber: true, width: "16.5%", show: (model) => <UseCell model={model} /> },
  { title: "", width: 186, show: (model) => <ModelActions model={model} /> },
];

function NameCell({ model }: { readonly model: Model }) {
  return (
    <span class="cell-name">
      <Name text={model.name} />
      <Facts of={[model.parameter_size, model.quantization]} />
    </span>
  );
}

/** What it takes, and what was predicted; or what must be free for it. How that was found is in its title. */
function MemoryCell({ model: { fit, is_remote: isRemote, loaded_bytes: loadedBytes } }: { readonly model: Model }) {
  if (isRemote === true) return <span class="muted">not on this machine</span>;
  const predicted = fit && `predicted ${formatBytes(fit.predicted_bytes)}`;
  const method = fit && `${predicted}: ${fit.method}, ±${Math.round(fit.margin * 100)} %`;
  const [first, second] =
    loadedBytes !== undefined
      ? [`${formatBytes(loadedBytes)} in use`, predicted]
      : fit === undefined
        ? []
        : [formatNeed(fit.predicted_bytes, fit.needed_bytes), `${formatBytes(fit.free_bytes)} available`];
  return (
    <span class="cell-name figure" title={method}>
      <span>{first}</span>
      <span class="muted">{second}</span>
    </span>
  );
}

function StateCell({ model }: { readonly model: Model }) {
  const { is_loaded: isLoaded, is_pinned: isPinned, fits, status, stale_since: since, error } = model;
  const isBroken = status === "error";
  const isPlain = isLoaded || status === undefined || status === "installed";
  const isShown = isLoaded || isPinned === true || fits === false || !isPlain || since !== undefined;
  if (!isShown && error === undefined) return null;
  return (
    <span class="badges">
      {isLoaded && <Badge tone="good">loaded</Badge>}
      {isPinned === true && <Badge>pinned</Badge>}
      {!isLoaded && fits === false && <Badge tone="warning">does not fit now</Badge>}
      {!isPlain && <Badge tone={isBroken ? "bad" : "warning"}>{visibleName(status)}</Badge>}
      {since !== undefined && <Badge tone="warning">engine down</Badge>}
      {error !== undefined && <span class="problem">{visibleName(error)}</span>}
    </span>
  );
}

function UseCell({ model }: { readonly model: Model }) {
  const { tokens_per_second: measured, expected_tokens_per_second: expected, timed_tokens: timed } = model;
  const { last_used_at: at } = model;
  return (
    <span class="cell-name figure">
      {measured !== undefined && <span>{formatRate(measured)} tokens/s</span>}
      {measured !== undefined && timed !== undefined && <span class="muted">of {counted(timed, "token")}</span>}
      {measured === undefined && expected !== undefined && <span>about {formatRate(expected)} tokens/s</span>}
      <span class="muted">{at === undefined ? "not used yet" : <When iso={at} />}</span>
    </span>
  );
}

function ModelActions({ model }: { readonly model: Model }) {
  const { name, is_loaded: isLoaded, is_pinned: isPinned = false, refuses = [] } = model;
  const loads = isLoaded
    ? ({ action: "unload", text: "Unload", onRun: () => unload(name) } as const)
    : ({ action: "load", text: "Load", onRun: () => load(name) } as const);
  const pins = { action: "pin", text: isPinned ? "Unpin" : "Pin", onRun: () => setPinned(name, !isPinned) };
  const deletes = { action: "delete", text: "Delete", onRun: () => remove(name, model.size_bytes) };
  return (
    <>
      {[loads, pins, deletes].map(
        ({ action, ...button }) => !refuses.includes(action) && <Button key={action} of={name} {...button} />,
      )}
    </>
  );
}
