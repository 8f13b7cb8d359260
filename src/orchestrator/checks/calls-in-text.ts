import type { ToolCall, ToolDefinition } from "../api/chat.ts";
import type { JsonSchema } from "../api/types.ts";
import { isRecord, jsonIn } from "../util/values.ts";
import callMarks from "./call-marks.json" with { type: "json" };

/** A call as a model wrote it: the arguments may be no JSON. */
type WrittenCall = Pick<ToolCall, "name" | "arguments">;

/** What stands at a place of a text: calls up to `end`, no call, or too little to tell. */
type Look = { readonly end: number; readonly calls: readonly WrittenCall[] } | "none" | "more";

/** What calls are written between; the templates of models differ, and small models mix them. */
const { marks, closers, fenceNames } = callMarks;

const nameKeys = ["name", "function", "tool", "tool_name", "function_name"];
const argumentKeys = ["arguments", "parameters", "args", "params", "input"];
const otherKeys = ["type", "id", "index"];
const callKeys = [...nameKeys, ...argumentKeys, ...otherKeys, "tool_calls"];

/** How long an object may be that has its arguments before its name: until then it isn't clear. */
const maxUnclear = 16_384;
const maxIdCharacters = 64;
/** `{"tool_calls": [{"function": {"name"` */
const maxDepth = 4;

/**
 * Reads the calls that a model wrote into its text, where its server's parser does not know them: JSON on lines of its own,
 * in a fence, or behind a mark. What is wholly a call of one of the tools is a call, and behind a mark one of what is no tool;
 * all else stays text as it was. Text that
 * may begin a call is held until that is clear, other text is passed on at once. The result does not depend on how the text is
 * split into pieces.
 */
export class CallsInText {
  readonly calls: WrittenCall[] = [];
  readonly #tools: ReadonlyMap<string, JsonSchema>;
  readonly #names: readonly string[];
  readonly #pass: (text: string) => void;
  /** Not passed on: it begins with what may be a call. */
  #held = "";
  /** At the beginning: dropped if nothing but calls follows. */
  #blanks = "";
  #isLineStart = true;
  #hasText = false;
  #isEnd = false;
  /** Looked at again when it is as long: a call of megabytes arrives in pieces of a few characters. */
  #nextLook = 0;

  /** `pass` takes the text beside the calls. */
  constructor(tools: readonly ToolDefinition[], pass: (text: string) => void) {
    this.#tools = new Map(tools.map(({ name, parameters }) => [name, parameters]));
    this.#names = [...this.#tools.keys()];
    this.#pass = pass;
  }

  /** Whether a part of the text is not passed on yet. */
  get isHolding(): boolean {
    return this.#held !== "";
  }

  add(piece: string): void {
    this.#held += piece;
    if (this.#held.length >= this.#nextLook) this.#advance();
  }

  /** What is still held becomes calls or text. `isWhole`: it was not cut, so that only its last brackets may lack. */
  end(isWhole: boolean): void {
    this.#isEnd = true;
    this.#advance(isWhole);
    if (this.calls.length === 0) this.#pass(this.#blanks);
  }

  #advance(isWhole = false): void {
    for (;;) {
      const at = this.#candidate();
      this.#flush(at);
      if (this.#held === "") break;
      const look = this.#lookAt(isWhole);
      if (look === "more") {
        this.#nextLook = Math.ceil(this.#held.length * 1.125);
        return;
      }
      if (look === "none") {
        this.#flush(1);
        continue;
      }
      this.calls.push(...look.calls);
      this.#held = this.#held.slice(look.end);
      this.#isLineStart = true;
    }
    this.#nextLook = 0;
  }

  #flush(length: number): void {
    if (length === 0) return;
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    const line = text.slice(text.lastIndexOf("\n") + 1);
    this.#isLineStart = line.trim() === "" && (this.#isLineStart || line.length < text.length);
    this.#blanks += text;
    if (text.trim() === "" && !this.#hasText) return;
    this.#pass(this.#blanks);
    this.#blanks = "";
    this.#hasText = true;
  }

  /** Where something begins that may be a call: a mark, or JSON or a fence at the beginning of a line. */
  #candidate(): number {
    const text = this.#held;
    for (const { index, 0: all, 1: before, 2: sign } of text.matchAll(/(^|\n)[^\S\n]*([{[`])|[<[]/g)) {
      const at = index + all.length - 1;
      const startsLine = sign !== undefined && (before !== "" || this.#isLineStart);
      if (startsLine && (sign !== "`" || begins(text, at, "```"))) return at;
      if (marks.some((mark) => begins(text, at, mark))) return at;
    }
    return text.length;
  }

  #lookAt(isWhole: boolean): Look {
    const text = this.#held;
    const mark = marks.find((each) => text.startsWith(each));
    if (mark !== undefined) return this.#marked(mark === "<function=" ? 0 : mark.length, isWhole);
    if (marks.some((each) => begins(text, 0, each))) return this.#unless();
    if (text.startsWith("`")) return this.#fenced(isWhole);
    const look = this.#json(0, isWhole);
    return typeof look === "string" ? look : this.#alone(look);
  }

  /** A call without marks has its lines for itself. */
  #alone(look: Exclude<Look, string>): Look {
    const rest = /[ \t\r]*(.?)/suy;
    rest.lastIndex = look.end;
    const [all = "", next = ""] = rest.exec(this.#held) ?? [];
    if (next === "") return this.#isEnd ? look : "more";
    return next === "\n" ? { ...look, end: look.end + all.length - 1 } : "none";
  }

  #unless(): Look {
    return this.#isEnd ? "none" : "more";
  }

  #fenced(isWhole: boolean): Look {
    const text = this.#held;
    const [opening = "", name = "", end = ""] = /^`{1,3}[ \t]*([\w-]*)[ \t]*(\r?\n?)/.exec(text) ?? [];
    if (!fenceNames.some((each) => (end === "" ? each.startsWith(name) : each === name))) return "none";
    if (!end.endsWith("\n")) return opening.length === text.length ? this.#unless() : "none";
    const look = this.#several(opening.length, isWhole);
    if (typeof look === "string") return look;
    const at = skipBlanks(text, look.end);
    if (text.startsWith("```", at)) return { ...look, end: at + 3 };
    if (at === text.length) return this.#isEnd ? { ...look, end: at } : "more";
    return begins(text, at, "```") ? this.#unless() : "none";
  }

  /** Calls behind a mark, with or without the mark that closes them. */
  #marked(from: number, isWhole: boolean): Look {
    const text = this.#held;
    const begin = skipBlanks(text, from);
    const ofTools = this.#several(from, isWhole);
    const look = ofTools === "none" && /[{[]/.test(text.charAt(begin)) ? this.#json(begin, isWhole, true) : ofTools;
    if (typeof look === "string") return look;
    let { end } = look;
    for (;;) {
      const at = skipBlanks(text, end);
      const closer = closers.find((each) => text.startsWith(each, at));
      const mayCome = at === text.length || closers.some((each) => begins(text, at, each));
      if (closer === undefined) return mayCome && !this.#isEnd ? "more" : { ...look, end };
      end = at + closer.length;
    }
  }

  /** Calls with nothing but blanks and commas between them. */
  #several(from: number, isWhole: boolean): Look {
    const text = this.#held;
    const calls: WrittenCall[] = [];
    for (let end = from; ;) {
      const at = skipBlanks(text, end, ",;");
      if (text.startsWith("<tool_call>", at)) {
        end = at + "<tool_call>".length;
        continue;
      }
      if (at === text.length) return this.#isEnd ? (calls.length === 0 ? "none" : { end, calls }) : "more";
      const look = this.#one(at, isWhole);
      if (look === "more") return look;
      if (look === "none") return calls.length === 0 ? look : { end, calls };
      calls.push(...look.calls);
      end = look.end;
    }
  }

  #one(at: number, isWhole: boolean): Look {
    const text = this.#held;
    if (text[at] === "{" || text[at] === "[") return this.#json(at, isWhole);
    if (begins(text, at, "<function=")) return this.#tagged(at, isWhole);
    if (begins(text, at, "<tool_call>")) return this.#unless();
    // `name{...}` and `name[ARGS]{...}`, as Mistral's newer templates have it.
    const named = /([\w.-]{1,64})(\[ARGS\])?[ \t]*(?=\{)/y;
    named.lastIndex = at;
    const [opening = "", name = ""] = named.exec(text) ?? [];
    if (name !== "") return this.#tools.has(name) ? this.#argumentsAt(name, at + opening.length, isWhole) : "none";
    const rest = text.slice(at);
    return this.#names.some((each) => `${each}[ARGS]`.startsWith(rest.trimEnd())) ? this.#unless() : "none";
  }

  /** The JSON of the arguments, behind the name. */
  #argumentsAt(name: string, at: number, isWhole: boolean): Look {
    const found = this.#bracketed(at, isWhole);
    return found === undefined ? "more" : { end: found.end, calls: [{ name, arguments: found.json }] };
  }

  /** JSON up to its last bracket; at the end of the text also without. */
  #bracketed(at: number, isWhole: boolean): { readonly end: number; readonly json: string } | undefined {
    const text = this.#held;
    const { end, lacking } = endOfJson(text, at);
    if (end !== undefined) return { end, json: text.slice(at, end) };
    if (!this.#isEnd) return undefined;
    return { end: text.length, json: text.slice(at) + (isWhole ? lacking : "") };
  }

  /** An object that is a call, or a list of them. */
  #json(at: number, isWhole: boolean, ofAny = false): Look {
    const text = this.#held;
    const start = ofAny ? "unclear" : startOf(text, at, this.#names);
    if (start === "more") return this.#unless();
    if (start === "none") return start;
    const found = this.#bracketed(at, isWhole);
    if (start === "unclear" && (found?.end ?? text.length) - at > maxUnclear) return "none";
    if (found === undefined) return "more";
    const { end, json } = found;
    const read = jsonIn(json);
    const calls = read === undefined ? this.#broken(json) : this.#callsIn(read, ofAny);
    return calls === undefined ? "none" : { end, calls };
  }

  /** What begins as a call of a tool, with arguments that are no JSON. */
  #broken(json: string): readonly WrittenCall[] | undefined {
    const name = /"(?:name|function|tool|tool_name|function_name)"\s*:\s*"([^"\\]*)"/.exec(json)?.[1];
    const from = /"(?:arguments|parameters|args|params|input)"\s*:\s*/.exec(json);
    if (name === undefined || from === null || !this.#tools.has(name)) return undefined;
    return [{ name, arguments: json.slice(from.index + from[0].length) }];
  }

  /** Undefined for a value that is more or less than calls, of the tools unless `ofAny`. */
  #callsIn(value: unknown, ofAny: boolean): readonly WrittenCall[] | undefined {
    if (Array.isArray(value)) {
      const all = value.map((each) => this.#callsIn(each, ofAny));
      const calls = all.flatMap((each) => each ?? []);
      return all.length === 0 || all.includes(undefined) ? undefined : calls;
    }
    if (!isRecord(value) || !Object.keys(value).every((key) => callKeys.includes(key))) return undefined;
    const { tool_calls: inner = value["function"] } = value;
    if (typeof inner === "object" && inner !== null) return this.#callsIn(inner, ofAny);
    const name = nameKeys.map((key) => value[key]).find((each) => typeof each === "string");
    const given = argumentKeys.map((key) => value[key]).find((each) => each !== undefined);
    if (name === undefined || !(ofAny || this.#tools.has(name))) return undefined;
    if (typeof given === "string") return [{ name, arguments: given }];
    return isRecord(given) ? [{ name, arguments: JSON.stringify(given) }] : undefined;
  }

  /** `<function=name>` with JSON, or with `<parameter=key>` for each argument. */
  #tagged(at: number, isWhole: boolean): Look {
    const text = this.#held;
    const opening = /<function=([\w.-]{1,64})>\s*/y;
    opening.lastIndex = at;
    const [all = "", name = ""] = opening.exec(text) ?? [];
    if (name === "") return /^<(?:f[a-z]*(?:=[\w.-]{0,64})?)?$/.test(text.slice(at, at + 80)) ? this.#unless() : "none";
    const schema = this.#tools.get(name);
    if (schema === undefined) return "none";
    let from = at + all.length;
    if (text[from] === "{") return this.#argumentsAt(name, from, isWhole);
    const values: Record<string, unknown> = {};
    for (;;) {
      from = skipBlanks(text, from);
      const parameter = /<parameter=([\w.-]{1,64})>\n?([\s\S]*?)\n?<\/parameter>/y;
      parameter.lastIndex = from;
      const [whole, key, value = ""] = parameter.exec(text) ?? [];
      if (whole === undefined || key === undefined) break;
      values[key] = valueOf(value, schema, key);
      from += whole.length;
    }
    if (text.startsWith("</function>", from))
      return { end: from, calls: [{ name, arguments: JSON.stringify(values) }] };
    const isBegun = ["<parameter=", "</function>"].some((each) => begins(text, from, each)) || from === text.length;
    if (!isBegun) return "none";
    // What is cut is no JSON.
    return this.#isEnd ? { end: text.length, calls: [{ name, arguments: text.slice(at + all.length) }] } : "more";
  }
}

/** Whether `text` has `word` at a place, as far as it goes. */
function begins(text: string, at: number, word: string): boolean {
  return at < text.length && word.startsWith(text.slice(at, at + word.length));
}

function skipBlanks(text: string, from: number, others = ""): number {
  let at = from;
  while (at < text.length && (/\s/.test(text.charAt(at)) || others.includes(text.charAt(at)))) at += 1;
  return at;
}

/** Whether the object or list that begins at a place may be a call; `unclear`: its arguments stand before its name. */
function startOf(
  text: string,
  from: number,
  names: readonly string[],
  depth = 0,
): "call" | "unclear" | "none" | "more" {
  let at = skipBlanks(text, from + 1);
  if (depth > maxDepth) return "none";
  if (text[from] === "[") {
    if (at === text.length) return "more";
    return text[at] === "{" ? startOf(text, at, names, depth + 1) : "none";
  }
  for (;;) {
    const key = stringAt(text, at, (value, isWhole) => isOneOf(callKeys, value, isWhole));
    if (typeof key === "string") return key;
    at = skipBlanks(text, key.end);
    if (at === text.length) return "more";
    if (text[at] !== ":") return "none";
    at = skipBlanks(text, at + 1);
    if (at === text.length) return "more";
    const opens = text[at] === "{" || text[at] === "[";
    if (opens && (key.value === "function" || key.value === "tool_calls")) return startOf(text, at, names, depth + 1);
    if (argumentKeys.includes(key.value)) return opens ? "unclear" : "none";
    const isName = nameKeys.includes(key.value);
    const value = stringAt(text, at, (given, isWhole) =>
      isName ? isOneOf(names, given, isWhole) : given.length <= maxIdCharacters,
    );
    if (typeof value === "string") return value;
    if (isName) return "call";
    at = skipBlanks(text, value.end);
    if (at === text.length) return "more";
    if (text[at] !== ",") return "none";
    at = skipBlanks(text, at + 1);
  }
}

const isOneOf = (words: readonly string[], value: string, isWhole: boolean): boolean =>
  words.some((word) => (isWhole ? word === value : word.startsWith(value)));

/** The string at a place, if it is allowed as far as it goes. Without escapes: names have none. */
function stringAt(text: string, at: number, allows: (value: string, isWhole: boolean) => boolean) {
  if (at === text.length) return "more";
  if (text[at] !== '"') return "none";
  const end = text.indexOf('"', at + 1);
  const value = text.slice(at + 1, end === -1 ? undefined : end);
  if (!allows(value, end !== -1)) return "none";
  return end === -1 ? "more" : { value, end: end + 1 };
}

/** Where the JSON ends that begins with a bracket; without an end, the brackets that it lacks. */
function endOfJson(text: string, from: number): { readonly end?: number; readonly lacking: string } {
  const open: string[] = [];
  for (let at = from; at < text.length; at += 1) {
    const sign = text[at];
    if (sign === '"') {
      for (at += 1; at < text.length && text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
      // What is missing of a text can't be known.
      if (at >= text.length) return { lacking: "" };
    } else if (sign === "{" || sign === "[") open.push(sign === "{" ? "}" : "]");
    else if (sign === "}" || sign === "]") {
      open.pop();
      if (open.length === 0) return { end: at + 1, lacking: "" };
    }
  }
  return { lacking: open.toReversed().join("") };
}

/** A text where the schema wants one, else what it says as JSON. */
function valueOf(text: string, { properties }: JsonSchema, key: string): unknown {
  const wanted = isRecord(properties) ? properties[key] : undefined;
  const isText = isRecord(wanted) && [wanted["type"]].flat().includes("string");
  const value = isText ? undefined : jsonIn(text);
  return value === undefined ? text : value;
}
