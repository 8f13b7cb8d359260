import type { Task } from "../api/facade.ts";

/** Requirements and preferences of a kind of task. */
export interface Profile {
  readonly name: string;
  /** Preferred families, best first. They only affect the ranking; no model is excluded for its family. */
  readonly families: readonly string[];
  /** Smallest context window of a model that matches. */
  readonly contextTokens: number;
  /** Profile to take models from when none matches this one. */
  readonly fallback?: string;
  readonly requires: readonly "streaming"[];
}

const requires = ["streaming"] as const;

/** The published profiles. */
export const profiles: Readonly<Record<string, Profile>> = {
  fast: { name: "fast", families: ["phi", "gemma", "mistral"], contextTokens: 4096, fallback: "general", requires },
  general: { name: "general", families: ["llama", "mistral", "qwen"], contextTokens: 8192, requires },
  code: {
    name: "code",
    families: ["codellama", "deepseek-coder", "starcoder"],
    contextTokens: 16_384,
    fallback: "general",
    requires,
  },
  creative: { name: "creative", families: ["llama", "mistral"], contextTokens: 8192, fallback: "general", requires },
};

/** Undefined for an unknown name, including `constructor`. */
export function findProfile(name: string): Profile | undefined {
  return Object.hasOwn(profiles, name) ? profiles[name] : undefined;
}

/** The profile of a task; tasks without one of their own (vision, embedding, general) take `defaultProfile`. */
export function profileForTask(task: Task, defaultProfile: string): string {
  return task === "code" || task === "creative" || task === "fast" ? task : defaultProfile;
}
