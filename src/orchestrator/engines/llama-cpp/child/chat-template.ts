import type { ThinkLevel } from "../../../api/types.ts";
import type { ToolDefinition } from "../../../api/chat.ts";
import type {
  ChatHistoryItem,
  ChatWrapper,
  ChatWrapperOptions,
  FunctionCallItem,
  LlamaModel,
  NodeLlamaCpp,
  ResponseItem,
  Token,
} from "./node-llama-cpp.ts";
import type { ChildMessage } from "./protocol.ts";
import { jsonIn, getOrInsert } from "../../../util/values.ts";

/** Matches templates of models that think or use several channels. */
const thinkingTemplate = /<\/?think|<\|channel|<seed:think|\[THINK\]|<thought|enable_thinking|reasoning/i;

/** Returns a function that creates one chat wrapper per thinking level, on first use. */
export function createChatTemplates(
  library: NodeLlamaCpp,
  model: LlamaModel,
): (think: ThinkLevel | undefined) => ChatWrapper {
  const wrappers = new Map<ThinkLevel | undefined, ChatWrapper>();
  return (think) => {
    return getOrInsert(wrappers, think, () => {
      const wrapper = resolveWrapper(library, model, think);
      return needsFirstToken(model, wrapper) ? withFirstToken(library, wrapper) : wrapper;
    });
  };
}

/**
 * Uses the template in the file, because the library's own wrappers differ in details (the one for ChatML starts with a
 * token that SmolLM2 was never trained on). For models that think, uses the library's special wrapper if it supports
 * thoughts, because it can also prevent them.
 */
function resolveWrapper(library: NodeLlamaCpp, model: LlamaModel, think: ThinkLevel | undefined): ChatWrapper {
  const template = model.fileInfo.metadata.tokenizer?.chat_template;
  const customWrapperSettings = thinkingSettings(think);
  const resolve = (type: "auto" | "jinjaTemplate") =>
    library.resolveChatWrapper(model, { type, warningLogs: false, customWrapperSettings });
  if (template === undefined) return resolve("auto");
  if (!thinkingTemplate.test(template)) return resolve("jinjaTemplate");
  const special = resolve("auto");
  return special.settings.segments?.thought === undefined ? resolve("jinjaTemplate") : special;
}

function thinkingSettings(think: ThinkLevel | undefined): ChatWrapperOptions["customWrapperSettings"] {
  if (think === undefined) return {};
  if (think === false)
    return {
      qwen: { thoughts: "discourage" },
      gemma4: { reasoning: false },
      harmony: { reasoningEffort: "low" },
      jinjaTemplate: { reasoning: false },
    };
  return {
    gemma4: { reasoning: true },
    jinjaTemplate: { reasoning: true },
    ...(think === true ? {} : { harmony: { reasoningEffort: think } }),
  };
}

/** Whether the prompt lacks the BOS token, which llama.cpp adds and templates need not contain. */
function needsFirstToken(model: LlamaModel, wrapper: ChatWrapper): boolean {
  if (!model.tokens.shouldPrependBosToken || model.tokens.bos === null) return false;
  const [first] = renderPrompt(wrapper, model, [{ type: "user", text: "x" }]);
  return first !== model.tokens.bos;
}

function withFirstToken(library: NodeLlamaCpp, wrapper: ChatWrapper): ChatWrapper {
  const render = wrapper.generateContextState.bind(wrapper);
  return Object.assign(wrapper, {
    generateContextState: (options: Parameters<ChatWrapper["generateContextState"]>[0]) => {
      const state = render(options);
      return { ...state, contextText: library.LlamaText([new library.SpecialToken("BOS"), state.contextText]) };
    },
  });
}

/** A wrapper that documents `tools` in each prompt, as the template of the model does. */
function withTools(wrapper: ChatWrapper, tools: readonly ToolDefinition[] = []): ChatWrapper {
  if (tools.length === 0) return wrapper;
  const availableFunctions = Object.fromEntries(
    tools.map(({ name, description, parameters }) => [name, { description, params: parameters }]),
  );
  return Object.assign(Object.create(wrapper) as ChatWrapper, {
    generateContextState: ({ chatHistory }: Parameters<ChatWrapper["generateContextState"]>[0]) =>
      wrapper.generateContextState({ chatHistory, availableFunctions }),
  });
}

/**
 * Converts messages to the library's format; the answer continues a last message of the assistant. A call has its result
 * with it. A result without its call is what the user says.
 */
function toHistory(messages: readonly ChildMessage[], hasThoughts: boolean): ChatHistoryItem[] {
  const history: ChatHistoryItem[] = [];
  const open: { readonly id: string; readonly call: FunctionCallItem }[] = [];
  for (const { role, content, thinking, toolCalls = [], toolCallId, toolName } of messages) {
    if (role === "tool") {
      const answered = open.findIndex(({ id, call }) =>
        toolCallId === undefined ? (toolName ?? call.name) === call.name : id === toolCallId,
      );
      const [found] = answered < 0 ? [] : open.splice(answered, 1);
      if (found === undefined) history.push({ type: "user", text: content });
      else found.call.result = content;
      continue;
    }
    if (role !== "assistant") {
      history.push({ type: role, text: content });
      continue;
    }
    const response = responseAfterCalls(history) ?? [];
    if (response.length === 0) history.push({ type: "model", response });
    if (hasThoughts && thinking !== undefined && thinking !== "") response.push(thought(thinking));
    if (content !== "" || toolCalls.length === 0) response.push(content);
    toolCalls.forEach(({ id, name, arguments: text }, index) => {
      // A program may send what is no JSON.
      const params = text.trim() === "" ? {} : (jsonIn(text) ?? text);
      const call: FunctionCallItem = { type: "functionCall", name, params, result: "" };
      response.push(index === 0 ? Object.assign(call, { startsNewChunk: true }) : call);
      open.push({ id, call });
    });
  }
  return history;
}

/** The answer that calls at the end of a conversation belong to. */
function responseAfterCalls(history: readonly ChatHistoryItem[]): ResponseItem[] | undefined {
  const last = history.at(-1);
  const item = last?.type === "model" ? last.response.at(-1) : undefined;
  return last?.type === "model" && typeof item === "object" && item.type === "functionCall" ? last.response : undefined;
}

function thought(text: string): ResponseItem {
  return { type: "segment", segmentType: "thought", ended: true, text };
}

/** Wrappers without an option that prevents thinking. */
const withoutSwitch: readonly string[] = ["JinjaTemplate", "DeepSeek"];

/**
 * Returns an empty, closed thought as the start of the answer, which prevents thinking like the model's own template does.
 * Undefined where the wrapper has an option for it, or the model has no thoughts.
 */
function closedThought(wrapper: ChatWrapper): ResponseItem | undefined {
  if (wrapper.settings.segments?.thought === undefined || !withoutSwitch.includes(wrapper.wrapperName))
    return undefined;
  return thought("");
}

/** Returns exactly the tokens that the library evaluates for this conversation before it generates. */
export function renderPrompt(wrapper: ChatWrapper, model: LlamaModel, history: readonly ChatHistoryItem[]): Token[] {
  const chatHistory: readonly ChatHistoryItem[] =
    history.at(-1)?.type === "model" ? history : [...history, { type: "model", response: [] }];
  return wrapper.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer);
}

/** The prompt of a request, before evaluation. */
export type RenderedPrompt = ReturnType<typeof promptOf>;

/** Renders the prompt of a request with the model's template and tokenizer. */
export function promptOf(
  model: LlamaModel,
  templateFor: (think: ThinkLevel | undefined) => ChatWrapper,
  request: {
    readonly messages: readonly ChildMessage[];
    readonly tools?: readonly ToolDefinition[];
    readonly think?: ThinkLevel;
    readonly hasFormat: boolean;
  },
) {
  // A grammar would also apply to thoughts.
  const think = request.hasFormat ? false : request.think;
  const wrapper = withTools(templateFor(think), request.tools);
  const history = toHistory(request.messages, wrapper.settings.segments?.thought !== undefined);
  const afterCalls = responseAfterCalls(history);
  const isContinued = history.at(-1)?.type === "model" && afterCalls === undefined;
  const closed = think === false && !isContinued ? closedThought(wrapper) : undefined;
  if (closed !== undefined && afterCalls !== undefined) afterCalls.push(closed);
  else if (closed !== undefined) history.push({ type: "model", response: [closed] });
  const tokens = renderPrompt(wrapper, model, history);
  // A token budget has to prevent thoughts where neither the wrapper nor a closed thought does.
  return { wrapper, history, tokens, needsThoughtBudget: think === false && closed === undefined };
}
