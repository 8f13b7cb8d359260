import type { Eval, EvalCase } from "../api/facade-compare.ts";
import { valueKey } from "../checks/checks.ts";
import { totalCost } from "../routing/cost.ts";
import { counted, shortened } from "../util/format-bytes.ts";
import { defined } from "../util/values.ts";
import { median } from "./judge.ts";
import type { State } from "./eval-store.ts";

type Stored = State["evals"][number];
type Sample = State["answers"][number];

/** Whether an answer is right; without `isRight` it is not known. */
export interface Outcome {
  readonly isRight?: boolean;
  /** Why it is not right, or not known. */
  readonly why?: string;
}

const shownCharacters = 120;

/**
 * What is expected of an answer, without what a judge decides. `validates` says whether a text matches a schema, which
 * may take long: patterns are a part of one.
 */
export async function scoreOf(
  text: string,
  expects: EvalCase["expects"],
  validates: (text: string, schema: "json" | Readonly<Record<string, unknown>>) => Promise<Outcome>,
): Promise<Outcome> {
  let unknown: Outcome | undefined;
  for (const each of expects) {
    if (each.type === "judge") continue;
    const found = await holds(text, each, validates);
    if (found.isRight === undefined) unknown ??= found;
    else if (found.isRight === (each.isNot === true)) return { isRight: false, why: reason(each, found.why) };
  }
  return unknown ?? { isRight: true };
}

async function holds(
  text: string,
  { type, value }: EvalCase["expects"][number],
  validates: Parameters<typeof scoreOf>[2],
): Promise<Outcome> {
  switch (type) {
    case "equals":
      return { isRight: isSame(text, value) };
    case "contains":
      return { isRight: text.includes(String(value)) };
    case "icontains":
      return { isRight: text.toLowerCase().includes(String(value).toLowerCase()) };
    case "regex":
      return validates(JSON.stringify(text), { type: "string", pattern: String(value) });
    case "json":
      return validates(text, (value as Readonly<Record<string, unknown>> | undefined) ?? "json");
    case "judge":
      return {};
  }
}

/** The same value, in a code block or not. */
function isSame(text: string, expected: unknown): boolean {
  const [, fenced] = /^\s*```[\w-]*\n(.*?)\n?```\s*$/s.exec(text) ?? [];
  const key = valueKey(typeof expected === "string" ? expected : JSON.stringify(expected));
  return [text, ...(fenced === undefined ? [] : [fenced])].some((each) => valueKey(each) === key);
}

function reason({ type, value, isNot }: EvalCase["expects"][number], why?: string): string {
  if (type === "json" && isNot !== true) return why ?? "is not the JSON that is expected";
  const verb = { equals: ["is not", "is"], json: ["", "is JSON"], regex: ["does not match", "matches"] }[
    type as string
  ];
  const [lacks, has] = verb ?? ["does not contain", "contains"];
  const shown = type === "json" ? "" : ` ${shortened(JSON.stringify(value), shownCharacters)}`;
  return `${isNot === true ? has : lacks}${shown}`;
}

/** By what a case is decided: the weakest of its checks. */
export function decidedBy({ expects, format, check }: EvalCase): keyof Eval["decidedBy"] {
  if (expects.some(({ type }) => type === "judge")) return "judge";
  if (check !== undefined) return check === "quotes" ? check : "command";
  if (expects.some(({ type }) => type !== "json")) return "values";
  return format === undefined && expects.length === 0 ? "nothing" : "format";
}

/** 1.96 standard errors hold 95 %. */
const z = 1.96;

/** The 95 % interval of a share, by Wilson (1927): also for few cases, and for none or all right. */
export function wilson(right: number, total: number) {
  const share = right / total;
  const [square, scale] = [z * z, 1 + (z * z) / total];
  const middle = (share + square / (2 * total)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / total + square / (4 * total * total));
  return { share, low: right === 0 ? 0 : middle - half, high: right === total ? 1 : middle + half };
}

/**
 * How probable it is that two equally good models differ at least so much: the exact sign test on the cases that only one
 * of them got right (McNemar, 1947). Both were asked the same cases, which intervals of each don't use.
 */
export function signTest(wins: number, losses: number): number {
  const total = wins + losses;
  if (total === 0) return 1;
  let [term, tail] = [-total * Math.LN2, 0];
  for (let k = 0; k <= Math.min(wins, losses); k += 1) {
    tail += Math.exp(term);
    term += Math.log((total - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

/** For all pairs of models of a verdict together (Bonferroni). */
const level = 0.05;

/** Rows, verdicts and misses of the answers; of two to the same case the later one counts. */
export function summaryOf(
  head: Pick<Stored, "models" | "cases">,
  answers: readonly Sample[],
): Pick<Eval, "rows" | "verdicts" | "misses"> {
  const of = new Map(head.models.map((model) => [model, answers.filter((each) => each.model === model)]));
  const tasksOf = [...new Set(head.cases.map(({ task }) => task))].toSorted();
  const groups = [...tasksOf, ...(tasksOf.length > 1 ? (["all"] as const) : [])];
  const rows = groups.flatMap((task) =>
    head.models.map((model) => {
      const all = of.get(model) ?? [];
      const own = all.filter(({ case: at }) => task === "all" || head.cases[at]?.task === task);
      const memory = all.flatMap(({ memoryBytes }) => memoryBytes ?? []);
      const memoryBytes = memory.length === 0 ? undefined : Math.max(...memory);
      return { task, model, ...rowOf(own, head), ...defined({ memoryBytes }) };
    }),
  );
  const profiles = [...new Set(head.cases.map(({ profile }) => profile))].toSorted();
  const verdicts = [...profiles, ...(profiles.length > 1 ? [undefined] : [])].flatMap((profile) => {
    const isOf = (at: number): boolean => profile === undefined || head.cases[at]?.profile === profile;
    const scores = head.models.map((model) => ({
      model,
      right: new Map(
        (of.get(model) ?? []).flatMap(({ case: at, isRight }) =>
          isRight === undefined || !isOf(at) ? [] : [[at, isRight] as const],
        ),
      ),
    }));
    const verdict = verdictOf(scores);
    return verdict === undefined ? [] : [{ ...verdict, ...defined({ profile }) }];
  });
  const misses = answers
    .filter(({ isRight, why }) => isRight !== true && why !== undefined)
    .map(({ case: at, model, why = "", text }) => ({
      case: head.cases[at]?.name ?? String(at),
      model,
      why,
      ...defined({ text }),
    }));
  return { rows, verdicts, misses };
}

function rowOf(own: readonly Sample[], head: Pick<Stored, "cases">): Omit<Eval["rows"][number], "task" | "model"> {
  const scored = own.filter(({ isRight }) => isRight !== undefined);
  const right = scored.filter(({ isRight }) => isRight === true).length;
  const undecided = own.filter(({ case: at, isRight }) => isRight === undefined && head.cases[at]?.by !== "nothing");
  const quiet = own.filter(({ isContended }) => isContended !== true);
  const timed = quiet.length > 0 ? quiet : own;
  const ms = median(timed.flatMap((each) => each.ms ?? []));
  return {
    right,
    scored: scored.length,
    failed: own.filter(({ text }) => text === undefined).length,
    undecided: undecided.length,
    ...defined({
      quality: scored.length === 0 ? undefined : wilson(right, scored.length),
      seconds: ms === undefined ? undefined : ms / 1_000,
      tokensPerSecond: median(
        timed.flatMap(({ tokensPerSecond = 0 }) => (tokensPerSecond > 0 ? [tokensPerSecond] : [])),
      ),
      cost: totalCost(own.flatMap(({ cost }) => cost ?? [])),
    }),
    ...(quiet.length === 0 && own.length > 0 && { isContended: true }),
  };
}

/** Which model is better than all others, on the cases that both of a pair were asked. */
export function verdictOf(
  models: readonly { readonly model: string; readonly right: ReadonlyMap<number, boolean> }[],
): { readonly winner?: string; readonly text: string } | undefined {
  const asked = models.filter(({ right }) => right.size > 0);
  if (models.length < 2 || asked.length === 0) return undefined;
  if (asked.length === 1) return { text: `only ${asked[0]?.model} was scored: there is nothing to compare it with` };
  // Also those that are not shown below: which one is the best is seen from the answers.
  const pairs = (asked.length * (asked.length - 1)) / 2;
  const ranked = asked.map(({ model, right }) => {
    const others = asked.filter((other) => other.model !== model);
    const compared = others.map((other) => {
      const both = [...right].filter(([at]) => other.right.has(at));
      const wins = both.filter(([at, isRight]) => isRight && other.right.get(at) === false).length;
      const losses = both.filter(([at, isRight]) => !isRight && other.right.get(at) === true).length;
      const p = signTest(wins, losses);
      const isBetter = wins > losses && p < level / pairs;
      return { model, other: other.model, cases: both.length, wins, losses, p, isBetter };
    });
    const share = [...right.values()].filter(Boolean).length / right.size;
    return { model, share, compared, worse: compared.filter(({ isBetter }) => isBetter) };
  });
  // A share alone would put one that answered a single case before all others.
  const [best] = ranked.toSorted((a, b) => b.worse.length - a.worse.length || b.share - a.share);
  if (best === undefined) return undefined;
  const over = ranked.flatMap(({ worse }) => worse.filter(({ other }) => other === best.model));
  const isBetter = [...best.worse, ...over].map(
    ({ model, other, wins, losses, p }) =>
      `${model} is better than ${other}: ${wins} cases that only it got right, ${losses} that only ${other} did (p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`})`,
  );
  const equal = best.compared.filter((pair) => !pair.isBetter && !over.some(({ model }) => model === pair.other));
  if (best.worse.length === best.compared.length) return { winner: best.model, text: isBetter.join("; ") };
  const cases = Math.min(...equal.map((pair) => pair.cases));
  const none = `no difference can be seen between ${best.model} and ${equal.map(({ other }) => other).join(", or ")} with ${counted(cases, "case")}`;
  return { text: [...(equal.length === 0 ? [] : [none]), ...isBetter].join("; ") };
}
