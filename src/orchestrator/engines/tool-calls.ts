import { randomUUID } from "node:crypto";
import type { ToolCall, ToolUse } from "../api/chat.ts";
import type { JsonSchema } from "../api/types.ts";
import { isRecord, jsonIn, parseJson } from "../util/values.ts";
import type { GenerationRequest, GenerationSink } from "./generation.ts";

/** Longer ones are replaced. */
const maxIdCharacters = 200;

interface OpenCall {
  readonly index: number;
  readonly key: unknown;
  readonly givenId: string | undefined;
  readonly id: string;
  name: string | undefined;
  /** Before the name is known. */
  held: string;
  json: string;
}

/** The calls of one answer, as a server sends them: whole, or in pieces. */
export function createToolCalls(
  { messages, singleCall }: Pick<GenerationRequest, "messages" | "singleCall">,
  sink: GenerationSink,
) {
  const ids = new Set(messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id }) => id)));
  const calls: OpenCall[] = [];

  function begin(key: unknown, givenId: string | undefined): OpenCall {
    const isUsable = givenId !== undefined && givenId.length <= maxIdCharacters && !ids.has(givenId);
    const id = isUsable ? givenId : `call_${randomUUID().replaceAll("-", "").slice(0, 24)}`;
    ids.add(id);
    const call: OpenCall = { index: calls.length, key, givenId, id, name: undefined, held: "", json: "" };
    calls.push(call);
    return call;
  }

  function extend(call: OpenCall, name: string | undefined, json: string): void {
    const isFirst = call.name === undefined && name !== undefined;
    if (isFirst) call.name = name;
    if (call.name === undefined) {
      call.held += json;
      return;
    }
    const more = call.held + json;
    call.held = "";
    call.json += more;
    // What a server sends beyond the one call that was allowed is dropped.
    if ((isFirst || more !== "") && !(singleCall === true && call.index > 0))
      sink.toolCall?.({ index: call.index, ...(isFirst && { name: call.name }), arguments: more });
  }

  return {
    get characters(): number {
      return calls.reduce((sum, { name = "", json }) => sum + name.length + json.length, 0);
    },
    /**
     * Takes `{ id, index, function: { name, arguments } }`, of which a server may leave out everything. A piece belongs to the
     * call of its index, unless its id or name is another: some servers number all calls with 0. One without an index begins
     * a call if it has a name.
     */
    add(piece: unknown): void {
      const { id, index, function: said } = isRecord(piece) ? piece : {};
      const { name, arguments: given } = isRecord(said) ? said : {};
      const json = typeof given === "string" ? given : isRecord(given) ? JSON.stringify(given) : "";
      const givenId = typeof id === "string" && id !== "" ? id : undefined;
      const givenName = typeof name === "string" && name !== "" ? name : undefined;
      if (index === undefined && givenName !== undefined) return extend(begin(index, givenId), givenName, json);
      const known = calls.findLast(({ key }) => index === undefined || key === index);
      const isOther =
        (givenId !== undefined && known?.givenId !== undefined && givenId !== known.givenId) ||
        (givenName !== undefined && known?.name !== undefined && givenName !== known.name);
      extend(known === undefined || isOther ? begin(index, givenId) : known, givenName, json);
    },
    /** A call without arguments may have come without any JSON. */
    end(): readonly ToolCall[] {
      const given = singleCall === true ? calls.slice(0, 1) : calls;
      for (const call of given) {
        if (call.json + call.held === "") extend(call, call.name ?? "", "{}");
        else if (call.name === undefined) extend(call, "", "");
      }
      return given.map(({ id, name = "", json }) => ({ id, name, arguments: json }));
    },
  };
}

/** Ollama takes arguments as an object, llama-server as the JSON of one; a model may have written something else. */
export function argumentsIn(json: string): Record<string, unknown> {
  const value = jsonIn(json);
  if (isRecord(value)) return value;
  return json === "" ? {} : { arguments: json };
}

/** Keywords of a schema that every grammar knows; what the others demand is checked when the call is complete. */
const bound: ReadonlySet<string> = new Set(["type", "enum", "const", "required", "minItems", "maxItems"]);

function grammarOf(schema: unknown): JsonSchema {
  if (!isRecord(schema)) return {};
  const { properties, items, anyOf, additionalProperties } = schema;
  return {
    ...Object.fromEntries(Object.entries(schema).filter(([keyword]) => bound.has(keyword))),
    ...(isRecord(properties) && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, grammarOf(inner)])),
    }),
    ...(isRecord(items) && { items: grammarOf(items) }),
    ...(Array.isArray(anyOf) && { anyOf: anyOf.map(grammarOf) }),
    ...(additionalProperties === false && { additionalProperties }),
  };
}

/**
 * The schema of an answer that is one call, for servers whose models need not call a tool otherwise: Ollama knows no choice
 * of tools, and llama-server only forbids the answer to end before a call. Absent unless a call is required. The names are
 * in alphabetical order, into which Ollama brings them: the tool is chosen before its arguments are.
 */
export function callForm({ tools = [], toolChoice = "auto" }: ToolUse): JsonSchema | undefined {
  if (toolChoice === "auto" || toolChoice === "none") return undefined;
  const forms = tools
    .filter(({ name }) => toolChoice === "required" || name === toolChoice.name)
    .map(({ name, parameters }) => ({
      type: "object",
      properties: { name: { const: name }, parameters: grammarOf(parameters) },
      required: ["name", "parameters"],
      additionalProperties: false,
    }));
  return forms.length > 1 ? { anyOf: forms } : forms[0];
}

const beginning = /^\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"parameters"\s*:\s*/;
/** An answer that begins with so much else is no call. */
const maxBeginningCharacters = 1_000;

type TakePiece = (piece: { readonly name?: string; readonly arguments: string }) => void;

/** Reads an answer in the form of a call as it streams; one of a server that ignores the form is a text. */
export function createFormedCall(take: TakePiece, text: (delta: string) => void) {
  let state: "start" | "call" | "text" = "start";
  let held = "";
  let taken = "";

  function pass(json: string, name?: string): void {
    if (json === "" && name === undefined) return;
    taken += json;
    take({ ...(name !== undefined && { name }), arguments: json });
  }

  return {
    add(delta: string): void {
      if (state === "text") return text(delta);
      held += delta;
      let named: string | undefined;
      if (state === "start") {
        const [all, name] = beginning.exec(held) ?? [];
        if (all === undefined && held.length < maxBeginningCharacters) return;
        state = all === undefined ? "text" : "call";
        if (all === undefined) return text(held);
        named = String(parseJson(name ?? ""));
        held = held.slice(all.length);
      }
      // The last brace may be that of the form.
      const kept = held.trimEnd();
      const sure = kept.endsWith("}") ? kept.length - 1 : kept.length;
      pass(held.slice(0, sure), named);
      held = held.slice(sure);
    },
    end(): void {
      if (state === "start" && held !== "") text(held);
      if (state === "call") pass(jsonIn(taken + held) === undefined ? "" : held.trim());
    },
  };
}
