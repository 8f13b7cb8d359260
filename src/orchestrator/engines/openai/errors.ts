import {
  EngineUnreachable,
  GenerationFailed,
  OrchestratorError,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
  type OrchestratorErrorOptions,
} from "../../api/errors.ts";
import { advice, type NextStep } from "../../api/next-step.ts";
import { shortened } from "../../util/format-bytes.ts";
import { codeOf, isRecord, jsonIn, messageOf } from "../../util/values.ts";
import { statedTokens } from "../generation.ts";
import { type Attempt, type ErrorReply, type Headers, TransportErrors, trustCertificate } from "../failures.ts";

/** The server refuses a parameter of the request; without it, or with another one in its place, it may accept it. */
export class RefusedParameter extends GenerationFailed {
  readonly parameter: string;

  constructor(parameter: string, message: string, options: OrchestratorErrorOptions) {
    super(message, options);
    this.parameter = parameter;
  }
}

/** What an error response says, in whichever form. */
interface VendorError {
  readonly text: string;
  readonly type: string;
  readonly code: string;
  readonly parameter: string | undefined;
  readonly promptTokens: number | undefined;
  readonly contextTokens: number | undefined;
  /** A number of its tokens can't be true: nor are those in its text repeated. */
  readonly isImpossible: boolean;
  /** It was JSON with an error. */
  readonly isFromApi: boolean;
}

/** Maximum length of a foreign text in a message. */
const maxMessageCharacters = 500;
/** A longer wait is not believed. */
const maxRetryAfterMs = 24 * 3_600_000;

const textOf = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? `${value}` : "");

/**
 * Creates the errors of one server. No foreign error becomes a cause, and every foreign text is redacted: a server may
 * repeat the request's headers, and with them the key.
 */
export class OpenAiErrors extends TransportErrors {
  readonly #id: string;
  readonly #setting: NextStep;
  readonly #host: string;
  readonly #secrets: ReadonlySet<string>;

  /** `secrets` are the keys that were sent so far. */
  constructor(id: string, host: string, secrets: ReadonlySet<string>) {
    const retry = [{ step: "retry" }, other] as const;
    const setting = advice(`check baseUrl of ${id} in the setting providers.openai`);
    super({
      id,
      host,
      name: id,
      place: `${host} (${id})`,
      repeats: true,
      next: {
        invalid: retry,
        closed: retry,
        untrusted: [trustCertificate, setting],
        unreachable: [advice("check that the server runs and that this machine reaches it"), setting],
        long: [other, setting],
        silent: retry,
      },
    });
    this.#id = id;
    this.#setting = setting;
    this.#host = host;
    this.#secrets = secrets;
  }

  /**
   * Translates an error response, or an error inside a 200 stream (`status` 200).
   *
   * | answer                                                   | becomes                                     |
   * |----------------------------------------------------------|---------------------------------------------|
   * | a redirect; 508: our own listener                        | `EngineUnreachable`                         |
   * | the prompt exceeds the context                           | `PromptTooLong`                             |
   * | 401, 403 without a model                                 | `EngineUnreachable`                         |
   * | 402, a used up quota                                     | `EngineUnreachable` with `retryAfterMs`     |
   * | 429                                                      | `attempt.otherwise` with `retryAfterMs`     |
   * | 404 or "not found" that mentions the model               | `UnknownModel`                              |
   * | "unsupported parameter"                                  | `RefusedParameter`                          |
   * | 501, "does not support", a path that vLLM lacks          | `UnsupportedCapability`                     |
   * | 404, 405 otherwise, 502, 503, 504                        | `EngineUnreachable`                         |
   * | anything else                                            | `attempt.otherwise`                         |
   */
  ofReply({ status: sent, text: body, headers }: ErrorReply, attempt: Attempt): OrchestratorError {
    const vendor = this.#read(body);
    const inner = Number(vendor.code);
    const status = sent === 200 && inner >= 400 && inner < 600 ? inner : sent;
    const { model } = attempt;
    const said = vendor.text === "" ? `HTTP ${status}` : `${vendor.text} (HTTP ${status})`;
    const retryAfterMs = retryAfterOf(headers);
    const isTransient = status >= 500 && status !== 501 && attempt.isPartial !== true;
    const options = { retryAfterMs };
    const fail = (message: string, ...next: readonly NextStep[]) =>
      new attempt.otherwise(`${this.#id} ${message}`, { ...options, next });
    const unreachable = (message: string, ...next: readonly NextStep[]) =>
      new EngineUnreachable(`${this.#id} ${message}`, { ...options, next });

    if (status === 508)
      return unreachable(`at ${this.#host} is no other server: ollm itself answers there`, this.#setting);
    if (status >= 300 && status < 400) return unreachable(this.#redirect(headers), this.#setting);
    const tooLong = promptTooLong(vendor, attempt, options);
    if (tooLong !== undefined) return tooLong;
    if (status === 401 || (status === 403 && model === undefined))
      return unreachable(`refused the API key while ${attempt.what}: ${said}`, this.#keyStep());
    if (status === 402 || vendor.code === "insufficient_quota" || vendor.type === "exceeded_current_quota_error")
      return unreachable(`refused ${attempt.what}: the quota is used up: ${said}`, advice(`top up the account`), other);
    if (status === 429) return fail(`limits requests while ${attempt.what}: ${said}`, { step: "retry" }, other);
    if (model !== undefined && isUnknownModel(status, vendor, model))
      return new UnknownModel(`${this.#id} has no model ${model}`, { ...options, next: { step: "listModels" } });
    if (
      status === 400 &&
      vendor.parameter !== undefined &&
      /unsupported|unrecognized|unknown/i.test(said + vendor.code)
    )
      return new RefusedParameter(vendor.parameter, `${this.#id} failed while ${attempt.what}: ${said}`, {
        ...options,
        next: other,
      });
    // vLLM has only the paths that its model serves: `{"detail": "Not Found"}`.
    const isMissingPath = status === 404 && vendor.isFromApi && vendor.type === "";
    if (model !== undefined && (status === 501 || isMissingPath || unsupported.test(vendor.text)))
      return new UnsupportedCapability(`${model} on ${this.#id} does not support this request: ${said}`, {
        ...options,
        next: { step: "chooseModel", that: "with that capability" },
      });
    if (status === 403) return fail(`refused ${attempt.what}: ${said}`, this.#keyStep(), other);
    if ([502, 503, 504].includes(status))
      return new EngineUnreachable(`${this.#id} is not ready while ${attempt.what}: ${said}`, {
        ...options,
        isTransient,
        next: [{ step: "retry" }, other],
      });
    if ((status === 404 || status === 405) && !vendor.isFromApi)
      return unreachable(`at ${this.#host} did not answer like an OpenAI-compatible server: ${said}`, this.#setting);
    // The same request would be refused again.
    const isRefused = status >= 400 && status < 500;
    const next = attempt.next ?? (isRefused ? [other] : [{ step: "retry" }, other]);
    return new attempt.otherwise(`${this.#id} failed while ${attempt.what}: ${said}`, {
      ...options,
      isTransient,
      next,
    });
  }

  protected override causeOf(failure: unknown): Error {
    return new Error(`${codeOf(failure) ?? ""} ${this.redacted(messageOf(failure))}`.trim());
  }

  /** The key can't be read: the engine's requests would be refused. */
  ofKey(error: unknown, attempt: Attempt): unknown {
    if (!(error instanceof OrchestratorError)) return error;
    return new EngineUnreachable(`${this.#id} was not asked while ${attempt.what}: ${error.message}`, {
      next: error.next,
    });
  }

  #redirect(headers: Headers): string {
    const location = headers["location"];
    const target = Array.isArray(location) ? location[0] : location;
    const base = `http://${this.#host}`;
    const host = target !== undefined && URL.canParse(target, base) ? new URL(target, base).host : "another address";
    return `at ${this.#host} redirects to ${this.redacted(host)}, and redirects are not followed`;
  }

  #keyStep(): NextStep {
    return advice(`check the key that apiKeyFile or apiKeyEnv of ${this.#id} names in the setting providers.openai`);
  }

  /** The text with `***` in place of every key that was sent. */
  redacted(text: string): string {
    let redacted = text;
    for (const secret of this.#secrets)
      for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")])
        redacted = redacted.replaceAll(form, "***");
    return redacted;
  }

  #read(body: string): VendorError {
    const parsed = jsonIn(body);
    const outer = isRecord(parsed) ? parsed : {};
    const error = outer["error"] ?? outer["detail"] ?? (typeof outer["message"] === "string" ? outer : undefined);
    const inner = isRecord(error) ? error : {};
    const isPage = /^\s*</.test(body);
    const text = textOf(inner["message"]) || (isRecord(error) ? "" : textOf(error));
    const plain = withoutAddresses(this.redacted(text || (isRecord(parsed) || isPage ? "" : body.trim())));
    return {
      text: shortened(plain, maxMessageCharacters),
      type: textOf(inner["type"]),
      code: textOf(inner["code"]),
      parameter: this.redacted(textOf(inner["param"])) || undefined,
      promptTokens: statedTokens(inner["n_prompt_tokens"]),
      contextTokens: statedTokens(inner["n_ctx"]),
      isImpossible: [inner["n_prompt_tokens"], inner["n_ctx"]].some(isImpossible),
      isFromApi: error !== undefined,
    };
  }
}

/** A load balancer may name the addresses of its workers; links to pages of documentation stay. */
function withoutAddresses(text: string): string {
  return text
    .replaceAll(/\b(?:http:\/\/|https:\/\/(?:\[|[^\s/]*:\d|[\d.]+(?![\w.-])))[^\s"'<>)]*/gi, "(address)")
    .replaceAll(/(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.])/g, "(address)");
}

const other: NextStep = { step: "chooseModel" };

const unsupported =
  /does(?:n't| not) support|not a multimodal model|is not supported|(?:is )?only supported by certain models/i;

function isUnknownModel(status: number, { text, code }: VendorError, model: string): boolean {
  if (code === "model_not_found") return true;
  const isMissing = /not found|does not exist|not exist|no such model|unknown model/i.test(text);
  return isMissing && (text.includes(model) || (status === 404 && /\bmodel\b/i.test(text)));
}

/** `4,096` and `4096`, after or before a phrase. */
const number = String.raw`(\d[\d,]*)`;
const contextPhrases = [
  new RegExp(`maximum context length (?:is|of) ${number}`, "i"),
  new RegExp(`token limit: ${number}`, "i"),
  new RegExp(`context (?:size|length|window)[^\\d]{0,30}${number}`, "i"),
  new RegExp(`current batch size: ${number}`, "i"),
];
const promptPhrases = [
  new RegExp(`\\(${number} in the messages`, "i"),
  new RegExp(`(?:resulted in|request has|requested:?|prompt contains at least) ${number}`, "i"),
  new RegExp(`(?:input|request) \\(${number} tokens\\)`, "i"),
];

const isImpossible = (count: unknown): boolean => typeof count === "number" && statedTokens(count) === undefined;

/** The numbers are fields (llama-server) or in the text (vLLM, OpenAI, Kimi). */
function promptTooLong(vendor: VendorError, { model = "the model" }: Attempt, options: OrchestratorErrorOptions) {
  const { text, type, code } = vendor;
  const find = (phrases: readonly RegExp[]): number | undefined => {
    const digits = phrases.map((phrase) => phrase.exec(text)?.[1]).find((match) => match !== undefined);
    return digits === undefined ? undefined : Number(digits.replaceAll(",", ""));
  };
  const inText = [find(contextPhrases), find(promptPhrases)] as const;
  const isStated =
    type === "exceed_context_size_error" ||
    code === "context_length_exceeded" ||
    /maximum context length|exceed\w* .*token limit|is too large to process/i.test(text);
  if (!isStated) return undefined;
  const contextTokens = vendor.contextTokens ?? statedTokens(inText[0]);
  const promptTokens = vendor.promptTokens ?? statedTokens(inText[1]);
  const limit = contextTokens ?? 0;
  const counted = promptTokens ?? limit + 1;
  // vLLM stops counting at the limit.
  const isExact = promptTokens !== undefined && contextTokens !== undefined && !/at least \d/.test(text);
  const message = isExact
    ? `the prompt has ${counted} tokens, and ${model} takes at most ${limit} with the answer`
    : `the prompt is longer than the context of ${model}${vendor.isImpossible || inText.some(isImpossible) ? "" : `: ${text}`}`;
  return new PromptTooLong(
    message,
    { promptTokens: counted, contextTokens: limit, isExact },
    { ...options, next: [{ step: "shortenPrompt" }, { step: "chooseModel", that: "with a longer context window" }] },
  );
}

/** `Retry-After` in seconds or as a date, or OpenAI's `retry-after-ms`. */
function retryAfterOf(headers: Headers): number | undefined {
  const first = (name: string): string => [headers[name]].flat()[0] ?? "";
  const inMs = Number.parseFloat(first("retry-after-ms"));
  const plain = first("retry-after").trim();
  const asked = Number.isFinite(inMs)
    ? inMs
    : /^\d+(\.\d+)?$/.test(plain)
      ? Number(plain) * 1_000
      : Date.parse(plain) - Date.now();
  return Number.isFinite(asked) ? Math.min(Math.max(0, asked), maxRetryAfterMs) : undefined;
}
