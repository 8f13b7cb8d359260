import * as z from "zod";
import type { faultOf } from "./errors.ts";
import type { Decision } from "./facade-status.ts";
import type { Log } from "./log.ts";
import type { PromptTokens, Task } from "./types.ts";

/**
 * What happened, said once and after it is true, for whatever only watches (`watch/`). An event has names, numbers and
 * errors, never the text of a prompt or an answer.
 */
export type Event =
  | ({ readonly kind: "request ended" } & EndedRequest)
  /** An assistant gets the answer of a model, whose tokens are counted later: it doesn't wait for that. */
  | { readonly kind: "answer read"; readonly client: string; readonly task: string; readTokens(): number }
  /** The list of those that ended: a moment after one did. */
  | { readonly kind: "requests changed" }
  /** One began or ended. */
  | { readonly kind: "operations changed" }
  /** Before each try. */
  | { readonly kind: "remote request sent"; readonly engine: string }
  /** A model is to be loaded or unloaded, was kept waiting or refused, or a load failed: what the log of decisions shows. */
  | { readonly kind: "decision taken"; readonly decision: Omit<Decision, "at"> }
  /** An engine was asked for its models; also if it did not respond. */
  | { readonly kind: "models listed" }
  /** Polls of an engine differ. */
  | { readonly kind: "listed models changed"; readonly isListChanged: boolean }
  /** This program changed a model's state; with `isListChanged` engines were replaced. */
  | { readonly kind: "models changed"; readonly isListChanged: boolean }
  /** Which models are resident, or how much memory is free. */
  | { readonly kind: "memory changed" }
  /** Each minute. `loaded`: the models in memory, perhaps for another program. */
  | { readonly kind: "memory sampled"; readonly sample: MemorySample; readonly loaded: readonly string[] }
  /** What watchers found: at most once a minute, or a warning. */
  | { readonly kind: "figures changed" }
  | { readonly kind: "memories changed"; readonly isListChanged: boolean }
  | { readonly kind: "templates changed" }
  /** Settings or projects, and with them perhaps the tools on offer. */
  | { readonly kind: "settings changed" }
  | { readonly kind: "job changed"; readonly id: string; readonly isListChanged: boolean };

type Kind = Event["kind"];
export type EventOf<Given extends Kind> = Extract<Event, { readonly kind: Given }>;
export type Emit = (event: Event) => void;

/** For the log of decisions. */
export function noteDecision(emit: Emit, decision: Omit<Decision, "at">): void {
  emit({ kind: "decision taken", decision });
}

/** A request that ended, with everything that was asked of engines for it. */
export interface EndedRequest {
  readonly client: string;
  readonly clientVersion?: string;
  readonly trace?: string | undefined;
  /** `compare`: an answer, or a judgement, of a comparison. */
  readonly task: string;
  readonly profile: string;
  readonly via?: NonNullable<RequestRow["via"]>;
  /** The answer that was given: its model, and why that one. Absent: none was. */
  readonly given?: {
    readonly model: string;
    readonly engine: string;
    readonly reason: string;
    /** It did not pass its check. */
    readonly isDoubtful: boolean;
  };
  /** From the call to the answer. */
  readonly totalMs: number;
  /** Attempts that failed before another one answered. */
  readonly fallbacks: number;
  readonly attempts: readonly EndedAttempt[];
  /** Tokens of files that were read here; 0 if it was not answered. */
  readonly fileTokens: number;
  /** What its answers showed about models; absent if nothing, or if its caller doesn't let it be learned. */
  readonly outcomes?: readonly { readonly task: Task; readonly model: string; readonly outcome: Outcome }[];
  /** Absent: it was answered. */
  readonly error?: ReturnType<typeof faultOf>;
}

/** One request of an engine: an answer, or why there is none. Answers in parts, corrections and votes need several. */
export interface EndedAttempt extends PromptTokens {
  readonly model: string;
  readonly engine: string;
  /** Its tokens cost nothing. */
  readonly isLocal: boolean;
  /** From the queue to the end. */
  readonly totalMs: number;
  readonly queueMs?: number;
  readonly loadMs?: number;
  readonly firstTokenMs?: number;
  readonly completionTokens?: number;
  readonly decodeMs?: number;
  /** What a paid engine charged, also for an attempt that failed. Tokens of prompt and answer; estimated if it was cut off. */
  readonly charge?: { readonly amount: number; readonly currency: string; readonly tokens: number };
  /** Absent: it answered. A cancelled attempt is neither an answer nor an error. */
  readonly error?: ReturnType<typeof faultOf>;
}

const money = z.object({ amount: z.number(), currency: z.string() });

/** A request that ended, as it is kept: names and figures, never a text. What it took of engines is summed over its attempts. */
export const requestRow = z.object({
  id: z.string(),
  /** ISO 8601. */
  startedAt: z.string(),
  client: z.string(),
  clientVersion: z.string().exactOptional(),
  /** The id of the trace that the call belongs to. */
  trace: z.string().exactOptional(),
  task: z.string(),
  profile: z.string(),
  /** That answered, or was asked last; empty: none was chosen. */
  model: z.string(),
  engine: z.string(),
  /** Why that model answered. */
  reason: z.string().exactOptional(),
  /** What asked for it; absent: a call of its own. */
  via: z.enum(["comparison", "batch", "worker", "door"]).exactOptional(),
  /** `answered`, `doubtful` (it did not pass its check), `cancelled`, or `failed:` with the class of the error. */
  outcome: z.string(),
  /** What was asked of engines; those of one model with one end are one, with their number. `error`: its class. */
  attempts: z.array(
    z.object({ model: z.string(), engine: z.string(), count: z.number(), error: z.string().exactOptional() }),
  ),
  queueMs: z.number(),
  loadMs: z.number(),
  firstTokenMs: z.number().exactOptional(),
  /** From the call to the answer. */
  totalMs: z.number(),
  /** Tokens read from a cache included. */
  promptTokens: z.number(),
  cachedPromptTokens: z.number(),
  completionTokens: z.number(),
  /** Local models: prompts and answers, for a request that was answered. */
  localTokens: z.tuple([z.number(), z.number()]),
  tokensPerSecond: z.number().exactOptional(),
  /** What paid engines charged: by currency. */
  cost: z.array(money).exactOptional(),
});
export type RequestRow = z.output<typeof requestRow> & {
  /** Where it is listed: its local tokens at the reference price. */
  readonly saved?: z.output<typeof money>;
};

/** A moment of the memory, bytes. */
export const memorySample = z.object({
  /** ISO 8601. */
  at: z.string(),
  availableBytes: z.number(),
  modelBytes: z.number(),
  /** By type of model: its family. */
  byType: z.record(z.string(), z.number()),
});
export type MemorySample = z.output<typeof memorySample>;

/** What a request showed about a model's answer without anyone judging it; `routing/evidence.ts` has their weights. */
export type Outcome = "valid" | "checked" | "corrected" | "invalid" | "repetition" | "length" | "failed";

/** Carries events from whatever they happen in to what watches. */
export type Events = ReturnType<typeof createEvents>;

/** More wait only while the event loop has no turn. */
const maxWaiting = 10_000;
/** What is dropped first, then the next: what the next poll says again, then what is only shown. The rest is counted. */
const cheapestFirst = [
  "models listed",
  "listed models changed",
  "memory changed",
  "figures changed",
  "requests changed",
  "operations changed",
  "job changed",
  "memory sampled",
  "models changed",
  "memories changed",
  "templates changed",
  "settings changed",
  "decision taken",
  "answer read",
  "remote request sent",
  "request ended",
] as const satisfies readonly Kind[];

export function createEvents(log: Pick<Log, "warn">) {
  const listeners = new Map<Kind, Set<{ readonly listener: (event: never) => void }>>();
  let waiting: Event[] = [];
  /** How many of them were taken, the one that is being delivered, and who has not got it yet. */
  let taken = 0;
  let current: Event | undefined;
  let left: Iterator<{ readonly listener: (event: never) => void }> | undefined;
  let isScheduled = false;
  let dropped = 0;

  /** Delivers what listeners emit, too, after what waits. A listener that flushes continues where this one is. */
  function flush(): void {
    isScheduled = false;
    for (;;) {
      const next = left?.next();
      if (next === undefined || next.done === true) {
        current = waiting[taken];
        if (current === undefined) break;
        taken += 1;
        left = listeners.get(current.kind)?.values();
        continue;
      }
      try {
        next.value.listener(current as never);
      } catch (error) {
        log.warn(`events: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
    }
    left = undefined;
    waiting = [];
    taken = 0;
  }

  /** Drops a tenth at once: to look for the cheapest one each time would cost more. */
  function shed(): void {
    waiting = waiting.slice(taken);
    taken = 0;
    let toDrop = maxWaiting / 10;
    for (const kind of cheapestFirst) {
      waiting = waiting.filter((event) => event.kind !== kind || toDrop === 0 || (toDrop--, false));
      if (toDrop === 0) break;
    }
    dropped += maxWaiting / 10;
  }

  return {
    /** Delivered in a later turn of the event loop, in order. Nearly free if no one listens to its kind. */
    emit(event: Event) {
      if (!listeners.has(event.kind)) return;
      waiting.push(event);
      if (waiting.length - taken > maxWaiting) shed();
      if (isScheduled) return;
      isScheduled = true;
      setImmediate(flush);
    },
    /** Returns a function that ends it. An exception of a listener is logged, and affects no one else. */
    on<Given extends Kind>(kinds: readonly Given[], listener: (event: EventOf<Given>) => void) {
      // An object of its own, because the same listener may listen twice.
      const own = { listener };
      for (const kind of kinds) listeners.set(kind, (listeners.get(kind) ?? new Set()).add(own));
      return () => {
        for (const kind of kinds) {
          const known = listeners.get(kind);
          known?.delete(own);
          if (known?.size === 0) listeners.delete(kind);
        }
      };
    },
    /** Whether anyone listens to this kind: without, work that only detects it can be skipped. */
    isHeard: (kind: Kind) => listeners.has(kind),
    /** Delivers what waits, now: whatever reads figures calls it first. */
    flush,
    /** Events that were dropped because too many waited. */
    get dropped() {
      return dropped;
    },
  };
}
