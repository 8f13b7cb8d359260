/**
 * What real prompts wear around their request: politeness, rules for the output, system-like openings, context, tags,
 * headings, typing errors, and pasted material that the request is not about. All classes wear the same, so that it
 * decides nothing. The sentences are in `templates/slots.txt`.
 */
import { classifiedTasks } from "../../src/orchestrator/api/types.ts";
import type { Labelled } from "./labelled.ts";
import { type Slots, pick } from "./templates.ts";

type Random = () => number;
type Pick = (slot: string) => string;

const oneOf = <T>(choices: readonly T[], random: Random): T => choices[Math.floor(random() * choices.length)] as T;

const tags = ["request", "task", "prompt", "instructions", "user_input", "query", "question", "message"] as const;

function polite(prompt: string, of: Pick, random: Random): string {
  const before = random() < 0.7 ? of("wrap_before") : "";
  const after = before === "" || random() < 0.5 ? of("wrap_after") : "";
  return [before, prompt, after].filter((part) => part !== "").join(" ");
}

function opened(prompt: string, of: Pick): string {
  const opening = of("wrap_opening").replaceAll(/\{(\w+)\}/g, (_, slot: string) => of(slot));
  return `${opening}${opening.endsWith("\n") ? "" : " "}${prompt}`;
}

function withContext(prompt: string, of: Pick, random: Random): string {
  const context = `${of("wrap_context")}${random() < 0.4 ? ` ${of("wrap_context")}` : ""}`;
  const between = [" ", "\n\n", "\n", "\n\nHere is what I need: ", "\n\nSo: "];
  return random() < 0.75 ? `${context}${oneOf(between, random)}${prompt}` : `${prompt}\n\n${context}`;
}

function tagged(prompt: string, of: Pick, random: Random): string {
  const tag = oneOf(tags, random);
  const rules = random() < 0.5 ? `\n<rules>${of("wrap_output")}</rules>` : "";
  const context = random() < 0.4 ? `<context>${of("wrap_context")}</context>\n` : "";
  const [request, ...pasted] = prompt.split("\n\n");
  const split = pasted.length > 0 && random() < 0.5;
  return split
    ? `${context}<${tag}>${request}</${tag}>\n<input>\n${pasted.join("\n\n")}\n</input>${rules}`
    : `${context}<${tag}>\n${prompt}\n</${tag}>${rules}`;
}

function headed(prompt: string, of: Pick, random: Random): string {
  const marks = oneOf(["# ", "## ", "### ", "**"], random);
  const heading = (title: string): string => (marks === "**" ? `**${title}:**` : `${marks}${title}`);
  const more = random() < 0.6 ? `${heading(of("wrap_further"))}\n${of("wrap_context")}\n\n` : "";
  const end = random() < 0.4 ? `\n\n${heading("Output")}\n${of("wrap_output")}` : "";
  return `${more}${heading(of("wrap_heading"))}\n${prompt}${end}`;
}

/** Neighbours swapped, letters left out or doubled, in a few words of the request. */
function mistyped(prompt: string, random: Random): string {
  const [request = "", ...rest] = prompt.split("\n\n");
  const words = request.split(" ").map((word) => {
    if (word.length < 4 || random() > 0.3 || !/^[a-zäöüßéèà]+$/i.test(word)) return word;
    const at = 1 + Math.floor(random() * (word.length - 2));
    const kind = random();
    if (kind < 0.5) return word.slice(0, at) + word.slice(at + 1, at + 2) + word.slice(at, at + 1) + word.slice(at + 2);
    return kind < 0.8
      ? word.slice(0, at) + word.slice(at + 1)
      : word.slice(0, at) + word.slice(at, at + 1) + word.slice(at);
  });
  return [words.join(" "), ...rest].join("\n\n");
}

/** As a user may send it, with what surrounds it. */
function wrapped(prompt: string, of: Pick, random: Random): string {
  const kind = random();
  if (kind < 0.2) return polite(prompt, of, random);
  if (kind < 0.38)
    return random() < 0.8
      ? `${prompt}${oneOf([" ", "\n", "\n\n"], random)}${of("wrap_output")}`
      : `${of("wrap_output")}${oneOf([" ", "\n\n"], random)}${prompt}`;
  if (kind < 0.56) return opened(prompt, of);
  if (kind < 0.7) return withContext(prompt, of, random);
  if (kind < 0.8) return tagged(prompt, of, random);
  if (kind < 0.92) return headed(prompt, of, random);
  return mistyped(prompt, random);
}

/** A share of the prompts again, wrapped once or twice. `group` stays: near-duplicates are held out together. */
export function withWrappers(
  prompts: readonly Labelled[],
  share: number,
  slots: Slots,
  random: Random,
): readonly Labelled[] {
  const of: Pick = (slot) => pick(slots, slot, random);
  return prompts.flatMap((each) => {
    if (random() >= share) return [each];
    const once = wrapped(each.prompt, of, random);
    return [each, { ...each, prompt: random() < 0.3 ? wrapped(once, of, random) : once }];
  });
}

/** Requests with material of any kind below or above them: a poem about a trace, a translation of a comment. */
export function crossedPrompts(slots: Slots, count: number, random: Random): readonly Labelled[] {
  const tasks = classifiedTasks.filter((task) => slots.has(`crossed_${task}`));
  return Array.from({ length: count }, () => {
    const task = oneOf(tasks, random);
    const kinds = ["code", "trace", "diff", ...(/debugging|review/.test(task) ? [] : ["text", "table", "log"])];
    const material = pick(slots, oneOf(kinds, random), random);
    const pasted = random() < 0.3 ? `\`\`\`\n${material}\n\`\`\`` : material;
    const request = pick(slots, `crossed_${task}`, random);
    const end = /[?!.]$/.test(request) ? "" : oneOf([":", ".", ""], random);
    const prompt =
      random() < 0.75 ? `${request}${end}\n\n${pasted}` : `${pasted}\n\n${request}${end === ":" ? "." : end}`;
    return { task, prompt, group: "own" };
  });
}
