import type { ChatMessage, ToolCall, ToolDefinition } from "../api/chat.ts";
import { InvalidRequest, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import {
  type Delegated,
  type Verdict,
  type WorkerRequest,
  type Workspace,
  workerTools,
} from "../api/facade-batches.ts";
import type { GenerateResult } from "../api/facade.ts";
import type { CallerContext, JsonSchema } from "../api/types.ts";
import { type GenerationWorld, runGeneration } from "../generation/runner.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { oneLine } from "../util/control-characters.ts";
import { defined, fieldsIn } from "../util/values.ts";
import { shortened } from "../util/format-bytes.ts";

interface LoopDeps {
  readonly world: GenerationWorld;
  readonly caller: CallerContext;
  readonly context: OperationContext;
  /** Why a text does not match a schema, as a predicate; undefined if it does. */
  readonly validate: (text: string, schema: JsonSchema) => Promise<string | undefined>;
}

/** `words`: the model says that it is done; `problem`: why it can't go on. */
interface Ended extends Omit<Delegated, "summary" | "notes"> {
  readonly passedBefore: boolean;
  readonly words: string;
  readonly problem: string;
}

const defaultLimits = { turns: 24, tokens: 24_000, seconds: 900, bytes: 512 * 1024, files: 40 };
/** The limits that end the work; what is beyond the others is refused. */
const units = { turns: "turns", tokens: "tokens of answers", seconds: "seconds" } as const;
/** The same call with the same result so often: the model goes in circles. Answers without a usable call, in a row. */
const most = { repeats: 3, malformed: 3 } as const;
const asked = { task: "code", maxTokens: 2_048, contextTokens: 8_192 } as const;
/** Characters of results, outputs and, once they are old, messages. */
const shown = { result: 6_000, output: 1_500, old: 200 } as const;
/** The conversation is shortened when it is longer, all but its newest messages, so that a model's cache holds in between. */
const kept = { characters: 20_000, messages: 4, steps: 2 } as const;

/** What calls of tools have. They were checked. */
type Given = Readonly<Partial<Record<"path" | "folder" | "text" | "before" | "after" | "summary", string>>> & {
  readonly first_line?: number;
};

const text = (description: string) => ({ type: "string", description });
const path = text("Name as list shows it.");
const folder = text("Only below it.");
const optional: ReadonlySet<string> = new Set(["folder", "first_line"]);

const tools: Readonly<
  Record<
    (typeof workerTools)[number] | "done",
    {
      readonly description: string;
      readonly takes: Readonly<Record<string, object>>;
      /** What the model is told; for a change the bytes of the file. */
      readonly does?: (copy: Workspace, given: Given) => Promise<string | number>;
    }
  >
> = {
  read: {
    description: "The text of a file.",
    takes: { path, first_line: { type: "integer", minimum: 1 } },
    does: (copy, given) => copy.read(given.path ?? "", given.first_line),
  },
  grep: {
    description: "Lines that contain a text.",
    takes: { text: text("Exactly."), folder },
    does: async (copy, given) => (await copy.grep(given.text ?? "", given.folder)).join("\n") || "No line contains it.",
  },
  list: {
    description: "Names of the files.",
    takes: { folder },
    does: async (copy, given) => (await copy.list(given.folder)).join("\n") || "No files.",
  },
  edit: {
    description: "Replace a text that is in the file once.",
    takes: { path, before: text("Exactly as in the file."), after: text("In its place.") },
    does: (copy, given) => copy.edit(given.path ?? "", given.before ?? "", given.after ?? ""),
  },
  write: {
    description: "Make a file, or replace it whole.",
    takes: { path, text: text("All of it.") },
    does: (copy, given) => copy.write(given.path ?? "", given.text ?? ""),
  },
  done: { description: "Call it when the task is done.", takes: { summary: text("One sentence.") } },
};

function definitionsOf(allowed: WorkerRequest["tools"] = workerTools): readonly ToolDefinition[] {
  return [...workerTools.filter((name) => allowed.includes(name)), "done" as const].map((name) => {
    const { description, takes: properties } = tools[name];
    const required = Object.keys(properties).filter((each) => !optional.has(each));
    return { name, description, parameters: { type: "object", properties, required, additionalProperties: false } };
  });
}

/** A worker at its task: asks the model for calls of tools, and does them on the copy. */
export class WorkerLoop {
  readonly #deps: LoopDeps;
  readonly #request: WorkerRequest;
  readonly #limits: typeof defaultLimits;
  readonly #startedAtMs: number;
  /** Each call with its result, to tell circles; and as it is told. */
  readonly #steps: string[] = [];
  readonly #tried: string[] = [];
  readonly #written = new Set<string>();
  readonly #tokens = { prompt: 0, completion: 0 };
  #messages: readonly ChatMessage[];
  #turns = 0;
  #bytes = 0;
  #malformed = 0;
  #model = "";
  /** Counts the changes of the copy. A verdict holds for the state that it was made of. */
  #version = 0;
  #verdict: (Verdict & { readonly version: number }) | undefined;

  constructor(deps: LoopDeps, request: WorkerRequest, messages: readonly ChatMessage[]) {
    this.#deps = deps;
    this.#request = request;
    this.#messages = messages;
    this.#limits = { ...defaultLimits, ...request.limits };
    this.#startedAtMs = deps.world.steady();
  }

  /** Throws `Cancelled`, and what asking a model throws before there is any work. */
  async run(): Promise<Ended> {
    const { verifier, workspace } = this.#request;
    // A verifier that can't run is known before a model is asked, and one that passes already proves less.
    const passedBefore = (await this.#verify())?.passed === true;
    let end: Partial<Ended> | undefined;
    while (end === undefined) end = await this.#turn();
    // Work that a limit ended may pass as it is.
    if (end.words === undefined && this.#version > 0 && (await this.#verify())?.passed === true) end = { words: "" };
    const { words, problem = "in the end its changes left all files as they were" } = end;
    const files = words === undefined ? [] : await workspace.keep(this.#deps.context.signal);
    const { version = 0, ...found } = this.#verdict ?? {};
    const isVerified = this.#verdict?.passed === true && version === this.#version;
    const isDone = files.length > 0;
    return {
      state: isDone ? (isVerified ? "verified" : "unverified") : "do_it_yourself",
      files,
      ...(verifier !== undefined && { check: { name: verifier.name, ...(found as Verdict) } }),
      tried: isDone ? [] : [...new Set(this.#tried)].slice(-kept.steps),
      model: this.#model,
      turns: this.#turns,
      tokens: this.#tokens,
      passedBefore,
      words: words ?? "",
      problem,
    };
  }

  async #turn(): Promise<Partial<Ended> | undefined> {
    const problem = this.#limit();
    if (problem !== undefined) return { problem };
    const last = this.#steps.at(-1);
    if (last !== undefined && this.#steps.filter((step) => step === last).length >= most.repeats)
      return { problem: "it went in circles: the same call with the same result three times" };
    this.#turns += 1;
    if (sizeOf(this.#messages) > kept.characters) this.#messages = shortenedHistory(this.#messages);
    const answer = await this.#answer();
    if ("problem" in answer) return answer;
    const { text: content, toolCalls = [] } = answer;
    if (toolCalls.length === 0) return this.#noCall(content);
    this.#malformed = 0;
    this.#say({ role: "assistant", content, toolCalls });
    let hasFailed = false;
    for (const call of toolCalls) {
      throwIfCancelled(this.#deps.context.signal, "the worker");
      // What it wrote behind a call of done, it wrote without knowing that the check fails.
      const result = hasFailed ? "Skipped: the task was not done yet." : await this.#do(call);
      if (typeof result !== "string") return result;
      this.#say({ role: "tool", toolCallId: call.id, toolName: call.name, content: shortened(result, shown.result) });
      hasFailed ||= call.name === "done";
    }
    return undefined;
  }

  /** Which limit has been reached; undefined while there is room. */
  #limit(): string | undefined {
    const used = { turns: this.#turns, tokens: this.#tokens.completion, seconds: this.#seconds() };
    const name = (Object.keys(units) as (keyof typeof units)[]).find((each) => used[each] >= this.#limits[each]);
    return name && `its limit of ${this.#limits[name]} ${units[name]} was reached`;
  }

  #seconds = (): number => (this.#deps.world.steady() - this.#startedAtMs) / 1_000;

  /** That of a model in the background. */
  async #answer(): Promise<Pick<GenerateResult, "text" | "toolCalls"> | { readonly problem: string }> {
    const { world, caller, context } = this.#deps;
    const { task: prompt, tools: allowed, model, profile } = this.#request;
    context.report({ message: `turn ${this.#turns}: ${this.#tried.at(-1) ?? "begins"}` });
    const leftMs = Math.ceil((this.#limits.seconds - this.#seconds()) * 1_000);
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(Math.max(1, leftMs))]);
    const nothing = (): void => undefined;
    // The answers of the model are no answer of the job.
    const silent = { addText: nothing, addThinking: nothing, clearText: nothing, setAnswer: nothing };
    const chat = {
      messages: this.#messages,
      tools: definitionsOf(allowed),
      toolChoice: "required",
      sampling: { temperature: 0.2 },
      isStreamed: false,
    } as const;
    // The prompts stay on this machine, unless a model was named.
    const privacy = model === undefined ? "local_only" : caller.settings.privacy;
    try {
      const result = await runGeneration(
        { ...world, isBackground: true },
        { ...caller, signal },
        { ...asked, prompt, chat, privacy, ...defined({ model, profile }) },
        { ...silent, signal, background: AbortSignal.abort(), report: (progress) => context.report(progress) },
      );
      this.#model = result.model;
      this.#tokens.prompt += result.promptTokens ?? 0;
      this.#tokens.completion += result.completionTokens;
      return result;
    } catch (error) {
      throwIfCancelled(context.signal, "the worker");
      if (!(error instanceof OrchestratorError)) throw error;
      // The model's own fault: it is told, and asked again.
      if (error.facts.code === "check_failed") return { text: `Error: ${error.message}` };
      const shorter = shortenedHistory(this.#messages);
      if (error.facts.code === "prompt_too_long" && sizeOf(shorter) < sizeOf(this.#messages)) {
        this.#messages = shorter;
        return this.#answer();
      }
      const limit = this.#limit();
      if (limit === undefined && this.#turns === 1) throw error;
      return { problem: limit ?? `the model could not be asked: ${error.message}` };
    }
  }

  #noCall(answer: string): Partial<Ended> | undefined {
    this.#malformed += 1;
    this.#note("no call", answer);
    if (this.#malformed >= most.malformed)
      return { problem: `${most.malformed} answers in a row had no usable call of a tool` };
    const [content, error] = answer.startsWith("Error: ") ? ["", `${answer}. `] : [answer, ""];
    const again = `${error}Call one of your tools, with arguments that match.`;
    this.#say({ role: "assistant", content }, { role: "user", content: again });
    return undefined;
  }

  /** The end, or what the model is told. */
  async #do({ name, arguments: json }: ToolCall): Promise<Partial<Ended> | string> {
    const given: Given = fieldsIn(json);
    if (name === "done") {
      const end = await this.#done(given.summary ?? "");
      // The same words after a change are another try.
      if (typeof end === "string") this.#steps.push(`done ${this.#version}`);
      return end;
    }
    const result = await this.#called(name as keyof typeof tools, given).catch((error: unknown) => {
      // Refusals are for the model.
      if (error instanceof InvalidRequest) return `Error: ${error.message}`;
      throw error;
    });
    this.#steps.push(JSON.stringify([name, given, result]));
    this.#note(given.path === undefined ? name : `${name} ${oneLine(given.path)}`, result);
    return result;
  }

  async #called(name: keyof typeof tools, given: Given): Promise<string> {
    const { path: file = "" } = given;
    const { bytes, files } = this.#limits;
    const added = name === "edit" ? given.after : name === "write" ? given.text : undefined;
    const size = this.#bytes + Buffer.byteLength(added ?? "");
    // Before the change: a limit is not passed by one that is too large.
    if (size > bytes) return `Error: more than ${bytes} bytes would be written.`;
    if (added !== undefined && !this.#written.has(file) && this.#written.size >= files)
      return `Error: more than ${files} files would be changed.`;
    const result = await tools[name].does?.(this.#request.workspace, given);
    if (typeof result !== "number") return result ?? "";
    this.#bytes = size;
    this.#written.add(file);
    this.#version += 1;
    return `${file} has ${result} bytes now.`;
  }

  async #done(words: string): Promise<Partial<Ended> | string> {
    const verdict = await this.#verify();
    if (verdict?.passed === false)
      return `Not done: the check failed (${verdict.how}).\n${verdict.output}\nChange the files, then call done again.`;
    if (this.#version > 0) return { words };
    return `Error: ${verdict === undefined ? "" : "the check passes, but "}nothing has been changed yet.`;
  }

  /** The verdict on the present state; undefined without a verifier. */
  async #verify(): Promise<Verdict | undefined> {
    const { workspace, verifier } = this.#request;
    const { signal, report } = this.#deps.context;
    const version = this.#version;
    if (verifier === undefined || this.#verdict?.version === version) return this.#verdict;
    report({ message: `runs ${verifier.name}` });
    const { file = "", schema } = verifier;
    const found = schema === undefined ? await workspace.run(signal) : await this.#compare(file, schema);
    throwIfCancelled(signal, "the worker");
    this.#verdict = { ...found, output: found.output.slice(-shown.output), version };
    return this.#verdict;
  }

  async #compare(file: string, schema: JsonSchema): Promise<Verdict> {
    const content = await this.#request.workspace.text(file);
    if (content === undefined) return { passed: false, how: `there is no file ${file}`, output: "" };
    const output = await this.#deps.validate(content, schema);
    const passed = output === undefined;
    const how = `${file} ${passed ? "matches" : "does not match"} its schema`;
    return { passed, how, output: shortened(output ?? "", shown.output) };
  }

  #say(...messages: readonly ChatMessage[]): void {
    this.#messages = [...this.#messages, ...messages];
  }

  #note(what: string, result: string): void {
    this.#tried.push(`${what}: ${shortened(oneLine(result), 60)}`);
  }
}

function sizeOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, { content, toolCalls = [] }) => {
    return sum + content.length + toolCalls.reduce((all, call) => all + call.arguments.length, 0);
  }, 0);
}

/** All but the first and the newest messages, shortened. */
function shortenedHistory(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const short = (_key: string, value: unknown): unknown =>
    typeof value === "string" ? shortened(value, shown.old) : value;
  return messages.map(({ content, toolCalls, ...rest }, at) => {
    if (at < 2 || at >= messages.length - kept.messages) return { ...rest, content, ...defined({ toolCalls }) };
    const calls = toolCalls?.map((call) => ({ ...call, arguments: JSON.stringify(fieldsIn(call.arguments), short) }));
    return { ...rest, content: shortened(content, shown.old), ...defined({ toolCalls: calls }) };
  });
}
