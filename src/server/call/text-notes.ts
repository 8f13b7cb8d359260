import type { PartialText } from "../../orchestrator/api/types.ts";

/** In a request's `_meta`: its caller wants the text as it is generated. Only our own shell requests it. */
export const streamKey = "ollm/stream";
/**
 * In a request's `_meta`: its caller wants the whole structured answer, as our own shell and pages do. In a result's, for
 * clients that show views: the whole answer, which they pass to the view and not to their model.
 */
export const detailsKey = "ollm/details";
const textKey = "ollm/text";
const thinkingKey = "ollm/thinking";
const resetKey = "ollm/reset";

/** A piece of an answer's text. All `text`s since the last reset, concatenated, are the text so far. */
export interface TextNote {
  readonly text?: string;
  readonly thinking?: string;
  /** Another model starts over: earlier pieces are not part of the answer. */
  readonly isReset?: true;
}

/** The `_meta` of a progress notification that carries a note. */
export function metaOf({ text, thinking, isReset }: TextNote): Readonly<Record<string, unknown>> {
  return {
    ...(text !== undefined && { [textKey]: text }),
    ...(thinking !== undefined && { [thinkingKey]: thinking }),
    ...(isReset === true && { [resetKey]: true }),
  };
}

/** The note in a progress notification; undefined for one without text. */
export function textNoteOf(progress: object): TextNote | undefined {
  const meta = "_meta" in progress ? progress._meta : undefined;
  if (typeof meta !== "object" || meta === null) return undefined;
  const { [textKey]: text, [thinkingKey]: thinking, [resetKey]: reset } = meta as Readonly<Record<string, unknown>>;
  const note: TextNote = {
    ...(typeof text === "string" && { text }),
    ...(typeof thinking === "string" && { thinking }),
    ...(reset === true && { isReset: true }),
  };
  return Object.keys(note).length === 0 ? undefined : note;
}

/** Returns a function that computes what is new in a text since its last call; undefined when nothing is. */
export function createTextDeltas(): (partial: PartialText | undefined) => TextNote | undefined {
  let sent: PartialText = { text: "", thinking: "" };
  return (partial = { text: "", thinking: "" }) => {
    const continues = partial.text.startsWith(sent.text) && partial.thinking.startsWith(sent.thinking);
    const base = continues ? sent : { text: "", thinking: "" };
    const text = partial.text.slice(base.text.length);
    const thinking = partial.thinking.slice(base.thinking.length);
    sent = partial;
    if (continues && text === "" && thinking === "") return undefined;
    return {
      ...(!continues && { isReset: true }),
      ...(text !== "" && { text }),
      ...(thinking !== "" && { thinking }),
    };
  };
}
