import type { ProgressResponse } from "ollama/browser";
import { PullFailed } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { Progress } from "../../api/types.ts";
import type { Report } from "../engine.ts";
import { longCall, type OllamaContext } from "./context.ts";

/** Bytes of all layers of one pull: Ollama reports each layer separately. */
interface PullTotals {
  readonly layers: ReadonlyMap<string, { readonly completed: number; readonly total: number }>;
}

/** Manifests list about ten. */
const maxLayers = 1_000;
/** Enough for the lines of a pull that takes days. */
const maxPullBytes = 1_000_000_000;
/** Maximum length of a status in a message. */
const maxStatusCharacters = 200;

function addLine(totals: PullTotals, line: ProgressResponse): PullTotals {
  if (!line.digest || !line.total) return totals;
  const layers = new Map(totals.layers);
  if (layers.size >= maxLayers && !layers.has(line.digest))
    throw new PullFailed(`Ollama reported more than ${maxLayers} layers for the model`, {
      next: { step: "changeSetting", setting: "providers.ollama.host" },
    });
  layers.set(line.digest, { completed: line.completed ?? 0, total: line.total });
  return { layers };
}

/** Pulls one model. Ollama keeps the data of a cancelled pull until the server restarts. */
export function createPull(context: OllamaContext) {
  /** `isInsecure`: pulls over plain HTTP. */
  return async (model: string, isInsecure: boolean, report: Report, signal: AbortSignal): Promise<void> => {
    const { timeouts, transport } = context;
    const stall = new AbortController();
    const either = AbortSignal.any([signal, stall.signal]);
    let totals: PullTotals = { layers: new Map() };
    let lastAdvance = "";
    const speed = createSpeed(context.now);
    let timer = setTimeout(() => stall.abort(), timeouts.pullStallMs);

    // Ollama repeats its line while nothing arrives, so only changing numbers count as progress.
    const watch = (line: ProgressResponse): void => {
      const advance = `${line.status} ${line.completed}`;
      if (advance === lastAdvance) return;
      lastAdvance = advance;
      clearTimeout(timer);
      // Verifying gigabytes takes minutes in which nothing is sent.
      timer = setTimeout(() => stall.abort(), line.digest ? timeouts.pullStallMs : timeouts.stallMs);
    };

    const exchange = {
      ...longCall(timeouts, `pulling ${model}`, model, PullFailed, maxPullBytes),
      next: [
        { step: "resumePull", model } as const,
        advice("check the name and the connection to the registry"),
        { step: "importModel" } as const,
      ],
    };
    try {
      await transport.exchange(exchange, either, async ({ ollama }) => {
        for await (const sent of await ollama.pull({ model, stream: true, ...(isInsecure && { insecure: true }) })) {
          const line = { ...sent, status: shortStatus(sent.status) };
          watch(line);
          totals = addLine(totals, line);
          report(progressOf(model, line, totals, speed));
        }
      });
    } catch (error) {
      if (!stall.signal.aborted || signal.aborted) throw error;
      const { completed, total } = sumOf(totals);
      throw new PullFailed(`the pull of ${model} stalled at ${completed} of ${total} bytes`, {
        next: { step: "resumePull", model },
        cause: error,
      });
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Returns Ollama's status, shortened for a message. */
export function shortStatus(status: unknown): string {
  return String(status).slice(0, maxStatusCharacters);
}

function progressOf(model: string, line: ProgressResponse, totals: PullTotals, speed: Speed): Progress {
  const { completed, total } = sumOf(totals);
  if (total === 0) return { message: `${model}: ${line.status}` };
  const bytesPerSecond = speed(completed);
  return {
    message: line.digest ? `pulling ${model}` : `${model}: ${line.status}`,
    completedBytes: completed,
    totalBytes: total,
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
  };
}

function sumOf({ layers }: PullTotals): { readonly completed: number; readonly total: number } {
  let completed = 0;
  let total = 0;
  for (const layer of layers.values()) {
    completed += layer.completed;
    total += layer.total;
  }
  return { completed, total };
}

type Speed = (completedBytes: number) => number | undefined;

/** Measures bytes per second since the start of this pull; data of an earlier pull doesn't count. */
function createSpeed(now: () => number): Speed {
  let first: { readonly bytes: number; readonly atMs: number } | undefined;
  return (bytes) => {
    first ??= { bytes, atMs: now() };
    const seconds = (now() - first.atMs) / 1_000;
    return seconds > 0.2 && bytes > first.bytes ? Math.round((bytes - first.bytes) / seconds) : undefined;
  };
}
