/**
 * What the doors have in common: each reads the requests of a protocol that programs speak already, and writes answers in
 * it. Pure, except for what a route asks of the orchestrator; `http/doors.ts` serves them.
 */
import { randomUUID } from "node:crypto";
import * as z from "zod";
import type { CallerContext } from "../../orchestrator/api/types.ts";
import type { Chat, EmbedResult, ToolDefinition } from "../../orchestrator/api/chat.ts";
import { samplingFrom } from "../../orchestrator/api/sampling.ts";
import { decoded, defined } from "../../orchestrator/util/values.ts";
import { InvalidRequest, UnknownModel } from "../../orchestrator/api/errors.ts";
import type { GenerateRequest, GenerateResult, Orchestrator } from "../../orchestrator/api/facade.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";

export type DoorName = "openai" | "anthropic" | "ollama";

/** A failure as a program is told of it. */
export interface DoorFailure {
  readonly status: number;
  /** As in `ErrorFacts`, or HTTP: `prompt_too_long`, `unauthorized`. */
  readonly code: string;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** If the prompt exceeds the window. */
  readonly tokens?: { readonly prompt: number; readonly window: number };
}

/** What the program's name of a model means here. */
type NamedModel = Pick<GenerateRequest, "model" | "profile">;

/** A request to a route that is not a conversation. */
export interface DoorCall {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  readonly body: unknown;
  readonly query: URLSearchParams;
  /** That of this program. */
  readonly version: string;
  /** What follows the route's path, decoded: the name of a model. */
  readonly rest: string;
  /** The names of `http.modelNames` that are no patterns. */
  readonly mapped: readonly string[];
  /** Throws `UnknownModel`. */
  readonly named: (model: string) => NamedModel;
  /** Writes a line of a stream; the answer is then what was written. */
  readonly write: (line: object) => void;
  /** What the headers `ollm-*` of an answer say. */
  readonly told: (seen: Partial<Pick<EmbedResult, "model" | "queueMs" | "loadMs" | "cost">>) => void;
}

/** A conversation that a program sends. */
export interface DoorChat {
  /** As the program names it. */
  readonly model: string;
  readonly request: Omit<GenerateRequest, "model" | "profile">;
  /** Whether the answer is wanted as a stream. */
  readonly isStream: boolean;
  readonly writer: AnswerWriter;
  /** What the program sent and is not used: the header `ollm-ignored`. */
  readonly ignored?: readonly string[];
}

/** Writes one answer. Every method returns the bytes to send; "" sends nothing. */
export interface AnswerWriter {
  /** The first events of a stream; called before any other, since some protocols number them. */
  begin(model: string): string;
  delta(part: "text" | "thinking", text: string): string;
  /** The rest: calls of tools, usage, the end. */
  end(result: GenerateResult): string;
  /** A failure after the stream began. */
  failed(failure: DoorFailure): string;
  /** Sent while nothing else is, so that the program's time limits don't end the request. */
  readonly keepAlive: string;
  /** The whole answer, not streamed. */
  whole(result: GenerateResult): object;
}

/** A text is sent as it is, an object as JSON; undefined: what was written is the answer. */
type DoorAnswer = (call: DoorCall) => Promise<object | string | undefined>;

export interface Door {
  readonly name: DoorName;
  /**
   * `POST /v1/chat/completions`; one that ends in `/*` has a `rest`. Reads what a body asks for: a conversation, or
   * something else. Throws `InvalidRequest`.
   */
  readonly routes: Readonly<Record<string, (body: unknown) => DoorChat | DoorAnswer>>;
  readonly streamType: "text/event-stream" | "application/x-ndjson";
  errorBody(failure: DoorFailure): object;
}

/** The route of a request, with what follows its path. */
export function routeOf({ routes }: Door, method: string, path: string) {
  const exact = routes[`${method} ${path}`];
  if (exact !== undefined) return { route: exact, rest: "" };
  for (const [name, route] of Object.entries(routes)) {
    const start = name.slice(0, -1);
    if (!name.endsWith("/*") || !`${method} ${path}`.startsWith(start)) continue;
    const rest = decoded(`${method} ${path}`.slice(start.length));
    return rest === undefined ? undefined : { route, rest };
  }
  return undefined;
}

/** What a name of a model means: `ollm/auto`, `ollm/PROFILE`, or a model's own. Throws `UnknownModel`. */
export function modelOf(name: string, profiles: () => readonly string[]): NamedModel {
  const [, profile] = /^ollm\/(.+)$/.exec(name) ?? [];
  if (profile === undefined) return { model: name };
  if (profile === "auto") return {};
  const known = profiles();
  if (known.includes(profile)) return { profile };
  const near = nearestNames(profile, ["auto", ...known], 3).map((each) => `ollm/${each}`);
  throw new UnknownModel(`no model ${name}: after ollm/ stands auto, or a profile: ${known.join(", ")}`, {
    next: near.length > 0 ? { step: "didYouMean", names: near } : [],
  });
}

/** Programs send null for what they leave out. Optional last: what is absent, as most is, takes no further steps. */
export const may = <Schema extends z.ZodType>(schema: Schema) =>
  schema
    .nullable()
    .transform((given) => given ?? undefined)
    .optional();

export const base64 = z.string().regex(/^[\w+/-]+={0,2}\s*$/, "is not base64");
export const schemaObject = z.record(z.string(), z.unknown(), "must be a JSON Schema, as an object");
/** What is sent for a tool without arguments. */
const noArguments = { type: "object", properties: {} } as const;

export function toolOf(name: string, description?: string, parameters: ToolDefinition["parameters"] = noArguments) {
  return { name, ...defined({ description }), parameters };
}

/** A tool as chats of OpenAI's and Ollama's APIs describe it. */
export const functionTool = z
  .object({ name: z.string().min(1), description: may(z.string()), parameters: may(schemaObject) })
  .transform(({ name, description, parameters }) => toolOf(name, description, parameters));

/** A conversation. `options` are called as programs call them. */
export function chatOf(
  chat: Omit<Chat, "sampling">,
  options: Parameters<typeof samplingFrom>[0] & {
    readonly [Name in "top_k" | "seed" | "frequency_penalty" | "presence_penalty"]?: number | undefined;
  } & { readonly stop?: readonly string[] | undefined },
  {
    request,
    ...answer
  }: Omit<DoorChat, "request"> & { readonly request: Omit<DoorChat["request"], "prompt" | "chat"> },
): DoorChat {
  const { top_k: topK, frequency_penalty: frequencyPenalty, presence_penalty: presencePenalty, seed, stop } = options;
  const sampling = { ...samplingFrom(options), ...defined({ topK, seed, frequencyPenalty, presencePenalty, stop }) };
  // What routing looks at.
  const prompt = chat.messages.findLast(({ role, content }) => role === "user" && content !== "")?.content ?? "";
  return { ...answer, request: { prompt, chat: { ...chat, sampling }, ...request } };
}

/** The fields of a body that are not read. */
export const unread = (body: object, { shape }: z.ZodObject): readonly string[] =>
  Object.keys(body).filter((name) => !(name in shape));

/** The names by which a model is chosen. */
export function chosenNames({ orchestrator, caller }: Pick<DoorCall, "orchestrator" | "caller">): readonly string[] {
  return ["ollm/auto", ...orchestrator.profiles.list(caller).map(({ profile }) => `ollm/${profile.name}`)];
}

export const newId = (start: string): string => start + randomUUID().replaceAll("-", "");

/** An event of a stream. */
export const eventOf = (type: string, data: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;

/** What something unknown says that it is, for messages. */
export const typeOf = (input: unknown): string =>
  JSON.stringify((input as { readonly type?: unknown } | null)?.type ?? null);

/** A body as its schema reads it. Throws `InvalidRequest` with the path of what is wrong. */
export function parsed<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const read = schema.safeParse(body);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const path = issue?.path.join(".") ?? "";
  throw new InvalidRequest(`${path === "" ? "the body" : path}: ${issue?.message ?? "invalid"}`);
}
