import type { ThinkLevel } from "../../../types.ts";
import type { ChatMessage } from "../../generation.ts";
import type {
  ChatHistoryItem,
  ChatWrapper,
  ChatWrapperOptions,
  LlamaModel,
  NodeLlamaCpp,
  Token,
} from "./node-llama-cpp.ts";

/** Marks of templates of models that think, or speak on several channels. */
const thinkingTemplate = /<\/?think|<\|channel|<seed:think|\[THINK\]|<thought|enable_thinking|reasoning/i;

/** A wrapper for each way of thinking, made when first asked for. */
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
 * The template as it stands in the file, because the library's own wrappers differ in small things (the one for ChatML
 * starts with a token that SmolLM2 was never trained on). For models that think, the wrapper made for them, if it knows
 * their thoughts: it is the one that can also keep them from thinking.
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

/** llama.cpp puts the model's first token (BOS) in front of a prompt that lacks it; templates needn't print it. */
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

/** The conversation in the library's words; a last message of the assistant is continued by the answer. */
function toHistory(messages: readonly Pick<ChatMessage, "role" | "content">[]): ChatHistoryItem[] {
  return messages.map(({ role, content }) => {
    if (role === "assistant") return { type: "model", response: [content] };
    return { type: role, text: content };
  });
}

/** Wrappers that have no way of their own to keep a model from thinking. */
const withoutSwitch: readonly string[] = ["JinjaTemplate", "DeepSeek"];

/**
 * How to keep a model that thinks from it: an answer that begins with an empty, closed thought, which is what its own
 * template writes when asked. Undefined where the wrapper has its own way, or the model has no thoughts.
 */
function closedThought(wrapper: ChatWrapper): ChatHistoryItem | undefined {
  if (wrapper.settings.segments?.thought === undefined || !withoutSwitch.includes(wrapper.wrapperName))
    return undefined;
  return { type: "model", response: [{ type: "segment", segmentType: "thought", ended: true, text: "" }] };
}

/** Exactly the tokens that the library evaluates for this conversation before it generates. */
function renderPrompt(wrapper: ChatWrapper, model: LlamaModel, history: readonly ChatHistoryItem[]): Token[] {
  const chatHistory: readonly ChatHistoryItem[] =
    history.at(-1)?.type === "model" ? history : [...history, { type: "model", response: [] }];
  return wrapper.generateContextState({ chatHistory }).contextText.tokenize(model.tokenizer);
}

/** What a request becomes before anything is evaluated. */
export interface RenderedPrompt {
  readonly wrapper: ChatWrapper;
  readonly history: ChatHistoryItem[];
  readonly tokens: Token[];
  /** Neither the wrapper nor a closed thought keeps the model from thinking: its budget has to. */
  readonly needsThoughtBudget: boolean;
}

/** The prompt of a request in the model's own template and tokens. */
export function promptOf(
  model: LlamaModel,
  templateFor: (think: ThinkLevel | undefined) => ChatWrapper,
  request: {
    readonly messages: readonly Pick<ChatMessage, "role" | "content">[];
    readonly think?: ThinkLevel;
    readonly hasFormat: boolean;
  },
): RenderedPrompt {
  // A grammar holds for thoughts too, so they would be cut to its shape.
  const think = request.hasFormat ? false : request.think;
  const wrapper = templateFor(think);
  const history = toHistory(request.messages);
  const isContinued = history.at(-1)?.type === "model";
  const closed = think === false && !isContinued ? closedThought(wrapper) : undefined;
  if (closed !== undefined) history.push(closed);
  const tokens = renderPrompt(wrapper, model, history);
  return { wrapper, history, tokens, needsThoughtBudget: think === false && closed === undefined };
}
