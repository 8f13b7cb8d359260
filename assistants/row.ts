import { setTimeout as delay } from "node:timers/promises";
import type { Play, Result, Turn } from "./models.ts";
import type { World } from "./world.ts";

/** One line of the table. */
export interface Row {
  readonly id: string;
  readonly title: string;
  /** `✓`, with what was measured, or what happens instead. Rejects with what is wrong. */
  run(world: World): Promise<string>;
}

export const chatPath = "/api/chat";
/** Each of the hundred words of the usual answer comes so late. */
const wordMs = 100;
export const limitMs = 60_000;

/** One call in a run that ends by itself; what the model was told of it. */
export async function call(world: World, row: string, tool: string, input: object): Promise<Result> {
  return onlyResult(world, row, { name: world.assistant.tool(tool), input });
}

export async function onlyResult(world: World, row: string, turn: Turn): Promise<Result> {
  const ran = await world.once(row, once(turn));
  const [result] = world.models.results(row);
  if (result === undefined) throw new Error(`no call was made; it ended with ${ran.code}: ${ran.output.slice(-300)}`);
  return result;
}

export const once =
  (turn: Turn): Play =>
  (results) =>
    results.length === 0 ? turn : undefined;

export function expectIn(text: string, part: string | RegExp, what: string): void {
  if (typeof part === "string" ? text.includes(part) : part.test(text)) return;
  throw new Error(`${what}: ${text.slice(0, 300)}`);
}

/** What the model behind ollm was sent since the last row. */
export function sentToEngine({ ollama }: World): string {
  return ollama.requests
    .filter(({ path }) => path === chatPath)
    .map(({ body }) => JSON.stringify(body))
    .join("\n");
}

/** The request that the engine is working on. */
export async function underWay(world: World) {
  const limit = AbortSignal.timeout(limitMs);
  for (;;) {
    const found = world.ollama.requests.find(({ path, closedAt }) => path === chatPath && closedAt === undefined);
    if (found !== undefined) return found;
    if (limit.aborted) throw new Error("no request reached the engine");
    await delay(20);
  }
}

export const slowly = ({ ollama }: World): void => ollama.misbehave({ kind: "slow", delayMs: wordMs });

export const generate = (world: World, input: object): Turn => ({
  name: world.assistant.tool("route_and_generate"),
  input,
});

export const quoted = (text: string): string => text.replaceAll(/\s+/g, " ").slice(0, 100);

/** One call, and if it becomes a job, calls of `job` until its answer is there. */
export const untilDone =
  (world: World, input: object): Play =>
  (results) => {
    const [first] = results;
    if (first === undefined) return generate(world, input);
    const id = /"job":\s*"([^"]+)"|job_id \\?"([^"\\]+)/.exec(first.text);
    const isDone = results.at(-1)?.text.includes("word99") === true || results.length > 20;
    if (id === null || isDone) return undefined;
    return { name: world.assistant.tool("job"), input: { action: "wait", job_id: id[1] ?? id[2] } };
  };
