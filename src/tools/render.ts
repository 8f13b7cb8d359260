import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { taskOf } from "../orchestrator/api/facade-route.ts";
import { type CallerContext, type Task, taskNames } from "../orchestrator/api/types.ts";
import { didYouMean } from "../orchestrator/util/nearest.ts";

/** Rounds to `decimals`, since digits cost tokens. */
export function round<Value extends number | undefined>(value: Value, decimals = 1): Value | number {
  const factor = 10 ** decimals;
  return value === undefined ? value : Math.round(value * factor) / factor;
}

/** Why an answer ended; for `repetition` a note has details. */
export const finishReasonOutput = z.enum(["stop", "length", "repetition"]);

/** Joins the lines of a text. */
export function asLine(text: string): string {
  return text.trim().replace(/\s*[\r\n]+\s*/g, " ");
}

/**
 * The notes of an answer as data. The note about an unapproved project gets the command that approves it: only the user
 * can run it, so it is the same for all surfaces.
 */
export function notesFor(
  { project }: Pick<CallerContext, "project">,
  notes: readonly string[] = [],
): string[] | undefined {
  if (notes.length === 0) return undefined;
  return notes.map((note) => (note === project?.waiting ? `${note} (\`ollm project trust\`)` : note));
}

/** The notes of an answer, for the end of its text. */
export function noteLines(notes: readonly string[] = []): readonly string[] {
  return notes.map((note) => `note: ${asLine(note)}`);
}

/** Longer words (base64, scripts without spaces) are cut. */
const longestWord = 100;

/** Returns at most the last `characters` of a text, starting at a word. */
export function endOf(text: string, characters: number): string {
  if (text.length <= characters) return text;
  const [before, end] = [text.slice(-characters - 1), text.slice(-characters)];
  const blank = before.slice(0, longestWord).search(/\s/);
  // Half a surrogate pair is no character.
  return blank >= 0 ? before.slice(blank).trimStart() : end.replace(/^[\udc00-\udfff]/, "");
}

/** The task of that name or alias. Throws `InvalidRequest` with the nearest name and all names. */
export function taskNamed(name: string | undefined): Task | undefined {
  if (name === undefined) return undefined;
  const task = taskOf(name);
  if (task !== undefined) return task;
  throw new InvalidRequest(`unknown task "${name}"`, {
    next: [...didYouMean(name, taskNames, 1), { step: "chooseOneOf", names: taskNames }],
  });
}
