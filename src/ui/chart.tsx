import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { Card, Details, Table } from "./components.tsx";
import { isDark } from "./state.ts";
import { defined } from "../orchestrator/util/values.ts";

/** A value over time. */
interface Line {
  readonly title: string;
  /** One for each moment; null: unknown, a gap. */
  readonly values: readonly (number | null)[];
  /** Name of a colour in the style sheet: `--accent`. */
  readonly colour: string;
}

interface ChartProps {
  /** What is shown: of the card, and for screen readers. */
  readonly title: string;
  /** Seconds since the epoch, one for each value. */
  readonly seconds: readonly number[];
  /** Areas and bars are stacked in this order, the first at the bottom. */
  readonly lines: readonly Line[];
  readonly kind: "areas" | "lines" | "bars";
  readonly format: (value: number) => string;
  /** Text of a moment, in the table and at the cursor. */
  readonly formatTime: (seconds: number) => string;
}

const height = 180;
/** Distances of the marks at an axis: 1, 2 and 5 at each power of ten. */
const steps = Array.from({ length: 14 }, (_none, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
/** The same at an axis of days, in seconds: however few there are, none has marks of hours. */
const dayIncrs = [1, 2, 7, 14, 28, 91].map((days) => days * 86_400);
/** Rows of the table beside a chart. */
const maxRows = 12;

/** A card with a chart that fills it, with the values at the cursor below it and a table of it to open. */
export function Chart(props: ChartProps) {
  const { title, seconds, lines, kind, format, formatTime } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const cursor = useSignal<number | undefined>(undefined);
  const isDrawn = useSignal(true);
  const newest = useRef(props);
  newest.current = props;

  useEffect(() => {
    const element = host.current;
    if (element === null) return undefined;
    let isGone = false;
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    const draw = async (): Promise<void> => {
      // When it is needed: it fails in a browser whose language has a name that isn't standard ("en-US@posix").
      const { default: Plot } = await import("uplot");
      if (isGone) return;
      const options = optionsOf(Plot, newest.current, element, (at) => (cursor.value = at));
      plot.current = new Plot(options, dataOf(newest.current), element);
      observer.observe(element);
    };
    draw().catch(() => (isDrawn.value = false));
    return () => {
      isGone = true;
      observer.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
    // Colours are painted, so a plot belongs to its theme.
  }, [isDark.value, kind, lines.map((line) => line.title).join()]);
  useEffect(() => plot.current?.setData(dataOf(props)), [seconds, lines]);

  const at = cursor.value ?? seconds.length - 1;
  const shown = lines.map((line) => ({ ...line, text: textOf(line.values[at], format) }));
  const moment = seconds[at];
  return (
    <Card title={title}>
      <figure class="chart">
        {isDrawn.value ? (
          <div
            ref={host}
            role="img"
            aria-label={`${title}: ${shown.map((line) => `${line.title} ${line.text ?? "unknown"}`).join(", ")}`}
          />
        ) : (
          <p class="muted">This browser can't draw the chart; the table has its values.</p>
        )}
        <figcaption class="legend figure">
          <span class="muted">{cursor.value === undefined || moment === undefined ? "Now" : formatTime(moment)}</span>
          {shown.map(({ title: name, colour, text }) => (
            <span key={name}>
              <span class="dash" style={{ backgroundColor: `var(${colour})` }} />
              {name} <b>{text ?? "–"}</b>
            </span>
          ))}
        </figcaption>
        <Details summary="As a table">
          <ChartTable {...props} />
        </Details>
      </figure>
    </Card>
  );
}

/** Undefined where it is unknown. */
function textOf(value: number | null | undefined, format: ChartProps["format"]): string | undefined {
  return value === null || value === undefined ? undefined : format(value);
}

function ChartTable({ title, seconds, lines, kind, format, formatTime }: ChartProps) {
  const step = kind === "bars" ? 1 : Math.max(1, Math.ceil(seconds.length / maxRows));
  const rows = seconds.flatMap((second, at) => (at % step === 0 ? [{ second, at }] : [])).toReversed();
  return (
    <Table
      label={title}
      rows={rows}
      keyOf={({ second }) => String(second)}
      columns={[
        { title: "Time", show: ({ second }) => formatTime(second) },
        ...lines.map((line) => ({
          title: line.title,
          isNumber: true,
          show: ({ at }: { readonly at: number }) => textOf(line.values[at], format) ?? "–",
        })),
      ]}
    />
  );
}

/** The columns that uPlot draws. Stacked areas and bars are painted from the top of the stack down, each over the one before. */
function dataOf({ seconds, lines, kind }: ChartProps): uPlot.AlignedData {
  if (kind === "lines") return [[...seconds], ...lines.map((line) => [...line.values])];
  const sums: (number | null)[][] = [];
  for (const { values } of lines) {
    const below = sums.at(-1);
    sums.push(values.map((value, at) => (value === null ? null : value + (below?.[at] ?? 0))));
  }
  return [[...seconds], ...sums.toReversed()];
}

function optionsOf(
  { paths }: typeof uPlot,
  { seconds, lines, kind, format }: ChartProps,
  element: HTMLElement,
  onCursor: (at: number | undefined) => void,
): uPlot.Options {
  const drawn = kind === "lines" ? lines : lines.toReversed();
  const text = colourOf(element, "--muted");
  const grid = { stroke: colourOf(element, "--line"), width: 1 };
  const axis = { stroke: text, grid, ticks: { show: false }, font: `12px ${getComputedStyle(element).fontFamily}` };
  const isByDay = kind === "bars" && (seconds[1] ?? Number.POSITIVE_INFINITY) - (seconds[0] ?? 0) >= 86_400;
  const bars = kind === "bars" ? paths.bars?.({ size: [0.7, 40] }) : undefined;
  return {
    width: Math.max(1, element.clientWidth),
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: kind === "lines" }, drag: { x: false, y: false } },
    scales: {
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.05 : 1] },
      // Half a bar of room at both ends.
      ...(kind === "bars" && { x: { range: ({ data: [shown] }) => roomFor(shown) } }),
    },
    axes: [
      {
        ...axis,
        size: 32,
        ...(isByDay && { incrs: dayIncrs }),
        values: (_plot, moments, _axis, _space, step) => moments.map((at) => tickText(at, step)),
      },
      { ...axis, size: 72, incrs: steps, values: (_plot, values) => values.map((value) => format(value)) },
    ],
    series: [
      {},
      ...drawn.map(({ colour, title }): uPlot.Series => {
        const stroke = colourOf(element, colour);
        return {
          label: title,
          stroke,
          width: kind === "areas" ? 0 : 1.5,
          points: { show: false },
          spanGaps: false,
          ...(kind !== "lines" && { fill: stroke }),
          ...defined({ paths: bars }),
        };
      }),
    ],
    hooks: { setCursor: [({ cursor: { idx } }) => onCursor(idx ?? undefined)] },
  };
}

/** From the first bar to the last, and half a bar more; a day around a single one. */
function roomFor(seconds: ArrayLike<number>): [low: number, high: number] {
  const low = seconds[0] ?? 0;
  const half = ((seconds[1] ?? low + 86_400) - low) / 2;
  return [low - half, (seconds[seconds.length - 1] ?? low) + half];
}

/** Local time at an axis whose marks are `step` seconds apart. */
function tickText(seconds: number, step: number): string {
  const at = new Date(seconds * 1_000);
  if (step >= 86_400) return at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return at.toLocaleTimeString("sv", { timeStyle: step >= 60 ? "short" : "medium" });
}

/** The colour that a name stands for in the theme in force. */
function colourOf(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}
