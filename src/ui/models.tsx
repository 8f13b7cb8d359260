import { useSignal } from "@preact/signals";
import { counted, formatBytes, formatNeed, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Badge, Button, Card, Empty, Facts, Field, Filter, Name, Show, type Column, Table } from "./components.tsx";
import { useData } from "./data.ts";
import { isMatch } from "./fields.tsx";
import { formatAgo, formatRate, visibleName } from "./format.ts";
import { load, pull, remove, setPinned, unload } from "./model-actions.ts";
import { NoModels, FailedPulls, OperationLine } from "./overview.tsx";
import { client, live, now } from "./state.ts";

type ModelList = ToolAnswers["list_models"];
type Model = ModelList["models"][number];

/** Models in a list, at most. */
const limit = 1_000;

/** The models of all engines: what they need, what can be done to them. */
export function Models() {
  const list = useData(() => client.callTool("list_models", { verbose: true, limit }), ["models", "memory"]);
  return (
    <>
      <PullCard suggestion={list.data.value?.suggestion?.model} />
      <Show of={list}>{(found) => <Installed list={found} />}</Show>
    </>
  );
}

/** A download by name; those that run, on any page or by any client. */
function PullCard({ suggestion }: { readonly suggestion: string | undefined }) {
  const name = useSignal("");
  const pulls = (live.value?.operations ?? []).filter(({ kind }) => kind === "pull");
  const start = async (): Promise<void> => {
    const model = name.value.trim() || suggestion;
    if (model === undefined) return;
    name.value = "";
    await pull(model);
  };
  return (
    <Card title="Pull a model">
      <form
        class="toolbar"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <Field
          label="Name"
          hint="A name of Ollama's library, or hf.co/ORG/REPO:QUANT. A download that ended early is resumed."
        >
          {(attributes) => (
            <input
              {...attributes}
              type="text"
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              placeholder={suggestion ?? "qwen3:4b-instruct"}
              value={name.value}
              onInput={({ currentTarget }) => (name.value = currentTarget.value)}
            />
          )}
        </Field>
        <button
          type="submit"
          class="button primary"
          aria-disabled={name.value.trim() === "" && suggestion === undefined}
        >
          Pull
        </button>
      </form>
      {pulls.length > 0 && (
        <ul class="list">
          {pulls.map((operation) => (
            <OperationLine key={operation.id} operation={operation} />
          ))}
        </ul>
      )}
      <FailedPulls />
    </Card>
  );
}

function Installed({ list }: { readonly list: ModelList }) {
  const filter = useSignal("");
  const { models, total, suggestion, unreachable = [] } = list;
  if (suggestion !== undefined && total === 0 && unreachable.length === 0) return <NoModels suggestion={suggestion} />;
  const shown = models.filter(({ name, engine, family, capabilities = [] }) =>
    isMatch(filter.value, name, engine, family, ...capabilities),
  );
  return (
    <Card title={counted(total, "model")} actions={<Filter label="Filter models" query={filter} />}>
      {unreachable.map((engine) => (
        <p key={engine} class="problem">
          {visibleName(engine)}
        </p>
      ))}
      {shown.length > 0 ? (
        <Table label="Models" columns={columns} rows={shown} keyOf={({ engine, name }) => `${engine} ${name}`} />
      ) : (
        total > 0 && <Empty title={`No model matches "${visibleName(filter.value)}"`} />
      )}
    </Card>
  );
}

const columns: readonly Column<Model>[] = [
  { title: "Model", show: (model) => <NameCell model={model} /> },
  { title: "On disk", isNumber: true, show: ({ size_bytes }) => size_bytes > 0 && formatBytes(size_bytes) },
  { title: "Memory", isNumber: true, show: (model) => <MemoryCell model={model} /> },
  { title: "State", show: (model) => <StateCell model={model} /> },
  { title: "Speed, last use", isNumber: true, show: (model) => <UseCell model={model} /> },
  { title: "", show: (model) => <ModelActions model={model} /> },
];

function NameCell({ model }: { readonly model: Model }) {
  return (
    <span class="cell-name">
      <Name text={model.name} />
      <Facts of={[model.engine, model.parameter_size, model.quantization]} />
    </span>
  );
}

/** What it takes, what must be free for it, and how that was found. */
function MemoryCell({ model: { fit, is_remote: isRemote, loaded_bytes: loadedBytes } }: { readonly model: Model }) {
  if (loadedBytes !== undefined) return <span class="figure">{formatBytes(loadedBytes)} in use</span>;
  if (isRemote === true) return <span class="muted">not on this machine</span>;
  if (fit === undefined) return null;
  const method = `${fit.method}, ±${Math.round(fit.margin * 100)} %`;
  return (
    <span class="cell-name figure" title={`Predicted ${formatBytes(fit.predicted_bytes)}: ${method}`}>
      <span>{formatNeed(fit.predicted_bytes, fit.needed_bytes)}</span>
      <span class="muted">{formatBytes(fit.free_bytes)} available</span>
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
  const { tokens_per_second: measured, expected_tokens_per_second: expected, last_used_at: at } = model;
  return (
    <span class="cell-name figure">
      {measured !== undefined && <span>{formatRate(measured)} tokens/s</span>}
      {measured === undefined && expected !== undefined && <span>about {formatRate(expected)} tokens/s</span>}
      <span class="muted" title={at === undefined ? undefined : localTime(at)}>
        {at === undefined ? "not used yet" : formatAgo(at, now.value)}
      </span>
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
    <span class="row-actions">
      {[loads, pins, deletes].map(
        ({ action, ...button }) => !refuses.includes(action) && <Button key={action} of={name} {...button} />,
      )}
    </span>
  );
}
