/**
 * What people see: names as they were given but harmless, figures with their units, times relative to now, and the shares of
 * the memory.
 */
import type { LiveModel, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { isHere, ramBytesOf } from "../orchestrator/util/last-hour.ts";

/** Characters that control or reorder text (C0, C1, bidirectional controls, separators), and zero-width ones, which hide. */
const harmful = /[\p{Control}\p{Bidi_Control}\u2028\u2029\u200B\u2060\uFEFF\u{E0000}-\u{E007F}]/gu;

/** A name from a model, file or client: each character that would hide or reorder text is shown as `�`. */
export function visibleName(name: string): string {
  return name.replaceAll(harmful, "\uFFFD");
}

/** Like `visibleName`, for texts of several lines: line feeds and tabs are kept. */
export function visibleText(text: string): string {
  return text.replaceAll(harmful, (found) =>
    found === "\n" || found === "\t" ? found : found === "\r" ? "" : "\uFFFD",
  );
}

/** `1,234` */
export function formatCount(value: number): string {
  return value.toFixed(0).replaceAll(/\B(?=(\d{3})+$)/g, ",");
}

/** `0.4`, `8.3`, `42`, `1,204`: tokens per second. */
export function formatRate(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : formatCount(perSecond);
}

/** `950`, `12.3k`, `4.1M`: tokens where there is little room. */
export function formatTokens(tokens: number): string {
  if (tokens < 1_000) return String(Math.round(tokens));
  if (tokens < 999_950) return `${(tokens / 1e3).toFixed(1).replace(/\.0$/, "")}k`;
  return `${(tokens / 1e6).toFixed(1).replace(/\.0$/, "")}M`;
}

/** `4 s`, `3 min`, `2 h 5 min`, `6 days`: a span, rounded down. */
export function formatSpan(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 || hours >= 12 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** `just now`, `3 min ago`, `6 days ago`; empty for a text that is no time. */
export function formatAgo(iso: string, nowMs: number): string {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return "";
  return nowMs - at < 5_000 ? "just now" : `${formatSpan(nowMs - at)} ago`;
}

/** The text of a value; undefined without one. */
export function given<Value, Text>(value: Value | undefined, text: (value: Value) => Text): Text | undefined {
  return value === undefined ? undefined : text(value);
}

/** A value that its field can't take; `line` is selected. */
export interface FieldProblem<Values> {
  readonly field: keyof Values;
  readonly message: string;
  readonly line?: number;
}

/** First and last character of a line (from 1), for a selection. */
export function lineRange(text: string, line: number): readonly [start: number, end: number] {
  const lines = text.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  return [start, start + (lines[line - 1]?.length ?? 0)];
}

/** The parts of a list in a field, without empty ones. */
export function partsOf(text: string, separator = ","): string[] {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** A part of the memory bar, the largest model first; the shares of all parts sum to 1. */
type Segment =
  | { readonly kind: "model"; readonly model: LiveModel; readonly share: number; readonly bytes: number }
  | { readonly kind: "other" | "free"; readonly share: number; readonly bytes: number };

/**
 * The parts of the machine's RAM: each model, what other programs hold, what is free. Measurements overlap (files that are
 * mapped count as available too) and are from different moments, so what is free gives way first, then everything shrinks.
 */
export function segmentsOf(memory: LiveState["memory"]): readonly Segment[] {
  const { totalBytes, availableBytes, otherBytes } = memory;
  const models = memory.models.filter(isHere).toSorted((one, other) => ramBytesOf(other) - ramBytesOf(one));
  const held = models.reduce((sum, model) => sum + ramBytesOf(model), 0) + otherBytes;
  const freeBytes = Math.max(0, Math.min(availableBytes, totalBytes - held));
  // What no measurement explains belongs to no program by name.
  const rest = Math.max(0, totalBytes - held - freeBytes);
  const wholeBytes = Math.max(totalBytes, held, 1);
  const share = (bytes: number): number => bytes / wholeBytes;
  return [
    ...models.map((model) => ({
      kind: "model" as const,
      model,
      bytes: ramBytesOf(model),
      share: share(ramBytesOf(model)),
    })),
    { kind: "other", bytes: otherBytes + rest, share: share(otherBytes + rest) },
    { kind: "free", bytes: freeBytes, share: share(freeBytes) },
  ];
}

/** What a model does, in words. */
export function activityOf({ state, running, clients }: LiveModel): string {
  switch (state) {
    case "loading":
      return "loading";
    case "evicting":
      return "unloading";
    case "stuck":
      return "gives no tokens";
    case "ready":
      if (running === 0) return "idle";
      return clients.length === 0 ? `${running} running` : `${running} running, used by ${clients.join(", ")}`;
  }
}
