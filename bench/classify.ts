import { type Labelled, splitHeldOut } from "../scripts/classifier/labelled.ts";
import { readSources } from "../scripts/classifier/sources.ts";
import { readSlots } from "../scripts/classifier/templates.ts";
import { classifyTask } from "../src/orchestrator/routing/classify.ts";
import { classifiedTasks } from "../src/orchestrator/api/types.ts";
import { taskPrompts } from "../test/orchestrator/routing/task-prompts.ts";
import type { Bench } from "./bench.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

type TaskRequest = Parameters<typeof classifyTask>[0];

const bars = { heldOut: 0.9, own: 0.85, ms: 0.2 };

export const classify: Bench = {
  name: "classify",
  summary: `guess the task of a prompt (bars: ${percent(bars.own)} of the repository's prompts, ${percent(bars.heldOut)} of held-out ones, ${bars.ms} ms)`,
  options: ["folder"],
  help: `--folder DIR: checkouts of the public repositories that scripts/classifier/sources.ts lists; a fifth of their
labelled prompts, by source task (a Natural Instructions task is wholly in it or not at all), was not trained on.
Rows are the true classes; columns what they were taken for, the repository's prompts before the held-out ones.`,
  runsSources: true,
  async run({ folder }) {
    const own = Object.entries(taskPrompts).flatMap(([task, written]) =>
      (written as readonly (string | TaskRequest)[]).map((each) => ({
        ...(typeof each === "string" ? { prompt: each } : each),
        expected: task,
      })),
    );
    const labelled = folder === undefined ? [] : await readSources(folder, await readSlots());
    const { heldOut } = splitHeldOut(labelled);
    const asked = heldOut.map(({ task, group: _group, ...request }: Labelled) => ({ ...request, expected: task }));
    const ofOwn = judge(own);
    const ofHeldOut = judge(asked);
    const speed = times([...own, ...asked]);
    const ms = rounded(median(speed), 3);

    const passed =
      ofOwn.accuracy >= bars.own && (asked.length === 0 || ofHeldOut.accuracy >= bars.heldOut) && ms <= bars.ms;
    const rows = [...confusion("own", ofOwn), ...(asked.length === 0 ? [] : confusion("held out", ofHeldOut))];
    const parts = [
      `${percent(ofOwn.accuracy)} of ${own.length} prompts of the repository (bar ${percent(bars.own)})`,
      asked.length === 0
        ? "no held-out prompts without --folder"
        : `${percent(ofHeldOut.accuracy)} of ${asked.length} held out of ${labelled.length} (bar ${percent(bars.heldOut)})`,
      `${ms} ms a prompt (median; 95%: ${rounded(percentile(speed, 95), 3)}; bar ${bars.ms}), ${rounded(median(times(longPrompts)), 3)} for 100,000 characters`,
    ];
    return {
      rows,
      totals: { own_accuracy: ofOwn.accuracy, held_out_accuracy: ofHeldOut.accuracy, held_out: asked.length, ms },
      verdict: parts.join("; "),
      passed,
    };
  },
};

interface Asked extends TaskRequest {
  readonly expected: string;
}

interface Judged {
  readonly accuracy: number;
  /** Of each class, what its prompts were taken for. */
  readonly taken: ReadonlyMap<string, readonly string[]>;
}

function judge(prompts: readonly Asked[]): Judged {
  const taken = new Map<string, string[]>(classifiedTasks.map((task) => [task, []]));
  let right = 0;
  for (const { expected, ...request } of prompts) {
    const { task } = classifyTask(request);
    taken.get(expected)?.push(task);
    if (task === expected) right += 1;
  }
  return { accuracy: prompts.length === 0 ? 0 : right / prompts.length, taken };
}

function confusion(set: string, { taken }: Judged): readonly Readonly<Record<string, string | number>>[] {
  return [...taken].map(([task, guesses]) => ({
    set,
    task,
    prompts: guesses.length,
    right: guesses.length === 0 ? "" : percent(guesses.filter((guess) => guess === task).length / guesses.length),
    ...Object.fromEntries(
      classifiedTasks.map((guess) => {
        const count = guesses.filter((each) => each === guess).length;
        return [guess.slice(0, 8), count === 0 ? "" : count];
      }),
    ),
  }));
}

const longPrompts: readonly Asked[] = Array.from({ length: 20 }, (_, index) => ({
  prompt: `Review this: ${`const value${index} = read(path, { encoding: "utf8" }) ?? 0;\n`.repeat(1800)}`.slice(
    0,
    100_000,
  ),
  expected: "code_review",
}));

/** Milliseconds a prompt, each the best of three. */
function times(prompts: readonly Asked[]): readonly number[] {
  for (const { expected: _expected, ...request } of prompts) classifyTask(request);
  return prompts.map(({ expected: _expected, ...request }) =>
    Math.min(
      ...Array.from({ length: 3 }, () => {
        const startedAt = performance.now();
        classifyTask(request);
        return performance.now() - startedAt;
      }),
    ),
  );
}

function percent(share: number): string {
  return `${rounded(100 * share, 1)}%`;
}
