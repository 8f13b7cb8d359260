import { type Task, type ClassifiedTask, classifiedTasks } from "../api/types.ts";
import { type ClassifiedText, bucketCount, taskFeatures } from "./task-features.ts";
import { taskWeights } from "./task-weights.ts";

export interface TaskRequest extends ClassifiedText {
  readonly task?: Task;
  readonly images?: readonly string[];
  readonly audio?: readonly unknown[];
}

/**
 * The task of a request, and the reason. An explicit `task` wins; recordings mean transcription, images vision;
 * otherwise a trained classifier decides, with `general` where it isn't sure enough.
 */
export function classifyTask(request: TaskRequest): { readonly task: Task; readonly because: string } {
  if (request.task !== undefined) return { task: request.task, because: "set by the request" };
  const { images = [], audio = [] } = request;
  if (audio.length > 0) return { task: "transcription", because: "the request has recordings" };
  if (images.length > 0) return { task: "vision", because: "the request has images" };
  const { task, probability } = mostLikely(request);
  if (tasksOfTexts.has(task) && hasNoText(request)) return { task: "general", because: "too short for a clear task" };
  const percent = `${Math.floor(100 * probability)}%`;
  if (probability >= taskWeights.threshold) return { task, because: `looks like ${words[task]} (${percent} sure)` };
  return {
    task: "general",
    because: task === "general" ? "no clear task" : `no clear task: most like ${words[task]} (${percent})`,
  };
}

/** What is done to a text, which the prompt or a file has to contain. */
const tasksOfTexts: ReadonlySet<Task> = new Set<Task>([
  "translation",
  "summarization",
  "extraction",
  "transcription",
  "code_review",
  "debugging",
]);

/** Up to three words: a greeting, or an instruction without its text. The classifier learned from longer prompts. */
function hasNoText({ prompt, fileNames = [] }: ClassifiedText): boolean {
  if (prompt.length > 40 || fileNames.length > 0) return false;
  return (prompt.match(/\p{Ideographic}|[\p{L}\p{N}\p{M}'’-]+/gu) ?? []).length <= 3;
}

const words: Readonly<Record<ClassifiedTask, string>> = {
  code: "code",
  debugging: "debugging",
  code_review: "code review",
  reasoning: "reasoning",
  summarization: "summarization",
  extraction: "extraction",
  translation: "translation",
  question_answering: "question answering",
  transcription: "transcription",
  creative: "creative writing",
  fast: "a short answer",
  general: "a general request",
};

/** The class with the highest probability, whatever the threshold. */
function mostLikely(text: ClassifiedText): { readonly task: ClassifiedTask; readonly probability: number } {
  const { rowOf, rows } = (decoded ??= decode());
  const { buckets, values } = taskFeatures(text);
  const scores = new Float64Array(classifiedTasks.length);
  for (let at = 0; at < buckets.length; at += 1) {
    const row = rowOf[buckets[at] ?? 0] ?? -1;
    if (row < 0) continue;
    const value = (values[at] ?? 0) * taskWeights.scale;
    for (let index = 0; index < scores.length; index += 1) {
      scores[index] = (scores[index] ?? 0) + value * (rows[row * scores.length + index] ?? 0);
    }
  }
  let best = 0;
  for (let index = 1; index < scores.length; index += 1) {
    if ((scores[index] ?? 0) > (scores[best] ?? 0)) best = index;
  }
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - (scores[best] ?? 0));
  return { task: classifiedTasks[best] ?? "general", probability: 1 / sum };
}

/** For each bucket its row of weights, -1 for one without influence; a row has a weight for each class. */
interface Weights {
  readonly rowOf: Int16Array;
  readonly rows: Int8Array;
}

let decoded: Weights | undefined;

function decode(): Weights {
  const kept = Buffer.from(taskWeights.kept, "base64");
  const rowOf = new Int16Array(bucketCount).fill(-1);
  let row = 0;
  for (let bucket = 0; bucket < bucketCount; bucket += 1) {
    if (((kept[bucket >> 3] ?? 0) >> (bucket & 7)) & 1) {
      rowOf[bucket] = row;
      row += 1;
    }
  }
  const { steps } = taskWeights;
  const packed = Buffer.from(taskWeights.rows, "base64");
  const rows = new Int8Array(2 * packed.length);
  for (const [at, byte] of packed.entries()) {
    rows[2 * at] = steps[byte >> 4] ?? 0;
    rows[2 * at + 1] = steps[byte & 15] ?? 0;
  }
  return { rowOf, rows };
}
