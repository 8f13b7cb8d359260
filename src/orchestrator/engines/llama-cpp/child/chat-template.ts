import type { ThinkLevel } from "../../../api/types.ts";
import type { ChatMessage } from "../../../api/chat.ts";
import type {
  ChatHistoryItem,
  ChatWrapper,
  ChatWrapperOptions,
  LlamaModel,
  NodeLlamaCpp,
  Token,
} from "./node-llama-cpp.ts";

/** Matches templates of models that think or use several channels. */
const thinkingTemplate = /<\/?think|<\|channel|<seed:think|\[THINK\]|<thought|enable_thinking|reasoning/i;

/** Returns a function that creates one chat wrapper per thinking level, on first use. */
export function createChatTemplates(
  library: NodeLlamaCpp,
  model: LlamaModel,
): (think: ThinkLevel | undefined) => ChatWrapper {
  const wrappers = new Map<ThinkLevel | undefined, ChatWrapper>();
  return (think) => {
    const known = wrappers.get(think);
    if (known !== undefined) return known;
    const wrapper = resolveWrapper(library, model, think);
    const made = needsFirstToken(model, wrapper) ? withFirstToken(library, wrapper) : wrapper;
    wrappers.set(think, made);
    return made;
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

/** Converts messages to the library's format; the answer continues a last message of the assistant. */
function toHistory(messages: readonly Pick<ChatMessage, "role" | "content">[]): ChatHistoryItem[] {
  return messages.map(({ role, content }) => {
    if (role === "assistant") return { type: "model", response: [content] };
    return { type: role === "tool" ? "user" : role, text: content };
  });
}

/** Wrappers without an option that prevents thinking. */
const withoutSwitch: readonly string[] = ["JinjaTemplate", "DeepSeek"];

/**
 * Returns an empty, closed thought as the start of the answer, which prevents thinking like the model's own template does.
 * Undefined where the wrapper has an option for it, or the model has no thoughts.
 */
function closedThought(wrapper: ChatWrapper): ChatHistoryItem | undefined {
  if (wrapper.settings.segments?.thought === undefined || !withoutSwitch.includes(wrapper.wrapperName))
    return undefined;
  return { type: "model", response: [{ type: "segment", segmentType: "thought", ended: true, text: "" }] };
}

/** Returns exactly the tokens that the library evaluates for this conversation before it generates. */
function renderPrompt(wrapper: ChatWrapper, model: LlamaModel, history: readonly ChatHistoryItem[]): Token[] {
  const chatHistory: readonly ChatHistoryItem[] =
    history.at(-1)?.type === "model" ? history : [...history, { type: "model", response: [] }];
  return wrapper.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer);
}

/** The prompt of a request, before evaluation. */
export interface RenderedPrompt {
  readonly wrapper: ChatWrapper;
  readonly history: ChatHistoryItem[];
  readonly tokens: Token[];
  /** Neither the wrapper nor a closed thought prevents thinking, so a token budget has to. */
  readonly needsThoughtBudget: boolean;
}

/** Renders the prompt of a request with the model's template and tokenizer. */
export function promptOf(
  model: LlamaModel,
  templateFor: (think: ThinkLevel | undefined) => ChatWrapper,
  request: {
    readonly messages: readonly Pick<ChatMessage, "role" | "content">[];
    readonly think?: ThinkLevel;
    readonly hasFormat: boolean;
  },
): RenderedPrompt {
  // A grammar would also apply to thoughts.
  const think = request.hasFormat ? false : request.think;
  const wrapper = templateFor(think);
  const history = toHistory(request.messages);
  const isContinued = history.at(-1)?.type === "model";
  const closed = think === false && !isContinued ? closedThought(wrapper) : undefined;
  if (closed !== undefined) history.push(closed);
  const tokens = renderPrompt(wrapper, model, history);
  return { wrapper, history, tokens, needsThoughtBudget: think === false && closed === undefined };
}
