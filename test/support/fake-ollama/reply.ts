import { createHash } from "node:crypto";
import { instanceOf } from "../scripted.ts";
import type { FakeModel } from "./types.ts";

const sentence = "Red, green and blue are three colours of the rainbow. ";

/** Eighty different sentences, which are not detected as a loop. */
const longReply = Array.from({ length: 80 }, (_, index) => sentence.replace("Red", `Red${letters(index)}`)).join("");

function letters(index: number): string {
  return String.fromCharCode(97 + Math.floor(index / 26), 97 + (index % 26));
}

/** Returns the model's answer: its `reply`, an instance of the schema, or the sentence (eighty for a long answer). */
export function replyOf(model: FakeModel, prompt: string, format: unknown): string {
  if (format !== undefined && format !== "") {
    return model.json?.(prompt) ?? JSON.stringify(format === "json" ? { answer: "red" } : instanceOf(format));
  }
  if (typeof model.reply === "function") return model.reply(prompt);
  return model.reply ?? (/\blong\b/.test(prompt) ? longReply : sentence.trim());
}

/** Splits a text into tokens: words with preceding blanks, JSON by four characters. */
export function tokensOf(text: string): string[] {
  return text.startsWith("{") || text.startsWith("[")
    ? (text.match(/.{1,4}/gs) ?? [])
    : (text.match(/\s*\S+|\s+$/g) ?? []);
}

/** A token as servers list it with others that were possible. */
export function logprobsOf(token: string, sure = 0.9): object {
  const listed = (text: string, probability: number) => ({ token: text, logprob: Math.log(probability) });
  return { ...listed(token, sure), top_logprobs: [listed(token, sure), listed("\u2581other", 1 - sure)] };
}

/** Truncates the pieces before the first stop string. */
export function untilStop(
  tokens: readonly string[],
  stops: readonly string[],
): { tokens: string[]; isStopped: boolean; stop?: string | undefined } {
  const text = tokens.join("");
  const ends = stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
  if (ends.length === 0) return { tokens: [...tokens], isStopped: false };
  const end = Math.min(...ends);
  return {
    tokens: tokensOf(text.slice(0, end)),
    isStopped: true,
    stop: stops.find((stop) => text.indexOf(stop) === end),
  };
}

/** Returns a unit vector of the words in a text, which differs between texts. */
export function vectorOf(text: string): number[] {
  const vector = Array.from({ length: 32 }, () => 0);
  for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
    const hash = createHash("sha256").update(word).digest();
    const slot = (hash[0] ?? 0) % vector.length;
    vector[slot] = (vector[slot] ?? 0) + ((hash[1] ?? 0) % 2 === 0 ? 1 : -1);
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}
