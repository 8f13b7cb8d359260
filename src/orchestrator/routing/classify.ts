import { type Task, type ClassifiedTask, classifiedTasks } from "../api/types.ts";
import taskWeights from "./task-weights.json" with { type: "json" };

/**
 * The task of a request, and the reason. An explicit `task` wins; recordings mean transcription, images vision;
 * otherwise a trained classifier decides, with `general` where it isn't sure enough.
 */
export function classifyTask(
  request: ClassifiedText & {
    readonly task?: Task;
    readonly images?: readonly string[];
    readonly audio?: readonly unknown[];
  },
): { readonly task: Task; readonly because: string } {
  if (request.task !== undefined) return { task: request.task, because: "set by the request" };
  const { images = [], audio = [] } = request;
  if (audio.length > 0) return { task: "transcription", because: "the request has recordings" };
  if (images.length > 0) return { task: "vision", because: "the request has images" };
  const { task, probability } = mostLikely(request);
  if (tasksOfTexts.has(task) && hasNoText(request)) return { task: "general", because: "too short for a clear task" };
  const percent = `${Math.floor(100 * probability)}%`;
  if (probability >= taskWeights.threshold) return { task, because: `looks like ${wordsOf(task)} (${percent} sure)` };
  return {
    task: "general",
    because: task === "general" ? "no clear task" : `no clear task: most like ${wordsOf(task)} (${percent})`,
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

/** Where the name of the task does not say it. */
const otherWords: Readonly<Partial<Record<ClassifiedTask, string>>> = {
  creative: "creative writing",
  fast: "a short answer",
  general: "a general request",
};
const wordsOf = (task: ClassifiedTask): string => otherWords[task] ?? task.replaceAll("_", " ");

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

/**
 * A prompt whose class is less probable than `threshold` is `general`; `scale` is what one step of a weight is worth.
 * Base64: `kept` has a bit for each bucket that has a row, `rows` four bits for each class, which are indexes of `steps`.
 */
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

/** What the classifier looks at. */
interface ClassifiedText {
  readonly prompt: string;
  readonly fileNames?: readonly string[];
  /** Whether the answer has to follow a format, such as a JSON schema. */
  readonly hasFormat?: boolean;
}

/** Features are hashed to one of these; a power of two. */
export const bucketCount = 65_536;

/** How much of the beginning and end of a long prompt is examined, in characters: instructions are there. */
const examinedCharacters = 4000;

/** How much of the beginning and end counts as instruction; what is between is probably pasted. */
const instructionCharacters = 300;

/** Kinds of features; each has hashes of its own. */
const kindHash = (kind: number): number => Math.imul(kind, 0x9e3779b1);
const word = kindHash(0x11);
const wordPair = kindHash(0x22);
const part = kindHash(0x33);
const pasted = kindHash(0x44);
const sign = kindHash(0x55);

const code =
  /\.(?:[cm]?[jt]sx?|py|ipynb|rb|go|rs|java|kt|swift|c|cc|cpp|h|hpp|cs|php|sh|bash|ps1|sql|lua|r|scala|dart|ex|exs|hs|vue|svelte|css|html?|tf|gradle|cmake)$|(?:^|[/\\])(?:dockerfile|makefile)$/i;

const kindsOfFiles: readonly (readonly [kind: string, pattern: RegExp])[] = [
  ["code", code],
  ["audio", /\.(?:mp3|wav|m4a|ogg|oga|opus|flac|aac|wma|amr|aiff?)$/i],
  ["video", /\.(?:mp4|mov|mkv|webm|avi)$/i],
  ["diff", /\.(?:diff|patch)$/i],
  ["log", /\.(?:log|trace|stacktrace|dmp)$/i],
  ["data", /\.(?:json|jsonl|csv|tsv|xml|ya?ml|toml|ini|xlsx?|parquet)$/i],
  ["prose", /\.(?:md|markdown|txt|rst|tex|pdf|docx?|odt|rtf|epub|eml|pptx?)$/i],
];

/**
 * The features of a request, in parallel arrays: which buckets are on, and how much. Takes bounded time, however long the
 * prompt is.
 */
export function taskFeatures({ prompt, fileNames = [], hasFormat = false }: ClassifiedText) {
  const text = ends(prompt, examinedCharacters).toLowerCase();
  const { request, material } = separated(text);
  const words: number[] = [];
  const parts: number[] = [];
  const body: number[] = [];
  if (request.length <= 2 * instructionCharacters) {
    addInstruction(request, words, parts);
  } else {
    addInstruction(request.slice(0, instructionCharacters), words, parts);
    addInstruction(request.slice(-instructionCharacters), words, parts);
    addBody(request.slice(instructionCharacters, -instructionCharacters), body);
  }
  if (material !== "") addBody(material, body);
  const signs: number[] = [];
  for (const name of signsOf(prompt, text, fileNames, { hasFormat, hasMaterial: material !== "" }))
    signs.push(hashOf(name) ^ sign);

  const buckets: number[] = [];
  const values: number[] = [];
  for (const [hashes, weight] of [
    [words, 1],
    [parts, 1],
    [body, 0.5],
    [signs, 0.3],
  ] as const) {
    const from = buckets.length;
    addBuckets(buckets, hashes);
    // One sign says as much with others beside it as alone.
    const value = hashes === signs ? weight : weight / Math.sqrt(buckets.length - from);
    while (values.length < buckets.length) values.push(value);
  }
  return { buckets, values };
}

function addBody(text: string, body: number[]): void {
  for (const { hash } of tokens(text)) body.push(hash ^ pasted);
}

/** A line of code, of a diff, of a table, of a log or of data: what a request is about, not what it asks. */
const materialLine = new RegExp(
  [
    String.raw`[;{}]\s*(?://.*)?$`,
    String.raw`^\s*(?:[})\]]|//|/\*|\*/|#include|import |from \S+ import|export |def |class \S+[:({]|func |fn |pub |const |let |var |return\b|public |private |static |@\w+|elif |else:|except|try:|for .*:$|if .*:$|while .*:$|with .*:$)`,
    String.raw`^\s*(?:[-+]{3} |@@ |diff --git|[-+][ \t]{2,})`,
    String.raw`^\s*(?:at \S+[ (]|traceback|file "|caused by|\w*(?:error|exception):)`,
    String.raw`\|.*\|`,
    String.raw`^\s*(?:\[?\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d)`,
    String.raw`^\s*["'<]?[\w$.-]+["']?\s*[:=]\s*["'\[{\d]`,
    String.raw`^\s*(?:select|insert|update|delete|create table|alter table|from|where|join|group by|order by)\b.*(?:[*=,()]|\bfrom\b)`,
    String.raw`^[^,\s][^,]*(?:,[^,\s][^,]*){3,}$`,
  ].join("|"),
);
/** A longer line is a text that was pasted, not a request. */
const longLine = 350;

/** The lines that ask, and those that were pasted. Without the former, all lines ask. */
function separated(text: string): { readonly request: string; readonly material: string } {
  if (!text.includes("\n")) return { request: text, material: "" };
  const request: string[] = [];
  const material: string[] = [];
  let isFenced = false;
  for (const line of text.split("\n")) {
    const isFence = line.trimStart().startsWith("```");
    if (isFence) isFenced = !isFenced;
    else if (isFenced || line.length > longLine || materialLine.test(line)) material.push(line);
    else request.push(line);
  }
  return request.every((line) => line.trim() === "")
    ? { request: text, material: "" }
    : { request: request.join("\n"), material: material.join("\n") };
}

/** Marks the buckets of one group; all are clear between two groups. */
const isIn = new Uint8Array(bucketCount);

/** Adds distinct buckets. Small steps are written out in this file: they are made for each character of a prompt. */
function addBuckets(buckets: number[], hashes: readonly number[]): void {
  const from = buckets.length;
  for (const hash of hashes) {
    let mixed = Math.imul(hash, 0x85ebca6b);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0xc2b2ae35);
    const bucket = (mixed ^ (mixed >>> 16)) & (bucketCount - 1);
    if (isIn[bucket] === 1) continue;
    isIn[bucket] = 1;
    buckets.push(bucket);
  }
  for (let at = from; at < buckets.length; at += 1) isIn[buckets[at] ?? 0] = 0;
}

/** Words, pairs of them, and runs of three to five characters of a word, with its borders. */
function addInstruction(text: string, words: number[], parts: number[]): void {
  let before = 0;
  for (const { hash, start, end } of tokens(text)) {
    words.push(hash ^ word, Math.imul(before, 31) ^ hash ^ wordPair);
    before = hash;
    if (end - start < 2) continue;
    for (let from = start - 1; from < end - 1; from += 1) {
      let run = offsetBasis;
      for (let at = from; at <= end && at < from + 5; at += 1) {
        run = Math.imul(run ^ (at < start || at >= end ? border : text.charCodeAt(at)), prime);
        if (at >= from + 2) parts.push(run ^ part);
      }
    }
  }
  words.push(Math.imul(before, 31) ^ wordPair);
}

interface Token {
  readonly hash: number;
  readonly start: number;
  readonly end: number;
}

/** Words, numbers (all alike), runs of one punctuation mark, and line breaks; each Chinese or Japanese character alone. */
function tokens(text: string): readonly Token[] {
  const found: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const start = at;
    const first = text.charCodeAt(at);
    const kind = asciiKinds[first] ?? kindOf(first);
    at += 1;
    if (kind === "space") continue;
    let hash = Math.imul(offsetBasis ^ (kind === "digit" ? zero : first), prime);
    if (kind !== "ideograph") {
      while (at < text.length) {
        const next = text.charCodeAt(at);
        if (kind === "mark" || kind === "line" ? next !== first : (asciiKinds[next] ?? kindOf(next)) !== kind) break;
        if (kind === "letter" || (kind === "mark" && at - start < 3)) hash = Math.imul(hash ^ next, prime);
        at += 1;
      }
    }
    found.push({ hash, start, end: kind === "letter" ? at : start });
  }
  return found;
}

type Kind = "letter" | "digit" | "space" | "line" | "mark" | "ideograph";

function kindOf(character: number): Kind {
  if (character >= 97 && character <= 122) return "letter";
  if (character === 32 || character === 9 || character === 13 || character === 0xa0) return "space";
  if (character === 10) return "line";
  if (character >= 48 && character <= 57) return "digit";
  if (character === 95) return "letter";
  if (character < 0xaa) return "mark";
  if (character < 0xc0) return character === 0xaa || character === 0xba ? "letter" : "mark";
  if (character >= 0x2000 && character < 0x2e80) return "mark";
  if (character >= 0x3000 && character < 0x3040) return "mark";
  return character >= 0x2e80 && character < 0xac00 ? "ideograph" : "letter";
}

const asciiKinds: readonly Kind[] = Array.from({ length: 0x80 }, (_unused, character) => kindOf(character));

function signsOf(
  prompt: string,
  text: string,
  fileNames: readonly string[],
  { hasFormat, hasMaterial }: { readonly hasFormat: boolean; readonly hasMaterial: boolean },
): readonly string[] {
  const signs = ["always", `length ${Math.min(14, Math.floor(Math.log2(prompt.length + 1)))}`];
  if (text.includes("```")) signs.push("code block");
  if (hasMaterial) signs.push("material");
  if (text.trimEnd().endsWith("?")) signs.push("question");
  if (text.includes("\n")) signs.push("lines");
  if (hasFormat) signs.push("format");
  if (fileNames.length > 0) signs.push("files");
  for (const name of fileNames) {
    signs.push(`file ${kindsOfFiles.find(([, pattern]) => pattern.test(name))?.[0] ?? "other"}`);
  }
  return signs;
}

/** The first and last `count` characters. */
function ends(text: string, count: number): string {
  return text.length <= 2 * count ? text : `${text.slice(0, count)}\n${text.slice(-count)}`;
}

// FNV-1a, of UTF-16 code units.
const offsetBasis = 0x811c9dc5;
const prime = 0x01000193;
const border = 2;
const zero = 48;

function hashOf(text: string): number {
  let hash = offsetBasis;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), prime);
  return hash;
}
