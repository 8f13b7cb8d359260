import * as z from "zod";
import type { ChatMessage, ToolCall, ToolDefinition } from "../../orchestrator/api/chat.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { defined } from "../../orchestrator/util/values.ts";
import {
  type Door,
  type DoorCall,
  type DoorChat,
  chatOf,
  chosenNames,
  may,
  parsed,
  schemaObject,
  toolOf,
  typeOf,
  unread,
} from "./door.ts";
import { common, content, effort, errorBody, limit, readChat, refused, toolUse } from "./openai-chat.ts";
import { type KnownTool, responseWriter } from "./openai-writer.ts";

export const openai: Door = {
  name: "openai",
  streamType: "text/event-stream",
  routes: {
    "POST /v1/chat/completions": readChat,
    "POST /v1/responses": readResponse,
    "POST /v1/embeddings": () => embed,
    "GET /v1/models": () => listModels,
    "GET /v1/models/*": () => describeModel,
  },
  errorBody,
};

const texts = z.array(z.string("must be a text, or a list of texts: tokens can't be embedded here").min(1)).min(1);
const embedding = z.object({
  model: z.string().min(1),
  input: z.preprocess((given) => (typeof given === "string" ? [given] : given), texts),
  encoding_format: may(z.enum(["float", "base64"])),
  dimensions: may(z.int().min(1)),
});

async function embed({ orchestrator, caller, body: given, named, told }: DoorCall): Promise<object> {
  const { model: asked, input, encoding_format: encoding, dimensions } = parsed(embedding, given);
  const embedded = await orchestrator.embed(caller, { texts: input, ...defined({ model: named(asked).model }) });
  const { model, vectors, promptTokens } = embedded;
  told(embedded);
  const [{ length } = []] = vectors;
  if (dimensions !== undefined && dimensions !== length)
    throw new InvalidRequest(
      `dimensions: the vectors of ${model} have ${length}, which can't be changed: leave it out`,
    );
  const data = vectors.map((vector, index) => ({
    object: "embedding",
    index,
    embedding: encoding === "base64" ? packed(vector) : vector,
  }));
  return { object: "list", data, model, usage: { prompt_tokens: promptTokens, total_tokens: promptTokens } };
}

function packed(vector: readonly number[]): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [at, value] of vector.entries()) bytes.writeFloatLE(value, at * 4);
  return bytes.toString("base64");
}

async function listModels({ orchestrator, caller, mapped }: DoorCall): Promise<object> {
  const { models } = await orchestrator.listModels(caller, { isInstalledOnly: true });
  const ours = [...new Set([...chosenNames({ orchestrator, caller }), ...mapped])];
  return {
    object: "list",
    data: [
      ...ours.map((id) => modelInfo(id)),
      ...models.map(({ name, engine, modifiedAt }) => modelInfo(name, engine, modifiedAt)),
    ],
  };
}

async function describeModel({ orchestrator, caller, named, rest, mapped }: DoorCall): Promise<object> {
  const { model } = named(rest);
  if (model === undefined || mapped.includes(rest)) return modelInfo(rest);
  const { model: listed } = await orchestrator.describeModel(caller, model);
  return modelInfo(listed.name, listed.engine, listed.modifiedAt);
}

function modelInfo(id: string, engine = "ollm", modifiedAt = "") {
  const created = Date.parse(modifiedAt);
  return { id, object: "model", created: Number.isNaN(created) ? 0 : Math.floor(created / 1_000), owned_by: engine };
}

const call = z.object({ call_id: z.string().min(1), name: z.string().min(1), namespace: may(z.string()) });
const output = z.object({ call_id: z.string().min(1), output: content });

const item = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("message"), role: z.enum(["user", "assistant", "system", "developer"]), content }),
    call.extend({ type: z.literal("function_call"), arguments: z.string().transform((json) => json || "{}") }),
    call.extend({ type: z.literal("custom_tool_call"), input: z.string() }),
    output.extend({ type: z.literal("function_call_output") }),
    output.extend({ type: z.literal("custom_tool_call_output") }),
    z.object({ type: z.literal("reasoning"), summary: may(content), content: may(content) }),
    // What the service's own tools did: its results are not in the request.
    z.object({ type: z.enum(["web_search_call", "file_search_call", "code_interpreter_call"]) }),
    z.object({
      type: z.literal("item_reference"),
      id: z.never("nothing is stored here: send the item itself, and store: false"),
    }),
  ],
  { error: ({ input }) => `an item of type ${typeOf(input)} can't be read here` },
);
type Item = z.output<typeof item>;

const inputItem = z.preprocess(
  (given) =>
    typeof given === "object" && given !== null && "role" in given && !("type" in given)
      ? { type: "message", ...given }
      : given,
  item,
);

const fn = z.object({
  type: z.literal("function"),
  name: z.string().min(1),
  description: may(z.string()),
  parameters: may(schemaObject),
});
const custom = z.object({
  type: z.literal("custom"),
  name: z.string().min(1),
  description: may(z.string()),
  format: may(z.object({ type: z.string(), syntax: may(z.string()), definition: may(z.string()) })),
});
const plainTool = z.discriminatedUnion("type", [fn, custom]);
const callable = ["function", "custom", "namespace"];
/** Others run on the service's machines (`web_search`), or have a form of their own: a model is not told of them. */
const tool = z.preprocess(
  (given) => {
    const { type } = (given ?? {}) as { readonly type?: unknown };
    return typeof type === "string" && !callable.includes(type) ? { type: "other", name: type } : given;
  },
  z.discriminatedUnion(
    "type",
    [
      fn,
      custom,
      z.object({ type: z.literal("namespace"), name: z.string().min(1), tools: z.array(plainTool) }),
      z.object({ type: z.literal("other"), name: z.string() }),
    ],
    { error: ({ input }) => `a tool of type ${typeOf(input)} can't be read here` },
  ),
);

const named = z.object({ type: z.enum(["function", "custom"]), name: z.string(), namespace: may(z.string()) });
const toolChoice = z.union(
  [
    z.enum(["none", "auto", "required"]),
    named,
    z.object({ type: z.literal("allowed_tools"), mode: z.enum(["auto", "required"]), tools: z.array(named) }),
  ],
  {
    error: ({ input }) =>
      typeof input === "object"
        ? `a tool of type ${typeOf(input)} can't be called here: name a function, or functions in allowed_tools`
        : "must be none, auto, required, a function or allowed_tools with functions",
  },
);

const stateless = "nothing is stored here: send the whole input, and leave it out";
const body = z.object({
  ...common,
  input: z.preprocess(
    (given) => (typeof given === "string" ? [{ role: "user", content: given }] : given),
    z.array(inputItem, "must be a text, or a list of items").min(1),
  ),
  instructions: may(z.string()),
  max_output_tokens: limit,
  tools: may(z.array(tool)),
  tool_choice: may(toolChoice),
  reasoning: may(z.object({ effort })),
  text: may(
    z.object({
      format: may(
        z.discriminatedUnion("type", [
          z.object({ type: z.literal("text") }),
          z.object({ type: z.literal("json_object") }),
          z.object({ type: z.literal("json_schema"), schema: schemaObject }),
        ]),
      ),
    }),
  ),
  previous_response_id: refused(stateless),
  conversation: refused(stateless),
  prompt: refused("prompts of the service are not known here: send instructions and input"),
  background: refused("an answer is given to its request alone: leave it out"),
});
type Body = z.output<typeof body>;

function readResponse(given: unknown): DoorChat {
  const read = parsed(body, given);
  const { model, stream, instructions, text, reasoning } = read;
  const known = new Map<string, KnownTool>();
  const { tools: all = [] } = read;
  const tools = all.flatMap((each) => toolsOf(each, known));
  const others = all.flatMap((each) => (each.type === "other" ? `tools.${each.name}` : []));
  if (tools.length === 0 && others.length > 0 && read.tool_choice === "required")
    throw new InvalidRequest(`tool_choice: required, but none of the tools can be called here: ${others.join(", ")}`);
  const messages = messagesOf(read.input, instructions);
  const form = text?.format;
  const format = form?.type === "json_schema" ? form.schema : form?.type === "json_object" ? "json" : undefined;
  const use = toolUse(tools, choiceOf(read.tool_choice), read.parallel_tool_calls);
  return chatOf({ messages, ...use }, read, {
    model,
    isStream: stream === true,
    ignored: [...unread(given as object, body), ...new Set(others)],
    writer: responseWriter(given as Readonly<Record<string, unknown>>, model, known),
    request: defined({ format, maxTokens: read.max_output_tokens, think: reasoning?.effort }),
  });
}

/** Tools of a namespace have its name in front, as models know one list of tools. */
function flatName(name: string, namespace: string | undefined): string {
  if (namespace === undefined || namespace === "") return name;
  return namespace.endsWith("__") ? namespace + name : `${namespace}__${name}`;
}

function toolsOf(
  given: z.output<typeof tool>,
  known: Map<string, KnownTool>,
  namespace?: string,
): readonly ToolDefinition[] {
  if (given.type === "other") return [];
  if (given.type === "namespace") return given.tools.flatMap((each) => toolsOf(each, known, given.name));
  const { type: kind, name, description } = given;
  const flat = flatName(name, namespace);
  if (known.has(flat)) throw new InvalidRequest(`tools: there are two with the name ${JSON.stringify(flat)}`);
  known.set(flat, { kind, name, ...defined({ namespace }) });
  return [toolOf(flat, description, kind === "function" ? given.parameters : inputOf(given.format))];
}

/** A tool that takes any text takes it as its only argument. */
function inputOf(format: z.output<typeof custom>["format"]) {
  const { syntax = "", definition } = format ?? {};
  const grammar = definition === undefined ? {} : { description: `Follows this ${syntax} grammar:\n${definition}` };
  return { type: "object", properties: { input: { type: "string", ...grammar } }, required: ["input"] };
}

function choiceOf(given: Body["tool_choice"]): Parameters<typeof toolUse>[1] {
  if (typeof given !== "object") return given;
  if (given.type !== "allowed_tools") return { name: flatName(given.name, given.namespace) };
  return { mode: given.mode, allowed: given.tools.map(({ name, namespace }) => flatName(name, namespace)) };
}

/** Items as messages: what the assistant thought, said and called until another speaks is one message. */
function messagesOf(items: readonly Item[], instructions = ""): readonly ChatMessage[] {
  const messages: ChatMessage[] = instructions === "" ? [] : [{ role: "system", content: instructions }];
  const names = new Map<string, string>();
  let open = undefined as ChatMessage | undefined;
  /** Images in results of tools: templates show them in a message of the user alone. */
  let images: string[] = [];
  const close = (): void => {
    if (open !== undefined) messages.push(open);
    open = undefined;
  };
  const end = (): void => {
    close();
    if (images.length > 0) messages.push({ role: "user", content: "", images });
    images = [];
  };
  const add = (more: (so: ChatMessage) => Partial<ChatMessage>): void => {
    if (open === undefined) end();
    const so = open ?? { role: "assistant", content: "" };
    open = { ...so, ...more(so) };
  };
  const called = ({ call_id: id, name, namespace }: z.output<typeof call>, json: string): void => {
    const made: ToolCall = { id, name: flatName(name, namespace), arguments: json };
    names.set(id, made.name);
    add(({ toolCalls = [] }) => ({ toolCalls: [...toolCalls, made] }));
  };

  for (const given of items) {
    switch (given.type) {
      case "message": {
        const { role, content: said } = given;
        if (role === "assistant") {
          add(({ content: before }) => ({
            ...said,
            content: before === "" ? said.content : `${before}\n${said.content}`,
          }));
        } else {
          end();
          messages.push({ role: role === "developer" ? "system" : role, ...said });
        }
        break;
      }
      case "reasoning": {
        const thinking = [given.content, given.summary].map((each) => each?.content ?? "").find(Boolean);
        if (thinking === undefined) break;
        if (open?.thinking === undefined) close();
        add(({ thinking: before }) => ({ thinking: before === undefined ? thinking : `${before}\n${thinking}` }));
        break;
      }
      case "function_call":
        called(given, given.arguments);
        break;
      case "custom_tool_call":
        called(given, JSON.stringify({ input: given.input }));
        break;
      case "function_call_output":
      case "custom_tool_call_output": {
        close();
        const { call_id: toolCallId, output: said } = given;
        images.push(...(said.images ?? []));
        const toolName = names.get(toolCallId);
        messages.push({ role: "tool", content: said.content, toolCallId, ...defined({ toolName }) });
        break;
      }
      default:
    }
  }
  end();
  return messages;
}
