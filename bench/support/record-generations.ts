/**
 * Preloaded into a server (`--import`): appends to the file `BENCH_GENERATIONS` what the embedded engine is sent to
 * generate from, and what it reports of that: a line for each generation, as JSON.
 */
import { ChildProcess } from "node:child_process";
import { appendFileSync } from "node:fs";

export interface RecordedGeneration {
  /** The text of the last message. */
  readonly prompt: string;
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
}

interface Sent {
  readonly type?: string;
  readonly id?: number;
  readonly messages?: readonly { readonly content: string }[];
}

interface Reply {
  readonly type?: string;
  readonly id?: number;
  readonly value?: Omit<RecordedGeneration, "prompt">;
}

const file = process.env["BENCH_GENERATIONS"] ?? "";
const prompts = new WeakMap<ChildProcess, Map<number, string>>();

const { send } = ChildProcess.prototype;

function record(this: ChildProcess, ...given: readonly unknown[]): boolean {
  const { type, id, messages = [] } = given[0] as Sent;
  if (type === "generate" && id !== undefined) {
    const known = prompts.get(this) ?? new Map<number, string>();
    if (!prompts.has(this)) this.on("message", (reply: Reply) => note(known, reply));
    prompts.set(this, known.set(id, messages.at(-1)?.content ?? ""));
  }
  return Reflect.apply(send, this, given) as boolean;
}

ChildProcess.prototype.send = record;

function note(known: Map<number, string>, { type, id, value }: Reply): void {
  const prompt = known.get(id ?? -1);
  if (type !== "done" || prompt === undefined || value === undefined) return;
  const { promptTokens, cachedPromptTokens, completionTokens } = value;
  appendFileSync(file, `${JSON.stringify({ prompt, promptTokens, cachedPromptTokens, completionTokens })}\n`);
}
