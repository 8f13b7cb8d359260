import { advice, type NextStep } from "../../api/next-step.ts";
import {
  EngineUnreachable,
  LoadFailed,
  type OrchestratorError,
  OutOfMemory,
  PrivacyLocked,
  PromptTooLong,
  QueueFull,
  UnknownModel,
  UnsupportedCapability,
} from "../../api/errors.ts";
import { shortened } from "../../util/format-bytes.ts";
import { defined, isRecord, jsonIn } from "../../util/values.ts";
import { statedTokens } from "../generation.ts";
import {
  type Attempt,
  type ErrorReply,
  TransportErrors,
  allocationBytesIn,
  mentionsOutOfMemory,
  outOfMemorySteps,
  trustCertificate,
} from "../failures.ts";

/** Maximum length of a foreign text in a message. */
const maxMessageCharacters = 500;

/** Parses the value of `{"error": ...}`; a runner's own errors are JSON inside that string. */
function readVendorError(value: unknown): {
  readonly message: string;
  readonly type?: string;
  readonly promptTokens?: number;
  readonly contextTokens?: number;
} {
  if (typeof value === "string") {
    const start = value.indexOf("{");
    const inner = start === -1 ? undefined : jsonIn(value.slice(start));
    return isRecord(inner) ? readVendorError(inner["error"] ?? inner) : { message: value };
  }
  if (!isRecord(value)) return { message: "" };
  const { message, type } = value;
  const [promptTokens, contextTokens] = [value["n_prompt_tokens"], value["n_ctx"]].map(statedTokens);
  return {
    message: typeof message === "string" ? message : JSON.stringify(value),
    ...(typeof type === "string" ? { type } : {}),
    ...defined({ promptTokens, contextTokens }),
  };
}

/** Creates the errors of one server. */
export class OllamaErrors extends TransportErrors {
  readonly #label: string;

  /** `label`: its address, for messages. */
  constructor(label: string) {
    const start = advice("start it (`ollama serve`)");
    super({
      id: "Ollama",
      host: label,
      name: `Ollama at ${label}`,
      place: `Ollama at ${label}`,
      whenClosed: "; it may have been stopped or restarted",
      repeats: false,
      next: {
        invalid: otherProgramSteps(label),
        closed: [{ step: "retry" }, advice("start Ollama if it has stopped (`ollama serve`)")],
        untrusted: trustCertificate,
        unreachable: [start, { step: "changeSetting", setting: "providers.ollama.host" }],
        long: otherProgramSteps(label),
        silent: [
          advice("restart Ollama, which can hang although its health check passes"),
          advice("use another engine"),
        ],
      },
    });
    this.#label = label;
  }

  /**
   * Translates an error response, or the error line of a 200 stream (`status` 200).
   *
   * | answer                                                        | becomes                 |
   * |---------------------------------------------------------------|-------------------------|
   * | `exceed_context_size_error`                                   | `PromptTooLong`         |
   * | 404 with an error text, "file does not exist" of a pull       | `UnknownModel`          |
   * | "does not support ...", 501                                   | `UnsupportedCapability` |
   * | 503                                                           | `QueueFull`             |
   * | out of memory, a runner that was killed or stopped            | `OutOfMemory`           |
   * | any other end of the runner, unloadable file                  | `LoadFailed`            |
   * | 403 with a text (Ollama's cloud is switched off)              | `PrivacyLocked`         |
   * | 508: our own server of Ollama's API (`http.ollamaPort`)        | `EngineUnreachable`     |
   * | 403 without one (foreign Host), no error text (another program) | `EngineUnreachable`  |
   * | anything else                                                 | `attempt.otherwise`     |
   */
  ofReply({ status, text: body }: Omit<ErrorReply, "headers">, attempt: Attempt): OrchestratorError {
    if (status === 508)
      return new EngineUnreachable(
        `no Ollama server is at ${this.#label}: ollm itself answers there (http.ollamaPort)`,
        {
          next: { step: "changeSetting", setting: "providers.ollama.host" },
        },
      );
    // A body that was truncated for its length is still an error text.
    const parsed = jsonIn(body) ?? (/^\s*\{"error":"/.test(body) ? { error: body.slice(body.indexOf(":") + 2) } : body);
    const hasErrorText = isRecord(parsed) && "error" in parsed;
    const vendor = hasErrorText ? readVendorError(parsed["error"]) : { message: body.trim() };
    const text = shortened(vendor.message, maxMessageCharacters);
    const model = attempt.model ?? "the model";
    const cause = new Error(`HTTP ${status}: ${body.slice(0, 2_000)}`);

    const { promptTokens, contextTokens } = vendor;
    const isExact = promptTokens !== undefined && contextTokens !== undefined;
    if (isExact || vendor.type === "exceed_context_size_error")
      return new PromptTooLong(
        isExact
          ? `the prompt has ${promptTokens} tokens, and ${model} is loaded with a context of ${contextTokens}`
          : `the prompt is longer than the context that ${model} is loaded with`,
        { promptTokens: promptTokens ?? (contextTokens ?? 0) + 1, contextTokens: contextTokens ?? 0, isExact },
        { next: [{ step: "shortenPrompt" }, { step: "chooseModel", that: "with a longer context window" }], cause },
      );
    if (
      (status === 404 && hasErrorText && attempt.model !== undefined) ||
      /file does not exist|manifest unknown/i.test(text)
    )
      return new UnknownModel(`Ollama at ${this.#label} has no model ${model}`, {
        next: attempt.model === undefined ? listModels : [{ step: "pullModel", model }, listModels],
        cause,
      });
    if (status === 501 || /does(?:n't| not) support (?!K-shift)/i.test(text))
      return new UnsupportedCapability(`${model} does not support this request: ${text}`, {
        next: { step: "chooseModel", that: "with that capability" },
        cause,
      });
    if (status === 503 || /server busy/i.test(text))
      return new QueueFull(`Ollama at ${this.#label} is busy: ${text || "too many requests are waiting"}`, {
        next: [{ step: "retry" }, advice("raise OLLAMA_MAX_QUEUE of that server")],
        cause,
      });
    if (isOutOfMemory(text))
      return new OutOfMemory(`Ollama could not run ${model}: ${text}`, {
        next: outOfMemorySteps,
        allocationBytes: allocationBytesIn(text),
        wasKilled: !mentionsOutOfMemory(text) && mentionsKill(text),
        cause,
      });
    if (isLoadFailure(text))
      return new LoadFailed(`Ollama could not run ${model}: ${text}`, {
        next: [
          ...(attempt.model === undefined ? [] : [{ step: "pullModelAfresh", model } as const]),
          { step: "chooseModel" },
          seeLog,
        ],
        cause,
      });
    if (status === 403 && text !== "")
      return new PrivacyLocked(`Ollama refused ${model}: ${text}`, {
        next: { step: "chooseModel", that: "on this machine" },
        cause,
      });
    if (status === 403)
      return new EngineUnreachable(
        `Ollama at ${this.#label} refuses requests for this host name; it accepts its IP address`,
        {
          next: [
            { step: "changeSetting", setting: "providers.ollama.host", to: "http://IP-ADDRESS:11434" },
            advice("start that Ollama with OLLAMA_HOST=0.0.0.0"),
          ],
          cause,
        },
      );
    if (status >= 300 && !hasErrorText)
      return new EngineUnreachable(
        `${this.#label} did not answer like an Ollama server while ${attempt.what} (HTTP ${status})`,
        { next: otherProgramSteps(this.#label), cause },
      );
    return new attempt.otherwise(`Ollama failed while ${attempt.what}: ${text || `HTTP ${status}`}`, {
      next: attempt.next ?? [{ step: "retry" }, { step: "chooseModel" }, seeLog],
      cause,
    });
  }
}

const listModels: NextStep = { step: "listModels" };
const seeLog = advice("see Ollama's log");

/** For an address at which another program or a proxy seems to answer. */
function otherProgramSteps(label: string): readonly NextStep[] {
  return [
    advice(`check which program answers at ${label}`),
    { step: "changeSetting", setting: "providers.ollama.host" },
  ];
}

/** The system's OOM killer ends a runner with SIGKILL; Ollama reports a lost runner as "resource limitations". */
const mentionsKill = (text: string): boolean => /resource limitations|signal: killed/i.test(text);

const isOutOfMemory = (text: string): boolean =>
  mentionsOutOfMemory(text) || /more system memory/i.test(text) || mentionsKill(text);

const isLoadFailure = (text: string): boolean =>
  /process has terminated|unexpectedly stopped|unable to load model|error loading model|failed to load|timed out waiting for llama/i.test(
    text,
  );
