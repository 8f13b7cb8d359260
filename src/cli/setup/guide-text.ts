import { createHash } from "node:crypto";
import { newlineOf } from "./config-text.ts";

/** The form of the guide in a file: the whole file, as a skill or as instructions, or a section of it. */
export type GuideForm = "skill" | "instructions" | "section";

/**
 * What an assistant should know to hand work to local models; the same for every client. With what surrounds it at most 300
 * tokens (o200k). The costs are those that `npm run bench -- answers` measures. Lines fit into 60 columns with an indent.
 */
export const guideText = `## Local models (ollm)

ollm's tools run language models on this machine: free,
private, slower and weaker than you.

Hand over with \`route_and_generate\`: summaries,
extraction, classification, translation, first drafts,
commit messages, boilerplate, bulk work, and text that
must stay on this machine.
Do yourself: careful reasoning, changes across files, and
what needs this conversation or current knowledge.

- Don't read long input: name it in \`files\` (paths, or
  \`git:staged\`), and the server reads it.
- Set \`output_path\` for a long result you needn't read.
- The model sees only your prompt: say what to do and in
  what form. For data, set \`format\` to a JSON Schema.
- A call costs prompt and answer plus about 60 tokens;
  reading 16 kB costs about 3,800.
- Check before use: facts against the source, code by
  running it, bulk work by samples.
- If a call fails or an answer is poor, do the task
  yourself.
`;

/** Agent Skills require that `name` is the name of the folder. */
const heads: Readonly<Record<GuideForm, string>> = {
  skill: `---
name: ollm
description: Hand work to local models (ollm). Use before summarising, extracting, classifying, translating, drafting, or reading a long file or diff.
---
`,
  instructions: `---
applyTo: "**"
---
`,
  section: "",
};

const markStart = "<!-- ollm guide ";
const sectionEnd = "<!-- end of ollm guide -->";
const checksumInMark = /(<!-- ollm guide )[0-9a-f]{8}(?=:)/;

/** The guide in a form, with `\n`; a section has no line break at its end. */
export function guideIn(form: GuideForm): string {
  const end = form === "section" ? sectionEnd : "";
  const text = `${heads[form]}${markStart}00000000: ollm setup --undo removes it -->\n${guideText}${end}`;
  return text.replace(checksumInMark, `$1${checksum(text)}`);
}

/** `older`: as an earlier version of setup wrote it. `changed`: edited since. `foreign`: another file of that name. */
export type GuideState = "absent" | "current" | "older" | "changed" | "foreign";

/** The state of the guide in a file's text; "" is that of an absent file. */
export function guideState(text: string, form: GuideForm): GuideState {
  const found = find(text, form);
  if (typeof found === "string") return found;
  const guide = withNewlines(text.slice(found.start, found.end), "\n");
  if (checksumInMark.exec(guide)?.[0] !== markStart + checksum(guide)) return "changed";
  return guide === guideIn(form) ? "current" : "older";
}

/** The text with the current guide; an older one is replaced. For the states `absent` and `older`. */
export function withGuide(text: string, form: GuideForm): string {
  const found = find(text, form);
  const newline = newlineOf(typeof found === "object" ? text.slice(found.start, found.end) : text);
  const guide = withNewlines(guideIn(form), newline);
  if (typeof found === "object") return text.slice(0, found.start) + guide + text.slice(found.end);
  if (form !== "section") return guide;
  // A text without a line break at its end keeps none, which tells `withoutGuide` what to restore.
  if (text === "") return guide + newline;
  return text.endsWith("\n") ? text + newline + guide + newline : text + newline + newline + guide;
}

/** The text as it was before `withGuide`, byte for byte. For the states `current` and `older`. */
export function withoutGuide(text: string, form: GuideForm): string {
  const found = find(text, form);
  if (typeof found === "string") return text;
  const newline = newlineOf(text.slice(found.start, found.end));
  const before = text.slice(0, found.start);
  const after = text.slice(found.end);
  if (after === "") return withoutEnd(withoutEnd(before, newline), newline);
  return withoutEnd(before, newline) + (after.startsWith(newline) ? after.slice(newline.length) : after);
}

/** A file's text for a diff: with one line in place of the guide's lines, and with a line break at its end. */
export function withFoldedGuide(text: string): string {
  const line = `… (the guide, ${guideText.trimEnd().split("\n").length} lines)\n`;
  const folded = text.replace(guideText, line).replace(withNewlines(guideText, "\r\n"), line);
  return folded === "" || folded.endsWith("\n") ? folded : folded + newlineOf(folded);
}

function find(
  text: string,
  form: GuideForm,
): "absent" | "changed" | "foreign" | { readonly start: number; readonly end: number } {
  if (form !== "section") {
    if (text === "") return "absent";
    return text.includes(markStart) ? { start: 0, end: text.length } : "foreign";
  }
  const starts = text.split(markStart).length - 1;
  const ends = text.split(sectionEnd).length - 1;
  if (starts === 0 && ends === 0) return "absent";
  const start = text.indexOf(markStart);
  const end = text.indexOf(sectionEnd) + sectionEnd.length;
  return starts === 1 && ends === 1 && start < end ? { start, end } : "changed";
}

/** The checksum of a guide with `\n`, whatever checksum its mark has. */
function checksum(guide: string): string {
  return createHash("sha256").update(guide.replace(checksumInMark, "$1")).digest("hex").slice(0, 8);
}

function withNewlines(text: string, newline: string): string {
  return text.replaceAll(/\r?\n/g, newline);
}

function withoutEnd(text: string, end: string): string {
  return text.endsWith(end) ? text.slice(0, -end.length) : text;
}
