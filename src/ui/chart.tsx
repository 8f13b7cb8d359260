import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { Button, Card, Details, Table } from "./components.tsx";
import { given } from "./format.ts";
import { isDark } from "./state.ts";
import { csvOf, defined } from "../orchestrator/util/values.ts";

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
/** A line of fewer values shows each: one between two gaps is no line. */
const mostPoints = 200;
/** Rows of the table beside a chart. */
const maxRows = 12;

/** A card with a chart that fills it, with the values at the cursor below it and a table of it to open. */
export function Chart(props: ChartProps) {
  const { title, seconds, lines, kind, format, formatTime } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const cursor = useSignal<number | undefined>(undefined);
  const isDrawn = useSignal(true);
  const isZoomed = useRef(false);
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
      // Each in a task of its own: together they take longer than a key may wait.
      await new Promise((resolve) => setTimeout(resolve));
      if (isGone) return;
      const options = optionsOf(Plot, newest.current, element, {
        setCursor: [({ cursor: { idx } }) => (cursor.value = idx ?? undefined)],
        setSelect: [({ select: { width } }) => (isZoomed.current ||= width > 0)],
      });
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
  useEffect(() => plot.current?.setData(dataOf(props), !isZoomed.current), [seconds, lines]);

  const at = cursor.value ?? seconds.length - 1;
  const shown = lines.map((line) => ({ ...line, text: given(line.values[at] ?? undefined, format) }));
  const moment = seconds[at];
  return (
    <Card
      title={title}
      actions={
        <span class="row-actions">
          <CsvButton of={title} rows={() => rowsOf(props)} />
          <Button kind="quiet" text="PNG" of={title} onRun={() => picture(plot.current, title)} />
        </span>
      }
    >
      <figure class="chart">
        {isDrawn.value ? (
          <div
            ref={host}
            role="img"
            title="Drag to see a part of it larger, double-click to see the whole"
            onDblClick={() => (isZoomed.current = false)}
            aria-label={`${title}: ${shown.map((line) => `${line.title} ${line.text ?? "unknown"}`).join(", ")}`}
          />
        ) : (
          <p class="muted">This browser can't draw the chart; the table has its values.</p>
        )}
        <figcaption class="legend figure">
          <span class="muted">{moment === undefined ? "" : formatTime(moment)}</span>
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
          show: ({ at }: { readonly at: number }) => given(line.values[at] ?? undefined, format) ?? "–",
        })),
      ]}
    />
  );
}

/** A button that saves rows, the first of which is the head. */
export function CsvButton(props: { readonly of: string; readonly rows: () => Parameters<typeof csvOf>[0] }) {
  const { of, rows } = props;
  return <Button kind="quiet" text="CSV" of={of} onRun={() => save(`${of}.csv`, csvOf(rows()))} />;
}

/** Times in UTC, values as they are; empty where they are unknown. */
function rowsOf({ seconds, lines }: ChartProps) {
  const rows = seconds.map((second, at) => [
    new Date(second * 1_000).toISOString(),
    ...lines.map(({ values }) => values[at] ?? undefined),
  ]);
  return [["time", ...lines.map(({ title }) => title)], ...rows];
}

/** What is drawn, on the ground of the page. */
async function picture(plot: uPlot | undefined, title: string): Promise<void> {
  if (plot === undefined) return;
  const { canvas } = plot.ctx;
  const drawn = new OffscreenCanvas(canvas.width, canvas.height);
  const context = drawn.getContext("2d");
  if (context === null) return;
  context.fillStyle = colourOf(plot.root, "--surface");
  context.fillRect(0, 0, drawn.width, drawn.height);
  context.drawImage(canvas, 0, 0);
  save(`${title}.png`, await drawn.convertToBlob());
}

/** Saves as a file of the browser. */
function save(name: string, content: BlobPart): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
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
  { title, seconds, lines, kind, format }: ChartProps,
  element: HTMLElement,
  hooks: NonNullable<uPlot.Options["hooks"]>,
): uPlot.Options {
  const drawn = kind === "lines" ? lines : lines.toReversed();
  const text = colourOf(element, "--muted");
  const grid = { stroke: colourOf(element, "--line"), width: 1 };
  const axis = { stroke: text, grid, ticks: { show: false }, font: `12px ${getComputedStyle(element).fontFamily}` };
  const isByDay = kind === "bars" && daysTo(seconds[1] ?? Number.POSITIVE_INFINITY, seconds[0]) >= 1;
  const bars = kind === "bars" ? paths.bars?.({ size: [0.7, 40] }) : undefined;
  return {
    width: Math.max(1, element.clientWidth),
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    // Charts of the same seconds share the cursor.
    cursor: { y: false, points: { show: kind === "lines" }, sync: { key: kind === "bars" ? title : "seconds" } },
    scales: {
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.05 : 1] },
      // Half a bar of room at both ends.
      ...(kind === "bars" && { x: { range: ({ data: [shown] }, low, high) => roomFor(shown, low, high) } }),
    },
    axes: [
      {
        ...axis,
        size: 32,
        ...(isByDay && {
          incrs: dayIncrs,
          // Below its bar, also where a day has an hour more or less.
          splits: ({ data: [shown] }, _axis, low, high, step) =>
            [...shown].filter((at) => at >= low && at <= high && daysTo(shown.at(-1) ?? 0, at) % daysTo(step) === 0),
        }),
        values: (_plot, moments, _axis, _space, step) => moments.map((at) => tickText(at, step)),
      },
      { ...axis, size: 72, incrs: steps, values: (_plot, values) => values.map((value) => format(value)) },
    ],
    series: [
      {},
      ...drawn.map(({ colour, title: label }): uPlot.Series => {
        const stroke = colourOf(element, colour);
        return {
          label,
          stroke,
          width: kind === "areas" ? 0 : 1.5,
          points: { show: kind === "lines" && seconds.length < mostPoints },
          spanGaps: false,
          ...(kind !== "lines" && { fill: stroke }),
          ...defined({ paths: bars }),
        };
      }),
    ],
    hooks,
  };
}

/** Half a bar more at both ends; a day around a single one. */
function roomFor(seconds: ArrayLike<number>, low: number, high: number): [low: number, high: number] {
  const first = seconds[0] ?? 0;
  const half = ((seconds[1] ?? first + 86_400) - first) / 2;
  // uPlot gives a single one the room of years.
  return [low - half, (seconds.length === 1 ? low : high) + half];
}

/** A day may have an hour more or less. */
const daysTo = (seconds: number, from = 0): number => Math.round((seconds - from) / 86_400);

/** At an axis whose marks are `step` seconds apart. */
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
