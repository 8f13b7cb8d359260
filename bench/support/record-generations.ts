/**
 * Preloaded into a server (`--import`): appends to the file `BENCH_GENERATIONS` what the embedded engine is sent to
 * generate from, and what it reports of that: a line for each generation, as JSON.
 */
import childProcess, { type ChildProcess } from "node:child_process";
import { appendFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

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
const { fork } = childProcess;

/** A process has its own `send`. */
function recorded(child: ChildProcess): ChildProcess {
  const prompts = new Map<number, string>();
  const { send } = child;
  child.send = (...given: readonly unknown[]) => {
    const { type, id, messages = [] } = given[0] as Sent;
    if (type === "generate" && id !== undefined) prompts.set(id, messages.at(-1)?.content ?? "");
    return Reflect.apply(send, child, given) as boolean;
  };
  return child.on("message", (reply: Reply) => note(prompts, reply));
}

childProcess.fork = (...given: readonly unknown[]) =>
  recorded(Reflect.apply(fork, childProcess, given) as ChildProcess);
syncBuiltinESMExports();

function note(known: Map<number, string>, { type, id, value }: Reply): void {
  const prompt = known.get(id ?? -1);
  if (type !== "done" || prompt === undefined || value === undefined) return;
  const { promptTokens, cachedPromptTokens, completionTokens } = value;
  appendFileSync(file, `${JSON.stringify({ prompt, promptTokens, cachedPromptTokens, completionTokens })}\n`);
}
