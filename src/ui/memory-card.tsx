import type { LiveModel, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { formatBytes, localTime } from "../orchestrator/util/format-bytes.ts";
import { isHere } from "../orchestrator/util/last-hour.ts";
import { Badge, Button, Card, Details, Facts, Name, Icon } from "./components.tsx";
import { activityOf, formatCount, formatSpan, segmentsOf, visibleName } from "./format.ts";
import { setPinned, unload } from "./model-actions.ts";
import { now } from "./state.ts";

/** Colours of models in the style sheet. */
const modelColours = 6;
/** Of one glance. */
const shownModels = 8;

/** Who holds the memory of this machine: one bar, and a line for each part of it. */
export function MemoryCard({ memory }: { readonly memory: LiveState["memory"] }) {
  const segments = segmentsOf(memory);
  const models = segments.flatMap((segment) => (segment.kind === "model" ? segment.model : []));
  const elsewhere = memory.models.filter((model) => !isHere(model));
  const bytesOf = (kind: string) => segments.find((segment) => segment.kind === kind)?.bytes ?? 0;
  const summary = segments.map((segment) => `${titleOf(segment)} ${formatBytes(segment.bytes)}`).join(", ");
  const lines = (label: string, some: readonly LiveModel[]) => (
    <ul class="memory-list" aria-label={label}>
      {some.map((model) => (
        <ModelLine key={`${model.engine} ${model.name}`} model={model} at={models.indexOf(model)} />
      ))}
    </ul>
  );
  return (
    <Card
      title="Memory"
      actions={
        <p class="figure muted">
          <strong>{formatBytes(bytesOf("free"))}</strong> free of {formatBytes(memory.totalBytes)}; other programs{" "}
          {formatBytes(bytesOf("other"))}
        </p>
      }
    >
      <div class="memory-bar" role="img" aria-label={`Memory: ${summary}`}>
        {segments.map((segment, at) => (
          <Part
            key={segment.kind === "model" ? `${segment.model.engine} ${segment.model.name}` : segment.kind}
            segment={segment}
            at={at}
          />
        ))}
      </div>
      {memory.models.length === 0 && (
        <p class="muted">No model is loaded. Models are loaded when requests need them.</p>
      )}
      {lines("Models in memory", models.slice(0, shownModels))}
      {models.length > shownModels && (
        <Details summary={`and ${models.length - shownModels} more`}>
          {lines("More in memory", models.slice(shownModels))}
        </Details>
      )}
      {elsewhere.length > 0 && lines("Models in the memory of other machines", elsewhere)}
      {memory.gpus.length > 0 && (
        <ul class="gpus" aria-label="Graphics cards">
          {memory.gpus.map((gpu, at) => (
            <GpuLine key={at} {...gpu} />
          ))}
        </ul>
      )}
    </Card>
  );
}

type Segment = ReturnType<typeof segmentsOf>[number];

function titleOf(segment: Segment): string {
  if (segment.kind === "model") return visibleName(segment.model.name);
  return segment.kind === "other" ? "Other programs" : "Free";
}

/** Beyond those of the style sheet, hues that are far from the ones before them, dark enough for white text. */
function colourOf(at: number): string {
  return at < modelColours ? `var(--model-${at + 1})` : `hsl(${Math.round(at * 137.5) % 360} 50% 28%)`;
}

function Part({ segment, at }: { readonly segment: Segment; readonly at: number }) {
  const title = `${titleOf(segment)}: ${formatBytes(segment.bytes)}`;
  const isModel = segment.kind === "model";
  return (
    <span
      class={`part ${isModel ? segment.model.state : segment.kind}`}
      style={{ flexBasis: `${(segment.share * 100).toFixed(1)}%`, ...(isModel && { backgroundColor: colourOf(at) }) }}
      title={title}
    >
      <span class="part-label">
        {isModel && <b>{at + 1} </b>}
        {titleOf(segment)}
      </span>
    </span>
  );
}

/** `at`: of its part in the bar; -1 if it has none. */
function ModelLine({ model, at }: { readonly model: LiveModel; readonly at: number }) {
  const { name, engine, bytes, vramBytes = 0, state, isPinned, contextTokens } = model;
  const isBusy = model.running > 0;
  return (
    <li class="memory-line">
      {at === -1 ? (
        <span class="swatch free" />
      ) : (
        <span class={`swatch ${state}`} style={{ backgroundColor: colourOf(at) }}>
          {at + 1}
        </span>
      )}
      <div class="memory-name">
        <Name text={name} />
        <Facts
          of={[
            isPinned && (
              <Badge>
                <Icon name="pin" /> pinned
              </Badge>
            ),
            <Badge tone={state === "stuck" ? "bad" : state !== "ready" ? "warning" : isBusy ? "good" : "plain"}>
              {visibleName(activityOf(model))}
            </Badge>,
            state === "ready" && !isPinned && !isBusy && model.expiresAt !== undefined && (
              <Until iso={model.expiresAt} />
            ),
            engine,
            at === -1 && "on another machine",
            contextTokens !== undefined && `${formatCount(contextTokens)} tokens of context`,
            vramBytes > 0 && `${formatBytes(vramBytes)} on a card`,
          ]}
        />
      </div>
      <span class="figure memory-size">{formatBytes(bytes)}</span>
      <span class="row-actions">
        <Button text={isPinned ? "Unpin" : "Pin"} of={name} onRun={() => setPinned(name, !isPinned)} />
        <Button text="Unload" of={name} isDisabled={state === "evicting"} onRun={() => unload(name)} />
      </span>
    </li>
  );
}

/** When an idle model is unloaded. */
function Until({ iso }: { readonly iso: string }) {
  const leftMs = Date.parse(iso) - now.value;
  if (Number.isNaN(leftMs)) return null;
  return <span title={localTime(iso)}>{leftMs <= 0 ? "unloads now" : `unloads in ${formatSpan(leftMs)}`}</span>;
}

function GpuLine({ name, totalBytes, freeBytes }: LiveState["memory"]["gpus"][number]) {
  return (
    <li class="gpu">
      <Name text={name} />
      {freeBytes !== undefined && (
        <meter aria-label={`Used memory of ${visibleName(name)}`} max={totalBytes} value={totalBytes - freeBytes} />
      )}
      <span class="figure muted">
        {freeBytes !== undefined && `${formatBytes(freeBytes)} free of `}
        {formatBytes(totalBytes)}
      </span>
    </li>
  );
}
