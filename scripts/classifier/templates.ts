/**
 * Prompts of our own: sentences with alternatives, `[a|b]`, and slots, `{name}`, in `templates/`. They cover what public
 * collections lack: how people ask, in several languages, with files beside the question.
 */
import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { ClassifiedTask } from "../../src/orchestrator/api/types.ts";
import { type Labelled, randomNumbers, seedOf } from "./labelled.ts";

export type Slots = ReadonlyMap<string, readonly string[]>;

const folder = fileURLToPath(new URL("templates", import.meta.url));

/** Headings, `# name`, and the lines below each. */
async function sections(file: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of (await readFile(`${folder}/${file}`, "utf8")).split("\n")) {
    const heading = /^# (\w+)$/.exec(line)?.[1];
    if (heading !== undefined) found.set(heading, (lines = []));
    else if (line.trim() !== "") lines.push(line.replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
  }
  return found;
}

export const readSlots = (): Promise<Slots> => sections("slots.txt");

export function pick(slots: Slots, name: string, random: () => number): string {
  const choices = slots.get(name);
  if (choices === undefined) throw new Error(`no slot "${name}"`);
  return choices[Math.floor(random() * choices.length)] ?? "";
}

/** One sentence of a template. */
function fill(template: string, slots: Slots, random: () => number): string {
  return template
    .replaceAll(/\[([^[\]]*)\]/g, (_, alternatives: string) => {
      const choices = alternatives.split("|");
      return choices[Math.floor(random() * choices.length)] ?? "";
    })
    .replaceAll(/\{(\w+)\}/g, (whole, name: string) => (slots.has(name) ? pick(slots, name, random) : whole))
    .replaceAll(/ {2,}/g, " ")
    .trim();
}

/** What may stand below a prompt, and the files that may come with it, by class. */
const company: Partial<
  Readonly<Record<ClassifiedTask, { readonly below: string; readonly files: readonly string[] }>>
> = {
  code: {
    below: "code",
    files: ["main.py", "src/app.ts", "lib.rs", "index.js", "Server.java", "style.css", "util.go", "query.sql", "a.vue"],
  },
  debugging: {
    below: "code trace",
    files: ["src/index.ts", "app.log", "error.log", "main.c", "views.py", "output.txt", "Main.kt", "trace.txt"],
  },
  code_review: {
    below: "code diff",
    files: ["my.patch", "pr.diff", "src/service.ts", "auth.py", "change.diff", "handler.go", "User.java", "0001.patch"],
  },
  summarization: {
    below: "text",
    files: ["notes.md", "paper.pdf", "meeting.txt", "article.docx", "README.md", "thread.eml", "slides.pptx"],
  },
  extraction: {
    below: "text",
    files: ["invoice.pdf", "cv.docx", "mail.eml", "data.csv", "contacts.txt", "contract.pdf", "page.html", "x.log"],
  },
  translation: {
    below: "text",
    files: ["letter.docx", "de.json", "guide.md", "subtitles.srt", "menu.txt", "strings.xml", "messages.yaml"],
  },
  question_answering: { below: "", files: ["handbook.pdf", "policy.docx", "terms.txt", "faq.md", "report.pdf"] },
  transcription: {
    below: "",
    files: ["rec.mp3", "voice.m4a", "talk.wav", "call.ogg", "podcast.flac", "memo.opus", "clip.mp4", "talk.webm"],
  },
  general: { below: "text", files: ["letter.docx", "plan.md", "text.txt", "essay.md"] },
};

const before = ["please ", "can you ", "could you ", "hey, ", "hi! ", "now ", "ok, ", "I'd like you to ", "Please "];

/** `count` prompts of each class of each language, fewer where a class has few templates. */
export async function ownPrompts(slots: Slots, count: number): Promise<readonly Labelled[]> {
  const found: Labelled[] = [];
  for (const file of (await readdir(folder))
    .filter((name) => name.endsWith(".txt") && name !== "slots.txt")
    .toSorted()) {
    for (const [name, templates] of await sections(file)) {
      const task = name as ClassifiedTask;
      const random = randomNumbers(seedOf(`${file} ${name}`));
      const isEnglish = file === "en.txt";
      const wanted = isEnglish ? count : Math.min(count / 2, templates.length * 20);
      for (let made = 0; made < wanted; made += 1) {
        const template = templates[made % templates.length] ?? "";
        found.push({ task, ...dressed(fill(template, slots, random), task, isEnglish, slots, random), group: "own" });
      }
    }
  }
  return [...new Map(found.map((each) => [`${each.task} ${each.prompt} ${each.fileNames?.join(" ")}`, each])).values()];
}

/** As it may be typed: with a courtesy, in lower case, without a full stop, with a text below, with files. */
function dressed(
  sentence: string,
  task: ClassifiedTask,
  isEnglish: boolean,
  slots: Slots,
  random: () => number,
): Pick<Labelled, "prompt" | "fileNames" | "hasFormat"> {
  let prompt = sentence;
  if (isEnglish && random() < 0.12 && /^[a-z]/.test(prompt)) prompt = `${oneOf(before, random)}${prompt}`;
  if (random() < 0.35) prompt = prompt.slice(0, 1).toUpperCase() + prompt.slice(1);
  const { below = "", files = [] } = company[task] ?? {};
  const chance = random();
  const takesText = task !== "general" || /\b(?:this|text|sentence|paragraph|following)\b/.test(prompt);
  if (chance < 0.35 && below !== "" && takesText && !prompt.includes("\n")) {
    const kind = oneOf(below.split(" "), random);
    const text = pick(slots, kind, random);
    const fenced = kind === "text" || random() < 0.5 ? text : `\`\`\`\n${text}\n\`\`\``;
    prompt =
      random() < 0.8 ? `${prompt}${oneOf(["\n\n", ":\n\n", "\n", ": "], random)}${fenced}` : `${fenced}\n\n${prompt}`;
  }
  const isQuestionOfFact = task === "question_answering" && !/text|document|article|contract|passage|file/.test(prompt);
  const fileNames =
    files.length > 0 && !isQuestionOfFact && random() < (task === "general" ? 0.05 : 0.3) ? [oneOf(files, random)] : [];
  if (fileNames.length > 0 && random() < 0.2) fileNames.push(oneOf(files, random));
  const hasFormat = task === "extraction" ? random() < 0.3 : random() < 0.02;
  return { prompt, ...(fileNames.length === 0 ? {} : { fileNames }), ...(hasFormat ? { hasFormat } : {}) };
}

/** Prompts of our own that were written one by one. */
export async function writtenPrompts(): Promise<readonly Labelled[]> {
  const lines = (await readFile(`${folder}/requests.jsonl`, "utf8")).trim().split("\n");
  return lines.map((line, index) => {
    const { task, prompt }: Pick<Labelled, "task" | "prompt"> = JSON.parse(line);
    return { task, prompt, group: `written ${index}` };
  });
}

const oneOf = <T>(choices: readonly T[], random: () => number): T =>
  choices[Math.floor(random() * choices.length)] as T;
