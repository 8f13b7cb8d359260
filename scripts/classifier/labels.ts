/**
 * Classes given by hand to prompts of sources without classes of ours: numbers of lines, from 0. Prompts that fit none, or
 * several, are left out.
 */
import type { ClassifiedTask } from "../../src/orchestrator/api/types.ts";

type Labels = Partial<Readonly<Record<ClassifiedTask, string>>>;

/** `data/seed_tasks.jsonl` of yizhongw/self-instruct. */
export const seedLabels: Labels = {
  general: `0 5 9 10 11 12 17 18 23 24 32 34 40 52 54 70 71 73 80 81 87 91 97 98 99 100 116 118 121 127 129 130 131 133
    142 145`,
  creative: "6 8 20 29 47 55 56 57 59 63 76 79 84 93 112 123 124",
  question_answering: "48 88 107 143",
  reasoning: "22 25 35 45 83 109 136 144 155",
  summarization: "62 64 137",
  extraction: "39 85",
  translation: "101 117",
  code: "28 31 37 41 50 69 72 138 139 140 141",
  fast: "150 160 164",
};

/** Each numbered line with its class. */
export function labelled(labels: Labels): ReadonlyMap<number, ClassifiedTask> {
  return new Map(
    Object.entries(labels).flatMap(([task, numbers]) =>
      numbers.split(/\s+/).map((number) => [Number(number), task as ClassifiedTask] as const),
    ),
  );
}
