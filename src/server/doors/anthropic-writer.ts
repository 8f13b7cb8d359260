import type { GenerateResult } from "../../orchestrator/api/facade.ts";
import { type AnswerWriter, type DoorFailure, eventOf as event, newId } from "./door.ts";

const errorTypes: Readonly<Record<number, string>> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  408: "timeout_error",
  413: "request_too_large",
  429: "rate_limit_error",
};

export function errorBody({ status, message: because, headers, tokens }: DoorFailure): object {
  // Clients ask again after this one, whatever the headers say.
  const isOverload = status === 503 && headers?.["x-should-retry"] !== "false";
  const type = errorTypes[status] ?? (isOverload ? "overloaded_error" : undefined);
  const start = tokens && `prompt is too long: ${tokens.prompt} tokens > ${tokens.window} maximum. `;
  return {
    type: "error",
    error: {
      type: type ?? (status < 500 ? "invalid_request_error" : "api_error"),
      message: `${start ?? ""}${because}`,
      // The client's tools run on: it sends the whole conversation instead.
      ...(because.startsWith("thread: ") && {
        details: { error_code: "thread_unsupported_request", unsupported: ["thread"] },
      }),
    },
  };
}

/** Thoughts are signed by those who can check it later; programs only look whether there is one. */
const signature = "ollm";

export class AnthropicWriter implements AnswerWriter {
  readonly #asked: string;
  readonly #showsThinking: boolean;
  readonly #id = newId("msg_");
  readonly keepAlive = event("ping");
  /** Blocks begun so far. */
  #blocks = 0;
  #open: "text" | "thinking" | undefined;

  /** Programs that don't ask for thoughts take the first block for the answer. */
  constructor(model: string, showsThinking: boolean) {
    this.#asked = model;
    this.#showsThinking = showsThinking;
  }

  begin(model: string): string {
    const usage = { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: null, cache_creation_input_tokens: 0 };
    const start = { ...this.#message(model), content: [], stop_reason: null, stop_sequence: null, usage };
    return event("message_start", { message: start }) + this.keepAlive;
  }

  delta(part: "text" | "thinking", delta: string): string {
    if (part === "thinking" && !this.#showsThinking) return "";
    let before = "";
    if (this.#open !== part) {
      before = this.#close() + this.#start(part === "text" ? { type: part, text: "" } : emptyThinking);
      this.#open = part;
    }
    return before + this.#add(part === "text" ? { type: "text_delta", text: delta } : thought(delta));
  }

  end(result: GenerateResult): string {
    let events = this.#close();
    for (const { id, name, arguments: json } of result.toolCalls ?? []) {
      events += this.#start({ type: "tool_use", id, name, input: {} });
      events += this.#add({ type: "input_json_delta", partial_json: json }) + this.#stop();
    }
    const { usage, ...delta } = ending(result);
    return events + event("message_delta", { delta, usage }) + event("message_stop");
  }

  failed(failure: DoorFailure): string {
    return event("error", errorBody(failure));
  }

  whole(result: GenerateResult): object {
    const { text: answer, thinking = "", toolCalls = [] } = result;
    return {
      ...this.#message(result.model),
      content: [
        ...(this.#showsThinking && thinking !== "" ? [{ ...emptyThinking, thinking, signature }] : []),
        ...(answer === "" ? [] : [{ type: "text", text: answer }]),
        ...toolCalls.map(({ id, name, arguments: json }) => ({ type: "tool_use", id, name, input: JSON.parse(json) })),
      ],
      ...ending(result),
    };
  }

  #message(model: string): object {
    return { id: this.#id, type: "message", role: "assistant", model: model === "" ? this.#asked : model };
  }

  #close(): string {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return "";
    return (open === "thinking" ? this.#add({ type: "signature_delta", signature }) : "") + this.#stop();
  }

  #start(block: object): string {
    this.#blocks += 1;
    return this.#event("content_block_start", { content_block: block });
  }

  #add(delta: object): string {
    return this.#event("content_block_delta", { delta });
  }

  #stop(): string {
    return this.#event("content_block_stop", {});
  }

  #event(type: string, what: object): string {
    return event(type, { index: this.#blocks - 1, ...what });
  }
}

const emptyThinking = { type: "thinking", thinking: "", signature: "" };
const thought = (thinking: string): object => ({ type: "thinking_delta", thinking });

function ending({
  finishReason,
  toolCalls = [],
  stopText,
  promptTokens = 0,
  cachedPromptTokens: cached,
  completionTokens,
}: GenerateResult) {
  const word = toolCalls.length > 0 ? undefined : stopText;
  const ended = finishReason === "stop" ? "end_turn" : "max_tokens";
  return {
    stop_reason: toolCalls.length > 0 ? "tool_use" : word === undefined ? ended : "stop_sequence",
    stop_sequence: word ?? null,
    usage: {
      input_tokens: Math.max(0, promptTokens - (cached ?? 0)),
      // Unknown, unless the engine tells.
      cache_read_input_tokens: cached ?? null,
      cache_creation_input_tokens: 0,
      output_tokens: completionTokens,
    },
  };
}
