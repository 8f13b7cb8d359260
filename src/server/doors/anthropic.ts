import * as z from "zod";
import type { ChatMessage, ToolChoice } from "../../orchestrator/api/chat.ts";
import { InvalidRequest, PromptTooLong } from "../../orchestrator/api/errors.ts";
import { samplingInput } from "../../orchestrator/api/sampling.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { anthropicWriter, errorBody } from "./anthropic-writer.ts";
import {
  type Door,
  type DoorCall,
  type DoorChat,
  base64,
  chatOf,
  chosenNames,
  may,
  parsed,
  toolOf,
  typeOf,
  unread,
} from "./door.ts";

export const anthropic: Door = {
  name: "anthropic",
  streamType: "text/event-stream",
  routes: {
    "POST /v1/messages": readChat,
    "POST /v1/messages/count_tokens": () => countTokens,
    "GET /v1/models": () => listModels,
    "GET /v1/models/*": () => describeModel,
  },
  errorBody,
};

const text = z.object({ type: z.literal("text"), text: z.string() });
const image = z.object({
  type: z.literal("image"),
  source: z.discriminatedUnion("type", [z.object({ type: z.literal("base64"), data: base64 })], {
    error: sourceError("an image", "base64"),
  }),
});
const searchResult = z.object({
  type: z.literal("search_result"),
  source: z.string(),
  title: z.string(),
  content: z.array(text),
});
const document = z.object({
  type: z.literal("document"),
  title: may(z.string()),
  context: may(z.string()),
  source: z.discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("text"), data: z.string() }),
      z.object({ type: z.literal("content"), content: blocks(z.discriminatedUnion("type", [text, image])) }),
    ],
    { error: sourceError("a document", "text") },
  ),
});
const content = [text, image, searchResult, document] as const;
const toolResult = z.object({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: blocks(z.discriminatedUnion("type", content, { error: unknownBlock })).optional(),
  is_error: may(z.boolean()),
});
const asked = z.discriminatedUnion("type", [...content, toolResult], { error: unknownBlock });
const answered = z.discriminatedUnion(
  "type",
  [
    text,
    z.object({
      type: z.literal("tool_use"),
      id: z.string(),
      name: z.string(),
      input: z.record(z.string(), z.unknown()),
    }),
    z.object({ type: z.literal("thinking"), thinking: z.string() }),
    z.object({ type: z.literal("redacted_thinking") }),
  ],
  { error: unknownBlock },
);
const message = z.discriminatedUnion("role", [
  z.object({ role: z.literal("user"), content: blocks(asked) }),
  z.object({ role: z.literal("assistant"), content: blocks(answered) }),
  z.object({ role: z.literal("system"), content: blocks(text) }),
]);
const tool = z.object({
  type: z.literal("custom", { error: ({ input }) => `${String(input)} ${notOurs}` }).nullish(),
  name: z.string().min(1),
  description: may(z.string()),
  input_schema: z.record(z.string(), z.unknown()),
});
const notOurs =
  "is a tool that Anthropic defines, and no local model knows it: leave it out, or give it an input_schema";
const isSingle = may(z.boolean());
const format = may(z.object({ type: z.literal("json_schema"), schema: z.record(z.string(), z.unknown()) }));
const body = z.object({
  thread: may(z.never("conversations are not kept here: send all messages")),
  model: z.string().min(1),
  max_tokens: z.int().min(1).optional(),
  messages: z.array(message).min(1),
  system: blocks(text).optional(),
  tools: may(z.array(tool)),
  tool_choice: may(
    z.discriminatedUnion("type", [
      z.object({ type: z.literal("auto"), disable_parallel_tool_use: isSingle }),
      z.object({ type: z.literal("any"), disable_parallel_tool_use: isSingle }),
      z.object({ type: z.literal("tool"), name: z.string(), disable_parallel_tool_use: isSingle }),
      z.object({ type: z.literal("none") }),
    ]),
  ),
  ...samplingInput(true),
  top_k: may(z.int().min(0)),
  stop_sequences: may(z.array(z.string())),
  stream: may(z.boolean()),
  thinking: may(z.object({ type: z.string(), display: may(z.string()) })),
  output_config: may(z.object({ format })),
  output_format: format,
  mcp_servers: may(z.array(z.never("Anthropic's servers would ask it, and none is asked here: leave it out"))),
});
type Body = z.output<typeof body>;

/** A string means one block of text. */
function blocks<Block extends z.ZodType>(block: Block) {
  return z.preprocess(
    (given) => (typeof given === "string" ? [{ type: "text", text: given }] : (given ?? undefined)),
    z.array(block),
  );
}

function unknownBlock({ input }: { readonly input?: unknown }): string {
  return `a block of type ${typeOf(input)} can't be read here`;
}

function sourceError(what: string, read: string) {
  return ({ input }: { readonly input?: unknown }) =>
    `${what} with a source of type ${typeOf(input)} can't be read here: send its content, as ${read}`;
}

function readChat(given: unknown): DoorChat {
  const read = parsed(body, given);
  const { model, tools = [], tool_choice: choice, thinking } = read;
  const named = new Map<string, string>();
  const messages: ChatMessage[] = read.messages.flatMap((each, at) => messagesOf(each, at, named));
  if (read.system?.length) messages.unshift({ role: "system", ...said(read.system) });
  if (messages.at(-1)?.role === "assistant") {
    throw new InvalidRequest(
      "messages: the last one must be the user's; the beginning of an answer can't be given here",
    );
  }
  const schema = (read.output_config?.format ?? read.output_format)?.schema;
  const chat = {
    messages,
    ...(tools.length > 0 && { tools: tools.map((each) => toolOf(each.name, each.description, each.input_schema)) }),
    ...(choice !== undefined && toolUse(choice)),
  };
  const showsThinking = thinking !== undefined && thinking.type !== "disabled" && thinking.display !== "omitted";
  return chatOf(
    chat,
    { ...read, stop: read.stop_sequences },
    {
      model,
      isStream: read.stream === true,
      ignored: unread(given as object, body),
      writer: anthropicWriter(model, showsThinking),
      request: {
        ...defined({ maxTokens: read.max_tokens, format: schema }),
        // A budget for thoughts is the most that they may take: models that have none need none.
        ...(thinking?.type === "disabled" && { think: false }),
      },
    },
  );
}

function toolUse(choice: NonNullable<Body["tool_choice"]>): { toolChoice: ToolChoice; singleCall?: true } {
  const { type } = choice;
  const toolChoice = type === "tool" ? { name: choice.name } : type === "any" ? "required" : type;
  return { toolChoice, ...(type !== "none" && choice.disable_parallel_tool_use === true && { singleCall: true }) };
}

/** `tools` are those of the calls so far, by id. */
function messagesOf(given: Body["messages"][number], at: number, tools: Map<string, string>): ChatMessage[] {
  if (given.role === "system") return [{ role: "system", ...said(given.content) }];
  if (given.role === "assistant") {
    const calls = given.content.flatMap((block) => (block.type === "tool_use" ? block : []));
    const thinking = given.content.flatMap((block) => (block.type === "thinking" ? block.thinking : []));
    for (const { id, name } of calls) tools.set(id, name);
    return [
      {
        role: "assistant",
        ...said(given.content),
        ...(thinking.length > 0 && { thinking: thinking.join("\n\n") }),
        ...(calls.length > 0 && {
          toolCalls: calls.map(({ id, name, input }) => ({ id, name, arguments: JSON.stringify(input) })),
        }),
      },
    ];
  }
  const messages: ChatMessage[] = [];
  const images: string[] = [];
  for (const block of given.content) {
    if (block.type !== "tool_result") continue;
    const toolName = tools.get(block.tool_use_id);
    if (toolName === undefined) {
      throw new InvalidRequest(
        `messages.${at}.content: no tool_use before it has the id ${JSON.stringify(block.tool_use_id)}`,
      );
    }
    const result = said(block.content ?? []);
    images.push(...(result.images ?? []));
    const failed = block.is_error === true ? "Error: " : "";
    messages.push({ role: "tool", content: failed + result.content, toolCallId: block.tool_use_id, toolName });
  }
  const own = given.content.filter((block) => block.type !== "tool_result");
  // Templates show no images of a tool's result: they follow it.
  if (own.length > 0 || messages.length === 0 || images.length > 0)
    messages.push({ role: "user", ...said(own, images) });
  return messages;
}

type Said = z.output<typeof asked> | z.output<typeof answered>;

function said(spoken: readonly Said[], before: readonly string[] = []): Pick<ChatMessage, "content" | "images"> {
  const texts: string[] = [];
  const images = [...before];
  const add = (block: Said): void => {
    if (block.type === "text") texts.push(block.text);
    else if (block.type === "image") images.push(block.source.data);
    else if (block.type === "search_result") {
      texts.push([block.title, block.source, ...block.content.map((each) => each.text)].join("\n"));
    } else if (block.type === "document") {
      const { title, context, source } = block;
      texts.push(...[title, context].filter((each) => each !== undefined));
      if (source.type === "text") texts.push(source.data);
      else source.content.forEach(add);
    }
  };
  spoken.forEach(add);
  return { content: texts.join("\n\n"), ...(images.length > 0 && { images }) };
}

async function countTokens({ orchestrator, caller, body: given, named }: DoorCall): Promise<object> {
  const { model, request } = readChat(given);
  try {
    const { promptTokens = 0 } = await orchestrator.planGeneration(caller, { ...request, ...named(model) });
    return { input_tokens: promptTokens };
  } catch (error) {
    if (error instanceof PromptTooLong) return { input_tokens: error.promptTokens };
    throw error;
  }
}

async function listModels({ orchestrator, caller }: DoorCall): Promise<object> {
  const { models } = await orchestrator.listModels(caller, { capability: "completion", isInstalledOnly: true });
  const data = [
    ...chosenNames({ orchestrator, caller }).map((id) => modelInfo(id)),
    ...models.map(({ name, modifiedAt, contextTokens }) => modelInfo(name, modifiedAt, contextTokens)),
  ];
  return { data, has_more: false, first_id: "ollm/auto", last_id: data.at(-1)?.id };
}

async function describeModel({ orchestrator, caller, named, rest }: DoorCall): Promise<object> {
  const { model, profile } = named(rest);
  if (profile !== undefined) orchestrator.profiles.get(caller, profile);
  if (model === undefined) return modelInfo(rest);
  const { model: listed, facts } = await orchestrator.describeModel(caller, model);
  return modelInfo(rest, listed.modifiedAt, facts.contextTokens);
}

function modelInfo(id: string, createdAt = new Date(0).toISOString(), contextTokens?: number) {
  return {
    type: "model" as const,
    id,
    display_name: id,
    created_at: createdAt,
    max_input_tokens: contextTokens ?? null,
    max_tokens: null,
    lifecycle: "active",
  };
}
