import { type CallerContext, type Capability, type Profile, type Task, taskAliases, tasks } from "./types.ts";

/** One row of the model database. */
export interface DatabaseEntry {
  /** Glob over model names: `llama3.1:*`. */
  readonly pattern: string;
  readonly family: string;
  readonly contextTokens: number;
  readonly outputTokens?: number;
  readonly capabilities: readonly Capability[];
  /** What it was made for: profiles, or a task. */
  readonly profiles: readonly string[];
  /** `2024-07`; absent: unknown. */
  readonly released?: string;
  /** Source of the figures. */
  readonly source: string;
}

/** A model that a choice considered. */
interface ConsideredModel {
  readonly model: string;
  readonly engine: string;
  /** Why it was excluded; absent for candidates. */
  readonly rejected?: string;
  /** Expected seconds to the end of the answer; absent for excluded models. */
  readonly expectedSeconds?: number;
  readonly terms?: ScoreTerms;
}

/** Expected seconds to the end of an answer, and their parts. */
export interface ExpectedSeconds {
  readonly loadSeconds: number;
  readonly promptSeconds: number;
  readonly answerSeconds: number;
  readonly totalSeconds: number;
  /** The load and the speed of the answer were measured here; otherwise one of them follows from the size. */
  readonly isMeasured: boolean;
}

/** What ranks a model (`rank`), most important first. */
export interface ScoreTerms extends Omit<ExpectedSeconds, "totalSeconds"> {
  readonly step: "preferred" | "listed" | "loaded" | "own" | "fallback" | "able" | "shortWindow" | "remote";
  /** How it matches the profile. */
  readonly profile: "own" | "fallback" | "none";
  /** What it has in common with a preferred model that does not fit. */
  readonly standIn?: "quantization" | "family";
  readonly room: "loaded" | "free" | "afterUnloading";
  /** Its strength at the task less the wait, in doublings of parameters (`routing/expected-seconds.ts`). */
  readonly merit: number;
  /**
   * The expected score of its answers to this task, from 0 (useless) to 1, half of the 90 % interval around it, and how
   * many answers it was learned from (what says little counts as less than one); absent where nothing was learned.
   */
  readonly quality?: { readonly mean: number; readonly margin: number; readonly answers: number };
  /** Billions, estimated from the size if unknown; 0 if that is unknown, too. */
  readonly parameters: number;
}

/** An option of a request that it left open. */
export interface OptionOrigin {
  readonly name: string;
  /** Absent for a system prompt. */
  readonly value?: number;
  /** `conversation`, `profile coder`, `project`, `models.kimi*`, `settings`, `model` (its own default) or `default`. */
  readonly from: string;
}

export interface RouteExplanation {
  readonly task: Task;
  /** Why it is that task. */
  readonly because: string;
  readonly profile: string;
  /** The profile that the model matches if none matches `profile`. */
  readonly fallback?: string;
  readonly considered: readonly ConsideredModel[];
  readonly options: readonly OptionOrigin[];
  readonly attempts: readonly { readonly model: string; readonly engine: string; readonly outcome: string }[];
}

/** A profile with its effective values. */
export interface ShownProfile {
  readonly profile: Profile;
  /** Where each value comes from: `built-in`, `built-in general`, `/home/me/.ollm/config.yaml:3`. */
  readonly sources: Readonly<Record<string, string>>;
  /** The tasks that it serves without being named; all of them if it has to be named. */
  readonly tasks: readonly Task[];
}

/** The profiles of a caller: built-in ones, the user's, and those of its trusted project. */
export interface Profiles {
  /** The published ones first, then roles, kinds of projects, and those of the settings. */
  list(caller: CallerContext): readonly ShownProfile[];
  /** Throws `InvalidRequest` with the nearest name. */
  get(caller: CallerContext, name: string): ShownProfile;
}

/** What models write for a task; not listed anywhere. */
const unlistedNames: ReadonlyMap<string, Task> = new Map([
  ["summarize", "summarization"],
  ["summarise", "summarization"],
  ["summary", "summarization"],
  ["extract", "extraction"],
  ["translate", "translation"],
  ["review", "code_review"],
  ["debug", "debugging"],
  ["transcribe", "transcription"],
  ["question", "question_answering"],
  ["qa", "question_answering"],
]);

/** The task of that name or alias; undefined if there is none. */
export function taskOf(name: string): Task | undefined {
  const plain = name
    .trim()
    .toLowerCase()
    .replaceAll(/[\s-]+/g, "_");
  return tasks.find((task) => task === plain) ?? taskAliases.get(plain) ?? unlistedNames.get(plain);
}
