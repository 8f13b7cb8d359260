import { classifyTask } from "../../src/orchestrator/routing/classify.ts";
import type { Bench } from "../bench.ts";
import { median, rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Prompt {
  readonly prompt: string;
  readonly kind: string;
  readonly task: string;
  /** Other right tasks and profiles. */
  readonly alsoTasks?: readonly string[];
  readonly profile: string;
  readonly also?: readonly string[];
  /** The same request stands in several wrappers, `plain` among them. */
  readonly base?: string;
  readonly wrapper?: string;
  /** How many pictures come with it; a task of its own, which nothing has to guess. */
  readonly images?: number;
}

const bars = { strict: 0.85, wrongProfile: 0.06, lost: 0.1, ms: 0.2 };
const profileOf: Readonly<Record<string, string>> = {
  code: "code",
  debugging: "code",
  code_review: "code",
  reasoning: "reasoning",
  creative: "creative",
  fast: "fast",
};

const share = (part: number, of: number): number => (of === 0 ? 0 : rounded(part / of, 3));

export const tasks: Bench = {
  name: "tasks",
  summary: `the task of a prompt: right strictly (bar ${bars.strict}), taken for a profile that suits worse than general (${bars.wrongProfile}), lost by the worst wrapper (${bars.lost})`,
  runsSources: true,
  async run() {
    const rows = [];
    for (const half of halves) {
      const prompts = (await readHalf<Prompt>("prompts", half)).filter(({ images }) => images === undefined);
      const judged = prompts.map((each) => {
        const fromMs = performance.now();
        const { task } = classifyTask({ prompt: each.prompt });
        const ms = performance.now() - fromMs;
        const profile = profileOf[task] ?? "general";
        return {
          ...each,
          ms,
          isRight: task === each.task,
          isAlsoRight: task === each.task || each.alsoTasks?.includes(task) === true,
          isWrongProfile: ![each.profile, "general", ...(each.also ?? [])].includes(profile),
        };
      });
      const plain = judged.filter(({ wrapper }) => wrapper === "plain");
      const wrappers = [...new Set(judged.flatMap(({ wrapper }) => wrapper ?? []))].filter((name) => name !== "plain");
      // Against the same requests without a wrapper.
      const lost = wrappers.map((name) => {
        const own = judged.filter(({ wrapper }) => wrapper === name);
        const bases = new Set(own.map(({ base }) => base));
        const same = plain.filter(({ base }) => bases.has(base));
        return { name, points: shareOf(same) - shareOf(own) };
      });
      const worst = lost.toSorted((a, b) => b.points - a.points)[0];
      rows.push({
        half,
        prompts: prompts.length,
        strict: shareOf(judged),
        also: share(judged.filter(({ isAlsoRight }) => isAlsoRight).length, judged.length),
        wrong_profile: share(judged.filter(({ isWrongProfile }) => isWrongProfile).length, judged.length),
        lost: rounded(worst?.points ?? 0, 3),
        worst_wrapper: worst?.name ?? "",
        ms: rounded(median(judged.map(({ ms }) => ms)), 3),
      });
    }
    const last = rows.at(-1);
    const passed =
      last !== undefined &&
      last.strict >= bars.strict &&
      last.wrong_profile <= bars.wrongProfile &&
      last.lost <= bars.lost &&
      last.ms <= bars.ms;
    return { rows, passed };
  },
};

const shareOf = (judged: readonly { readonly isRight: boolean }[]): number =>
  share(judged.filter(({ isRight }) => isRight).length, judged.length);
