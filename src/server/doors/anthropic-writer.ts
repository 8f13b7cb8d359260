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

/** Programs that don't ask for thoughts take the first block for the answer. */
export function anthropicWriter(asked: string, showsThinking: boolean): AnswerWriter {
  const id = newId("msg_");
  const keepAlive = event("ping");
  /** Blocks begun so far. */
  let blocks = 0;
  let open: "text" | "thinking" | undefined;
  const message = (model: string): object => ({
    id,
    type: "message",
    role: "assistant",
    model: model === "" ? asked : model,
  });
  const ofBlock = (type: string, what: object): string => event(type, { index: blocks - 1, ...what });
  const start = (block: object): string => {
    blocks += 1;
    return ofBlock("content_block_start", { content_block: block });
  };
  const add = (delta: object): string => ofBlock("content_block_delta", { delta });
  const stop = (): string => ofBlock("content_block_stop", {});
  const close = (): string => {
    const closed = open;
    open = undefined;
    if (closed === undefined) return "";
    return (closed === "thinking" ? add({ type: "signature_delta", signature }) : "") + stop();
  };
  return {
    keepAlive,
    begin: (model) => {
      const usage = {
        input_tokens: 0,
        output_tokens: 0,
        cache_read_input_tokens: null,
        cache_creation_input_tokens: 0,
      };
      const begun = { ...message(model), content: [], stop_reason: null, stop_sequence: null, usage };
      return event("message_start", { message: begun }) + keepAlive;
    },
    delta: (part, delta) => {
      if (part === "thinking" && !showsThinking) return "";
      let before = "";
      if (open !== part) {
        before = close() + start(part === "text" ? { type: part, text: "" } : emptyThinking);
        open = part;
      }
      return before + add(part === "text" ? { type: "text_delta", text: delta } : thought(delta));
    },
    end: (result) => {
      let events = close();
      for (const { id: call, name, arguments: json } of result.toolCalls ?? []) {
        events += start({ type: "tool_use", id: call, name, input: {} });
        events += add({ type: "input_json_delta", partial_json: json }) + stop();
      }
      const { usage, ...delta } = ending(result);
      return events + event("message_delta", { delta, usage }) + event("message_stop");
    },
    failed: (failure) => event("error", errorBody(failure)),
    whole: (result) => {
      const { text: answer, thinking = "", toolCalls = [] } = result;
      return {
        ...message(result.model),
        content: [
          ...(showsThinking && thinking !== "" ? [{ ...emptyThinking, thinking, signature }] : []),
          ...(answer === "" ? [] : [{ type: "text", text: answer }]),
          ...toolCalls.map((call) => ({
            type: "tool_use",
            id: call.id,
            name: call.name,
            input: JSON.parse(call.arguments),
          })),
        ],
        ...ending(result),
      };
    },
  };
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
