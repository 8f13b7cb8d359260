import type { GroundedValues } from "../api/facade-answers.ts";
import { InvalidRequest } from "../api/errors.ts";
import type { JsonSchema, Task } from "../api/types.ts";
import type { Quoted, Resolved } from "../generation/ports.ts";
import { counted } from "../util/format-bytes.ts";
import { ground } from "./grounding.ts";

/** The values of a JSON answer are looked for in the text that it is made from. */
interface GroundedRequest {
  /** The request as models get it: they may answer `null`, and are told so. */
  readonly request: Resolved;
  readonly texts: Parameters<typeof ground>[2];
  readonly question: Parameters<typeof ground>[3];
}

/** An answer as far as it stands in the text. */
export interface GroundedAnswer extends GroundedValues {
  /** Without the values that don't stand there. */
  readonly text: string;
  /** Pointers of what was taken out, with the values as the model gave them. */
  readonly missing: readonly Missing[];
  readonly notes: readonly string[];
}

interface Missing {
  readonly pointer: string;
  readonly shown: string;
  /** An element of a list. */
  readonly isLeftOut: boolean;
}

const instruction = "Use null only for a value that the text does not state.";

/** Tasks whose words are the model's own; their numbers are not. */
const making: ReadonlySet<Task> = new Set<Task>(["code", "code_review", "creative", "summarization", "translation"]);

/** Undefined for a request whose values need not stand in a text. Throws `InvalidRequest` for one that has none but asks for it. */
export function groundedRequest(request: Resolved, quoted: Quoted): GroundedRequest | undefined {
  const { format, grounded: isAsked, prompt, split, continueId = "new", images = [], audio = [], decided } = request;
  if (isAsked === false) return undefined;
  const texts =
    (quoted.files ?? []).length > 0 ? quoted.files : split === "auto" ? [{ path: "prompt", text: prompt }] : [];
  if (format === undefined || texts === undefined || texts.length === 0) {
    if (isAsked !== true) return undefined;
    throw new InvalidRequest("values are looked for in files, in an answer with a format", {
      next: { step: "setArgument", argument: format === undefined ? "format" : "files" },
    });
  }
  // What is in pictures, in recordings or in earlier turns can't be looked for.
  if (isAsked === undefined && (continueId !== "new" || images.length + audio.length > 0)) return undefined;
  return {
    request: {
      ...request,
      prompt: `${prompt}\n\n${instruction}`,
      format: format === "json" ? format : (nullable(format) as JsonSchema),
    },
    texts: texts.map(({ path, text }) => ({ path, text })),
    question: { prompt: quoted.question, isMade: making.has(decided.task) },
  };
}

/** A schema whose strings and numbers may be null, where they are members of an object. */
function nullable(schema: unknown, isMember = false): unknown {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) return schema;
  const given = schema as JsonSchema;
  const copy: Record<string, unknown> = { ...given };
  for (const name of ["properties", "patternProperties", "$defs", "definitions"]) {
    const members = given[name];
    if (typeof members !== "object" || members === null) continue;
    copy[name] = Object.fromEntries(Object.entries(members).map(([key, each]) => [key, nullable(each, true)]));
  }
  for (const name of ["anyOf", "oneOf", "allOf", "prefixItems"]) {
    const members = given[name];
    if (Array.isArray(members)) copy[name] = members.map((each) => nullable(each, isMember && name !== "prefixItems"));
  }
  if ("items" in given) copy["items"] = nullable(given["items"]);
  if ("additionalProperties" in given) copy["additionalProperties"] = nullable(given["additionalProperties"], true);
  const types = [given["type"]].flat();
  const isValue = types.some((type) => type === "string" || type === "number" || type === "integer");
  if (isMember && isValue && !types.includes("null") && !("enum" in given || "const" in given))
    copy["type"] = [...types, "null"];
  return copy;
}

/** What a thread looks for. */
interface GroundWork extends Omit<GroundedRequest, "request"> {
  readonly format: "json" | JsonSchema;
  readonly answer: string;
}

/** The answer without the values that don't stand in the text. It is valid JSON. */
export function groundedAnswer({ format, texts, question, answer }: GroundWork): GroundedAnswer {
  const value: unknown = JSON.parse(answer);
  const found = ground(value, format === "json" ? undefined : format, texts, question);
  const { where, notJudged } = found;
  if (found.missing.length === 0) return { text: answer, where, notJudged, missing: [], notes: [] };
  const missing: Missing[] = [];
  const wanted = new Set(found.missing);
  const without = (each: unknown, pointer: string, isElement: boolean): unknown => {
    if (wanted.has(pointer)) {
      missing.push({ pointer, shown: JSON.stringify(each), isLeftOut: isElement });
      return isElement ? undefined : null;
    }
    if (Array.isArray(each)) {
      return each.map((one, at) => without(one, `${pointer}/${at}`, true)).filter((one) => one !== undefined);
    }
    if (typeof each !== "object" || each === null) return each;
    const entries = Object.entries(each).map(([key, one]): [string, unknown] => {
      const step = key.replaceAll("~", "~0").replaceAll("/", "~1");
      return [key, without(one, `${pointer}/${step}`, false)];
    });
    return Object.fromEntries(entries);
  };
  const kept = without(value, "", false);
  const text = JSON.stringify(kept, undefined, answer.includes("\n") ? 2 : undefined);
  return { text, where, notJudged, missing, notes: notesOf(missing) };
}

const maxNamed = 8;

/** As a predicate of the model: what it is asked to correct. */
export function ungroundedProblem({ missing }: GroundedAnswer): string {
  const named = missing
    .slice(0, maxNamed)
    .map(({ pointer, shown }) => `${pointer || "the value"}: ${shown.slice(0, 80)}`);
  return `gave values that the text does not contain (${named.join("; ")}), which have to be null`;
}

/** What the caller is told of values that were taken out. */
function notesOf(missing: readonly Missing[]): readonly string[] {
  const named = (isLeftOut: boolean): string => {
    const own = missing.filter((each) => each.isLeftOut === isLeftOut).map(({ pointer }) => pointer || "the value");
    const more = own.length - maxNamed;
    return [...own.slice(0, maxNamed), ...(more > 0 ? [counted(more, "other")] : [])].join(", ");
  };
  const [nulls, leftOut] = [named(false), named(true)];
  return [
    ...(nulls === "" ? [] : [`null, because what the model gave does not stand in the text: ${nulls}`]),
    ...(leftOut === "" ? [] : [`left out, because it does not stand in the text: ${leftOut}`]),
  ];
}
