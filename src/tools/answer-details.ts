import * as z from "zod";
import {
  type CheckResult,
  type GroundedValues,
  type PartsRead,
  statementStatuses,
} from "../orchestrator/api/facade-answers.ts";
import type { RouteExplanation, ScoreTerms, OptionOrigin } from "../orchestrator/api/facade-route.ts";
import { argumentName, counted, formatDuration } from "../orchestrator/util/format-bytes.ts";
import { asLine, round } from "./render.ts";
import { defined } from "../orchestrator/util/values.ts";

const routeOutput = z.object({
  task: z.string(),
  because: z.string(),
  profile: z.string(),
  fallback: z.string().optional(),
  considered: z.array(
    z.object({
      model: z.string(),
      engine: z.string(),
      rejected: z.string().optional(),
      expected_seconds: z.number().optional(),
      terms: z.string().optional(),
    }),
  ),
  options: z.array(z.string()).optional(),
  attempts: z.array(z.object({ model: z.string(), engine: z.string(), outcome: z.string() })),
});

export const checkOutput = z.object({
  kind: z.string(),
  statements: z.array(
    z.object({
      text: z.string(),
      status: z.enum(statementStatuses),
      where: z.string().optional(),
      line: z.string().optional(),
    }),
  ),
  problem: z.string().optional(),
  votes: z.object({ equal: z.number(), total: z.number(), others: z.array(z.string()).optional() }).optional(),
});

export const partsReadOutput = z.object({
  total: z.number(),
  read: z.array(z.string()).optional(),
  share: z.number().optional(),
  missing: z.array(z.string()).optional(),
});

export const queryOutput = z.object({
  language: z.literal("sql"),
  text: z.string(),
  rows: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.null()]))),
  total: z.number().optional(),
});

/** What says how an answer came about. */
export const explainedOutput = z.object({
  reason: z.string(),
  route: routeOutput.optional(),
  timing: z
    .object({ queue_ms: z.number(), load_ms: z.number(), first_token_ms: z.number(), cached: z.string().optional() })
    .optional(),
  memory_used: z.object({ keys: z.array(z.string()), tokens: z.number() }).optional(),
  values: z.object({ where: z.record(z.string(), z.string()), not_judged: z.array(z.string()).optional() }).optional(),
});
type Explained = z.output<typeof explainedOutput>;

/** Number of models in the text; the structured form has all. */
const shownModels = 8;

/** Where the values of a JSON answer stand. */
export function valuesData({ where, notJudged }: GroundedValues) {
  return { where: { ...where }, ...(notJudged.length > 0 && { not_judged: [...notJudged] }) };
}

/** The lines that `explain` adds, without which there is no `route`. */
export function explainLines(answered: Explained): readonly string[] {
  const { reason, timing, memory_used, values } = answered;
  const lines = [`reason: ${asLine(reason)}`, ...routeLines(answered)];
  if (timing !== undefined) {
    const { queue_ms, load_ms, first_token_ms, cached } = timing;
    lines.push(
      `queued ${formatDuration(queue_ms)}, loaded in ${formatDuration(load_ms)}, ` +
        `first token after ${formatDuration(first_token_ms)}${cached === undefined ? "" : `; ${cached}`}`,
    );
  }
  if (values !== undefined) {
    const places = Object.entries(values.where).map(([pointer, place]) => `${pointer || "value"} ${place}`);
    if (places.length > 0) lines.push(`where: ${places.map(asLine).join(", ")}`);
    if (values.not_judged !== undefined) lines.push(`not judged: ${values.not_judged.map(asLine).join(", ")}`);
  }
  if (memory_used !== undefined) {
    lines.push(`remembered: ${memory_used.keys.map(asLine).join(", ")} (${counted(memory_used.tokens, "token")})`);
  }
  return lines;
}

export function routeLines({ route }: Explained): readonly string[] {
  if (route === undefined) return [];
  const { task, because, profile, fallback, considered, options = [], attempts } = route;
  const more = considered.length - shownModels;
  const tried = attempts.map(({ model, engine, outcome }) => `${model} on ${engine} (${asLine(outcome)})`);
  return [
    `task ${task}: ${asLine(because)}; profile ${profile}${fallback === undefined ? "" : `, served by ${fallback}`}`,
    "considered:",
    ...considered.slice(0, shownModels).map(consideredLine),
    ...(more > 0 ? [`${more} more`] : []),
    ...(options.length > 0 ? [`options: ${options.map(asLine).join(", ")}`] : []),
    // A single attempt is the answer itself.
    ...(tried.length > 1 ? [`attempts: ${tried.join("; ")}`] : []),
  ];
}

function consideredLine(
  { model, engine, rejected, expected_seconds, terms }: z.output<typeof routeOutput>["considered"][number],
  index: number,
): string {
  if (rejected !== undefined) return `- ${model} on ${engine}: ${asLine(rejected)}`;
  const [expected, ranked] = [
    expected_seconds === undefined ? "" : `: ${expected_seconds} s`,
    terms === undefined ? "" : ` (${terms})`,
  ];
  return `${index + 1}. ${model} on ${engine}${expected}${ranked}`;
}

export function checkData({ kind, statements, problem, votes }: CheckResult): z.input<typeof checkOutput> {
  const others = votes?.others.map(({ text, count }) => (count === 1 ? text : `${text} (${count})`));
  return defined({
    kind,
    statements: [...statements],
    problem,
    votes:
      votes && defined({ equal: votes.equal, total: votes.total, others: others?.length === 0 ? undefined : others }),
  });
}

export function partsReadData({ total, read, share, missing }: PartsRead): z.input<typeof partsReadOutput> {
  const absent = missing?.map(({ part, reason }) => `${part}: ${reason}`);
  return defined({ total, read: read && [...read], share, missing: absent });
}

export function routeData(route: RouteExplanation): z.input<typeof routeOutput> {
  return defined({
    task: route.task,
    because: route.because,
    profile: route.profile,
    fallback: route.fallback,
    considered: route.considered.map(({ model, engine, rejected, expectedSeconds, terms }, index) =>
      defined({
        model,
        engine,
        rejected,
        expected_seconds: expectedSeconds === undefined ? undefined : seconds(expectedSeconds),
        terms: terms === undefined || index >= shownModels ? undefined : termsText(terms),
      }),
    ),
    options: route.options.length === 0 ? undefined : route.options.map(optionText),
    attempts: route.attempts.map(({ model, engine, outcome }) => ({ model, engine, outcome })),
  });
}

/** `max_tokens 100 (models.kimi*)` */
function optionText({ name, value, from }: OptionOrigin): string {
  return `${argumentName(name)}${value === undefined ? "" : ` ${value}`} (${from})`;
}

/** `loaded, of the profile, quality 0.82 ±0.05 of 31 answers, merit 4.1, 7.2 billion parameters; load 0 + prompt 1 + answer 9 s, measured` */
function termsText(terms: ScoreTerms): string {
  const { step, profile, standIn, room, quality, merit, parameters } = terms;
  const ranks = [
    stepWords[step],
    ...(step === room ? [] : [roomWords[room]]),
    ...(profile === "none" ? [] : [profile === "own" ? "of the profile" : "of its fallback"]),
    ...(standIn === undefined
      ? []
      : [standIn === "family" ? "of the preferred family" : "preferred in another quantization"]),
    ...(quality === undefined ? [] : [qualityText(quality)]),
    `merit ${merit.toFixed(1)}`,
    ...(parameters > 0 ? [`${Number(parameters.toPrecision(2))} billion parameters`] : []),
  ];
  const parts = `load ${seconds(terms.loadSeconds)} + prompt ${seconds(terms.promptSeconds)} + answer ${seconds(terms.answerSeconds)} s`;
  return `${ranks.join(", ")}; ${parts}, ${terms.isMeasured ? "measured" : "from its size"}`;
}

function qualityText({ mean, margin, answers }: NonNullable<ScoreTerms["quality"]>): string {
  // Hints count as less than one answer.
  return `quality ${round(mean, 2)} ±${round(margin, 2)} of ${counted(Math.max(1, Math.round(answers)), "answer")}`;
}

const stepWords = {
  preferred: "preferred",
  listed: "listed by the profile",
  loaded: "loaded",
  own: "matches",
  fallback: "fallback",
  able: "has what the task needs",
  shortWindow: "short window",
  remote: "remote",
} as const;
const roomWords = { loaded: "loaded", free: "fits", afterUnloading: "fits after unloading" } as const;

/** Expectations need no more digits. */
function seconds(value: number): number {
  return round(value, value < 10 ? 1 : 0);
}
