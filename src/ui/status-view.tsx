import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { counted, formatBytes } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { visibleName } from "./format.ts";
import { Notices, type ViewHost, type ViewState, Waiting, showView, useBusy } from "./view-host.tsx";

/** A host may pass on the leaner answer, or parts of it. */
type Status = Partial<ToolAnswers["system_status"]>;

function StatusView({ state, host }: { readonly state: ViewState; readonly host: ViewHost }) {
  const [fetched, setFetched] = useState<unknown>();
  const { isBusy, problem, button } = useBusy();
  const status = (fetched ?? state.data) as Status | undefined;
  const refresh = async () => setFetched(await host.callTool("system_status", {}));
  /** A button, where the host passes calls on. */
  const caller: ButtonMaker = (text, of, name, input) => {
    const act = async () => {
      await host.callTool(name, input);
      await refresh();
    };
    return state.canCall && button(text, act, `${text} ${visibleName(of)}`);
  };
  return (
    <main aria-busy={isBusy}>
      {status?.ram === undefined && status?.engines === undefined ? (
        <Waiting result={state.result} ended={state.ended}>
          Reading the status …
        </Waiting>
      ) : (
        <>
          <Memory status={status} button={caller} />
          <Work status={status} button={caller} />
          {status.savings !== undefined && <p>Saved {status.savings}.</p>}
          <Notices lines={warningsOf(status)} />
          <p class="faint">{factsOf(status).join(" · ")}</p>
        </>
      )}
      {problem}
      {state.canCall && button("Refresh", refresh)}
    </main>
  );
}

type ButtonMaker = (
  text: string,
  of: string,
  tool: string,
  input: Readonly<Record<string, unknown>>,
) => ComponentChildren;
interface PartProps {
  readonly status: Status;
  readonly button: ButtonMaker;
}

const colourOf = (index: number) => ({ background: `var(--model-${(index % 4) + 1})` });

function Memory({ status: { ram, loaded = [], gpus = [] }, button }: PartProps) {
  if (ram === undefined) return <p>This answer says nothing of the memory.</p>;
  const models = loaded.reduce((sum, { bytes }) => sum + bytes, 0);
  const others = Math.max(0, ram.total_bytes - ram.available_bytes - models);
  const share = (bytes: number) => ({ width: `${(100 * bytes) / Math.max(1, ram.total_bytes)}%` });
  return (
    <>
      <h2>
        {formatBytes(ram.available_bytes)} of {formatBytes(ram.total_bytes)} memory available
      </h2>
      <div class="bar" aria-hidden="true">
        {loaded.map(({ name, bytes }, index) => (
          <span key={name} style={{ ...share(bytes), ...colourOf(index) }} title={visibleName(name)} />
        ))}
        <span class="others" style={share(others)} />
      </div>
      <ul class="legend">
        {loaded.map(({ name, engine, bytes, is_pinned }, index) => (
          <li key={name}>
            <span class="dot" style={colourOf(index)} /> <bdi>{visibleName(name)}</bdi> {formatBytes(bytes)}
            {is_pinned === true && ", pinned"} <span class="faint">{engine}</span>{" "}
            {button("Unload", name, "manage_model", { action: "unload", model: name })}
          </li>
        ))}
        {loaded.length === 0 && <li>No model is loaded.</li>}
        <li>
          <span class="dot others" /> other programs {formatBytes(others)}
        </li>
        {gpus.map(({ name, total_bytes, free_bytes }) => (
          <li key={name}>
            {name} {free_bytes !== undefined && `${formatBytes(free_bytes)} free of `}
            {formatBytes(total_bytes)}
          </li>
        ))}
      </ul>
    </>
  );
}

function Work({ status: { queue = [], operations = [] }, button }: PartProps) {
  if (queue.length + operations.length === 0) return <p>Nothing is running.</p>;
  return (
    <ul class="plainlist">
      {operations.map(({ id, title, message }) => (
        <li key={id}>
          <bdi>{visibleName(title)}</bdi>
          {message !== undefined && `: ${visibleName(message)}`}{" "}
          {button("Cancel", title, "job", { action: "cancel", job_id: id })}
        </li>
      ))}
      {queue.map(({ model, running, waiting }) => (
        <li key={`queue ${model}`}>
          <bdi>{visibleName(model)}</bdi>: {running} running, {waiting} waiting
        </li>
      ))}
    </ul>
  );
}

function warningsOf({ ram, warnings = [] }: Status): readonly string[] {
  return ram?.warning === undefined || warnings.includes(ram.warning) ? warnings : [ram.warning, ...warnings];
}

function factsOf({ engines = [], privacy, version }: Status): readonly string[] {
  return [
    ...engines.map(({ id, health, model_count, message }) =>
      visibleName(`${id} ${health}, ${counted(model_count, "model")}${message === undefined ? "" : ` (${message})`}`),
    ),
    ...(privacy === undefined ? [] : [`privacy ${privacy}`]),
    ...(version === undefined ? [] : [`ollm ${version}`]),
  ];
}

showView("ollm status", StatusView);
