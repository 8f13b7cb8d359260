import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatDuration, formatAmount, reliabilityLines } from "../../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { hanging, styledError } from "../terminal/terminal-text.ts";

export type Generated = ToolAnswers["route_and_generate"];

/** Notes on an answer for stderr: always what differs from the request; the summary in a terminal or with `--explain`. */
export function noteLines(answer: Generated, isExplained: boolean, io: CommandIo): string {
  const lines = [
    ...notesOn(answer, "--max-tokens sets the limit"),
    ...(isExplained ? explanation(answer) : io.errorColumns === undefined ? [] : [summary(answer)]),
  ];
  return lines
    .map((line) => hangingLine(line, io.errorColumns))
    .map((text) => `${styledError(text, io)}\n`)
    .join("");
}

/**
 * Notes on an answer: that it is empty or truncated, what differs from the request, what its check found, which parts of its
 * files were read, and the query that was run on their rows.
 */
export function notesOn(
  answer: Pick<Generated, "text" | "finish_reason" | "completion_tokens" | "notes" | "check" | "parts" | "query">,
  howToRaise: string,
): readonly string[] {
  const { text = "", finish_reason, completion_tokens, notes = [] } = answer;
  const empty = text.trim() === "" ? ["the answer is empty"] : [];
  const cut = `cut off${completion_tokens === undefined ? "" : ` after ${counted(completion_tokens, "token")}`}; ${howToRaise}`;
  return [...empty, ...(finish_reason === "length" ? [cut] : []), ...notes, ...reliabilityLines(answer).map(oneLine)];
}

/** Whether scripts must not take the answer for granted: its check has a problem, or parts of its files are missing. */
export function isUnreliable({ check, parts }: Pick<Generated, "check" | "parts">): boolean {
  return check?.problem !== undefined || (parts?.missing ?? []).length > 0;
}

/** `smollm2:135m, 41 tokens/s: smallest that fits` */
function summary({ model, tokens_per_second, cost, reason }: Generated): string {
  const speed = tokens_per_second === undefined ? "" : `, ${tokens_per_second} tokens/s`;
  return `${model}${speed}${cost === undefined ? "" : `, ${formatAmount(cost.amount, cost.currency)}`}: ${reason}`;
}

function profileText({ profile, fallback }: NonNullable<Generated["route"]>): string {
  return `profile ${profile}${fallback === undefined ? "" : `, served by ${fallback}`}`;
}

function explanation(answer: Generated): readonly string[] {
  const { route, timing, memory_used } = answer;
  return [
    summary(answer),
    ...(route === undefined ? [] : routeLines(route)),
    ...(route?.attempts ?? []).map(({ model, outcome }) => `  tried ${model}: ${outcome}`),
    ...(timing === undefined
      ? []
      : [
          `queued ${formatDuration(timing.queue_ms)}, loaded in ${formatDuration(timing.load_ms)}, ` +
            `first token after ${formatDuration(timing.first_token_ms)}${timing.cached === undefined ? "" : `; ${timing.cached}`}`,
        ]),
    ...(memory_used === undefined
      ? []
      : [`memories in the prompt: ${memory_used.keys.join(", ")} (${counted(memory_used.tokens, "token")})`]),
  ];
}

/** What would happen, and how the models rank. */
export function renderDryRun({ model, engine, reason, plan, notes = [], route }: Generated, io: CommandIo): string {
  const unloaded = (plan?.evict ?? []).map(({ name }) => name);
  const unloads = unloaded.length === 0 ? "" : `; it would unload ${unloaded.join(", ")}`;
  const lines = [
    `${model} on ${engine} would answer: ${reason}${unloads}`,
    ...notes,
    ...(route === undefined ? [] : routeLines(route)),
  ];
  return lines.map((line) => `${hangingLine(line, io.columns)}\n`).join("");
}

/** Number of models that are listed; `--json` has all. */
const listedModels = 8;

function routeLines(route: NonNullable<Generated["route"]>): readonly string[] {
  const { considered, options = [] } = route;
  const more = considered.length - listedModels;
  return [
    `task ${route.task}: ${route.because}; ${profileText(route)}`,
    ...considered.slice(0, listedModels).map(({ model, engine, rejected, expected_seconds, terms = "" }, index) => {
      const isElsewhere = considered.some((other) => other.model === model && other.engine !== engine);
      const name = isElsewhere ? `${model} on ${engine}` : model;
      if (rejected !== undefined) return `  ${name}: ${rejected}`;
      return `  ${index + 1}. ${name}${expected_seconds === undefined ? "" : `: ${expected_seconds} s, ${terms}`}`;
    }),
    ...(more > 0 ? [`  ${more} more, which --json lists`] : []),
    ...(options.length > 0 ? [`options: ${options.join(", ")}`] : []),
  ];
}

/** Wrapped; a line that belongs to the one before it begins with two spaces. */
function hangingLine(line: string, columns: number | undefined): string {
  return hanging(line.startsWith("  ") ? "  " : "", line.trimStart(), { columns });
}
