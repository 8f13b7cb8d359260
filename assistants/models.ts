import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** A call that the scripted model makes; `name` is that of the assistant's list. */
export interface Turn {
  readonly name: string;
  readonly input: object;
}

/** The next turn, given what the earlier ones of the row brought; undefined: the closing words. */
export type Play = (results: readonly Result[], request: Asked) => Turn | undefined;

/** What an assistant passes to its model of one call. */
export interface Result {
  readonly text: string;
  readonly isError: boolean;
}

export interface ListedTool {
  readonly name: string;
  /** Of its entry as JSON. */
  readonly bytes: number;
  /** Listed by name only, until the model searches for it. */
  readonly isDeferred: boolean;
}

interface Item {
  readonly role: "user" | "assistant" | "result" | "other";
  readonly text: string;
  readonly isError?: boolean;
  /** Of the call that a result belongs to. */
  readonly id?: unknown;
}

/** One request of an assistant to its model, in the words of no protocol. */
export interface Asked {
  readonly protocol: Protocol;
  readonly tools: readonly ListedTool[];
  readonly system: string;
  readonly items: readonly Item[];
  readonly body: Json;
}

type Json = Readonly<Record<string, unknown>>;

export type Protocol = "messages" | "responses" | "chat" | "gemini";

/** What the model says when a script has no further call. */
export const lastWords = "That was all of it.";

/** How a model uses a tool that it was given by name only. */
export interface Finding {
  /** Afterwards the tool is listed, unless there is a `bridge`. */
  readonly search?: ((name: string) => Turn) | undefined;
  /** The call of another tool that makes the call. */
  readonly bridge?: ((turn: Turn) => Turn) | undefined;
}

/** How a protocol is read and answered. */
interface Dialect {
  read(body: Json): Omit<Asked, "protocol" | "body">;
  /** Ends the response. */
  answer(send: Sender, turn: Turn | undefined, id: string): void;
}

const usage = { input_tokens: 100, output_tokens: 10 };

const dialects: Readonly<Record<Protocol, Dialect>> = {
  messages: {
    read(body) {
      const messages = listOf(body["messages"]);
      return {
        system: textOf(body["system"]),
        tools: listOf(body["tools"]).map((tool) => listed(tool, tool["name"], tool["defer_loading"] === true)),
        items: messages.flatMap(({ role, content }): Item[] => {
          const from = role === "user" || role === "assistant" ? role : "other";
          if (typeof content === "string") return [{ role: from, text: content }];
          return listOf(content).map((block) =>
            block["type"] === "tool_result"
              ? {
                  role: "result",
                  text: textOf(block["content"]),
                  isError: block["is_error"] === true,
                  id: block["tool_use_id"],
                }
              : { role: from, text: textOf([block]) },
          );
        }),
      };
    },
    answer({ event, end }, turn, id) {
      const message = { id: `msg_${id}`, type: "message", role: "assistant", model: "scripted", content: [], usage };
      const named = (type: string, data: object) => event({ type, ...data }, type);
      named("message_start", { message: { ...message, stop_reason: null, stop_sequence: null } });
      const block = turn
        ? { type: "tool_use", id: `toolu_${id}`, name: turn.name, input: {} }
        : { type: "text", text: "" };
      const delta = turn
        ? { type: "input_json_delta", partial_json: JSON.stringify(turn.input) }
        : { type: "text_delta", text: lastWords };
      named("content_block_start", { index: 0, content_block: block });
      named("content_block_delta", { index: 0, delta });
      named("content_block_stop", { index: 0 });
      const reason = turn ? "tool_use" : "end_turn";
      named("message_delta", { delta: { stop_reason: reason, stop_sequence: null }, usage: { output_tokens: 10 } });
      named("message_stop", {});
      end();
    },
  },
  responses: {
    read(body) {
      return {
        system: textOf(body["instructions"]),
        tools: listOf(body["tools"]).flatMap((tool) =>
          tool["type"] === "namespace"
            ? listOf(tool["tools"]).map((inner) =>
                listed(inner, `${String(tool["name"])}/${String(inner["name"])}`, inner["defer_loading"] === true),
              )
            : [listed(tool, tool["name"] ?? tool["type"], tool["defer_loading"] === true)],
        ),
        items: listOf(body["input"]).flatMap((item): Item[] => {
          const { type, role } = item;
          if (type === "function_call_output" || type === "custom_tool_call_output" || type === "tool_search_output")
            return [{ role: "result", text: textOf(item["output"] ?? item["tools"]), id: item["call_id"] }];
          if (type === "message" || type === undefined)
            return [{ role: role === "assistant" ? "assistant" : "user", text: textOf(item["content"]) }];
          return [{ role: "assistant", text: "" }];
        }),
      };
    },
    answer({ event, end }, turn, id) {
      const [namespace, name] = turn?.name.includes("/") === true ? turn.name.split("/") : [undefined, turn?.name];
      const call = { type: "function_call", id: `fc_${id}`, call_id: `call_${id}`, status: "completed", name };
      const text = { type: "output_text", text: lastWords, annotations: [] };
      const item = turn
        ? { ...call, ...(namespace !== undefined && { namespace }), arguments: JSON.stringify(turn.input) }
        : { type: "message", id: `msg_${id}`, role: "assistant", status: "completed", content: [text] };
      const response = { id: `resp_${id}`, object: "response", model: "scripted", output: [item], status: "completed" };
      const named = (type: string, data: object) => event({ type, ...data }, type);
      named("response.created", { response: { ...response, output: [], status: "in_progress" } });
      named("response.output_item.added", { output_index: 0, item });
      if (!turn)
        named("response.output_text.delta", {
          output_index: 0,
          content_index: 0,
          item_id: `msg_${id}`,
          delta: lastWords,
        });
      named("response.output_item.done", { output_index: 0, item });
      named("response.completed", { response: { ...response, usage: { ...usage, total_tokens: 110 } } });
      end();
    },
  },
  chat: {
    read(body) {
      const messages = listOf(body["messages"]);
      const isSystem = ({ role }: Json) => role === "system" || role === "developer";
      return {
        system: messages
          .filter(isSystem)
          .map(({ content }) => textOf(content))
          .join("\n"),
        tools: listOf(body["tools"]).map((tool) => listed(tool, (tool["function"] as Json)["name"], false)),
        items: messages
          .filter((message) => !isSystem(message))
          .map(({ role, content, tool_call_id: id }) => ({
            role: role === "tool" ? "result" : role === "assistant" ? "assistant" : "user",
            text: textOf(content),
            id,
          })),
      };
    },
    answer({ event, end }, turn, id) {
      const chunk = (delta: object, reason: string | null = null) =>
        event({
          id: `chatcmpl-${id}`,
          object: "chat.completion.chunk",
          created: 1,
          model: "scripted",
          choices: [{ index: 0, delta, finish_reason: reason }],
          ...(reason !== null && { usage: { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 } }),
        });
      const call = { name: turn?.name, arguments: JSON.stringify(turn?.input) };
      chunk(
        turn
          ? { role: "assistant", tool_calls: [{ index: 0, id: `call_${id}`, type: "function", function: call }] }
          : { role: "assistant", content: lastWords },
      );
      chunk({}, turn ? "tool_calls" : "stop");
      end("data: [DONE]\n\n");
    },
  },
  gemini: {
    read(body) {
      const contents = listOf(body["contents"]);
      return {
        system: textOf((body["systemInstruction"] as Json | undefined)?.["parts"]),
        tools: listOf(body["tools"])
          .flatMap((group) => listOf(group["functionDeclarations"]))
          .map((tool) => listed(tool, tool["name"], false)),
        items: contents.flatMap(({ role, parts }) =>
          listOf(parts).map((part): Item => {
            const response = part["functionResponse"] as Json | undefined;
            if (response !== undefined) {
              const { output, error } = response["response"] as { output?: unknown; error?: unknown };
              return { role: "result", text: textOf(error ?? output), isError: error !== undefined };
            }
            return { role: role === "model" ? "assistant" : "user", text: textOf([part]) };
          }),
        ),
      };
    },
    answer({ event, end }, turn) {
      const part = turn ? { functionCall: { name: turn.name, args: turn.input } } : { text: lastWords };
      event({
        candidates: [{ index: 0, content: { role: "model", parts: [part] }, finishReason: "STOP" }],
        usageMetadata: { promptTokenCount: 100, candidatesTokenCount: 10, totalTokenCount: 110 },
      });
      end();
    },
  },
};

/** Sends server-sent events, or collects the last for a client that didn't ask for a stream. */
interface Sender {
  event(data: object, name?: string): void;
  end(last?: string): void;
}

/**
 * The models of all assistants, on loopback. A prompt names its row in `[[brackets]]`; the model then plays that row's turns,
 * by how many results came since, and writes down what it was sent.
 */
export class ScriptedModels {
  readonly asked: (Asked & { readonly row: string | undefined })[] = [];
  readonly plays = new Map<string, Play>();
  /** What was asked for and isn't served, such as catalogues. */
  readonly unknown = new Set<string>();
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  readonly #search: Finding["search"];
  readonly #bridge: Finding["bridge"];

  constructor({ search, bridge }: Finding) {
    this.#search = search;
    this.#bridge = bridge;
  }

  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** The results of a row's calls, as the last request of that row has them. */
  results(row: string): readonly Result[] {
    const last = this.asked.findLast((each) => each.row === row);
    return last === undefined ? [] : resultsSince(last.items, row);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks);
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    if (request.method !== "POST" || path.includes("oken")) {
      if (request.method === "HEAD") return void response.writeHead(200).end();
      if (request.method === "POST") return json(response, { input_tokens: 1_000, totalTokens: 1_000 });
      this.unknown.add(`${request.method} ${path}`);
      return json(response, { object: "list", data: [], models: [] });
    }
    const protocol = protocolOf(path);
    if (protocol === undefined) {
      this.unknown.add(`POST ${path}`);
      return void response.writeHead(404, { "content-type": "application/json" }).end("{}");
    }
    const body = JSON.parse(raw.toString()) as Json;
    const asked: Asked = { protocol, body, ...dialects[protocol].read(body) };
    const row = rowOf(asked.items);
    this.asked.push({ ...asked, row });
    const turn = this.#turn(asked, row);
    const isStream = body["stream"] === true || path.includes("stream");
    const isSearch = turn !== undefined && turn.name === this.#search?.("").name;
    dialects[protocol].answer(senderOf(response, isStream, protocol), turn, `${isSearch ? searchMark : ""}${unique()}`);
  }

  /** Titles, topics and the like are asked for without the tools. */
  #turn(asked: Asked, row: string | undefined): Turn | undefined {
    if (row === undefined) return undefined;
    const turn = this.plays.get(row)?.(resultsSince(asked.items, row), asked);
    const isListed = (name: string): boolean => asked.tools.some((tool) => tool.name === name);
    if (turn === undefined || isListed(turn.name)) return turn;
    const search = this.#search?.(turn.name);
    if (search === undefined || !isListed(search.name)) return undefined;
    const results = sinceRow(asked.items, row).filter(({ role }) => role === "result");
    const searches = results.filter(isOfSearch).length;
    return this.#bridge !== undefined && searches > results.length - searches ? this.#bridge(turn) : search;
  }
}

function protocolOf(path: string): Protocol | undefined {
  if (path.endsWith("/messages")) return "messages";
  if (path.endsWith("/responses")) return "responses";
  if (path.endsWith("/chat/completions")) return "chat";
  return /generateContent$/i.test(path) ? "gemini" : undefined;
}

function senderOf(response: ServerResponse, isStream: boolean, protocol: Protocol): Sender {
  if (isStream) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    return {
      event: (data, name) =>
        void response.write(`${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`),
      end: (last = "") => void response.end(last),
    };
  }
  // Only titles and the like: a text is enough.
  const whole = {
    messages: { id: "msg_1", type: "message", role: "assistant", model: "scripted", stop_reason: "end_turn", usage },
    responses: { id: "resp_1", object: "response", status: "completed", output: [], usage },
    chat: { id: "chatcmpl-1", object: "chat.completion", created: 1, model: "scripted" },
    gemini: {},
  }[protocol];
  const text = {
    messages: { content: [{ type: "text", text: lastWords }] },
    responses: {},
    chat: { choices: [{ index: 0, message: { role: "assistant", content: lastWords }, finish_reason: "stop" }] },
    gemini: {
      candidates: [{ index: 0, content: { role: "model", parts: [{ text: lastWords }] }, finishReason: "STOP" }],
    },
  }[protocol];
  return { event: () => undefined, end: () => json(response, { ...whole, ...text }) };
}

function json(response: ServerResponse, data: object): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(data));
}

/** In the id of a search for tools, whose result is none of the row's. */
const searchMark = "search";

const rowMark = /\[\[([\w-]+)\]\]/g;

/** The row that the user named last. */
function rowOf(items: readonly Item[]): string | undefined {
  const texts = items.filter(({ role }) => role === "user").map(({ text }) => text);
  return [...texts.join("\n").matchAll(rowMark)].at(-1)?.[1];
}

function sinceRow(items: readonly Item[], row: string): readonly Item[] {
  return items.slice(items.findLastIndex(({ role, text }) => role === "user" && text.includes(`[[${row}]]`)) + 1);
}

const isOfSearch = ({ id }: Item): boolean => String(id).includes(searchMark);

function resultsSince(items: readonly Item[], row: string): readonly Result[] {
  return sinceRow(items, row)
    .filter((item) => item.role === "result" && !isOfSearch(item))
    .map(({ text, isError = false }) => ({ text, isError }));
}

function listed(tool: object, name: unknown, isDeferred: boolean): ListedTool {
  return { name: String(name), bytes: Buffer.byteLength(JSON.stringify(tool)), isDeferred };
}

function listOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : [];
}

/** The text of a content, which is a text, or parts of which some have one. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (content === undefined || content === null) return "";
  if (!Array.isArray(content)) return JSON.stringify(content);
  return (content as Json[])
    .map((part) => (typeof part["text"] === "string" ? part["text"] : ""))
    .filter((text) => text !== "")
    .join("\n");
}

let count = 0;
function unique(): string {
  return String((count += 1)).padStart(8, "0");
}
