/**
 * Labelled prompts of public sources, which are read from a folder and never stored in this repository. `FOLDER/OWNER/NAME`
 * is a checkout of github.com/OWNER/NAME:
 *
 * | repository                         | licence    | taken                                                              |
 * | ---------------------------------- | ---------- | ------------------------------------------------------------------ |
 * | google-research/FLAN               | Apache-2.0 | Natural Instructions v2 (allenai, Apache-2.0): definition and first |
 * |                                    |            | example of each task, by its category; templates by task           |
 * | bigscience-workshop/promptsource   | Apache-2.0 | templates, by data set; their variables are filled with texts of ours |
 * | yizhongw/self-instruct             | Apache-2.0 | seed tasks, labelled by hand (`labels.ts`)                         |
 * | microsoft/vscode-copilot-chat      | MIT        | requests of developers, by their intent                            |
 * | openai/grade-school-math           | MIT        | word problems                                                      |
 * | clinc/oos-eval                     | CC BY 3.0  | utterances, by their intent                                        |
 * | f/awesome-chatgpt-prompts          | CC0 1.0    | some roles and applications (its files `prompts.csv`, `vibeprompts.csv`) |
 * | wshobson/commands                  | MIT        | commands of developers, by their name                              |
 * | jkoppel/QuixBugs                   | MIT        | programs, to stand below prompts of our own                        |
 * | sshh12/multi_token                 | Apache-2.0 | requests to transcribe                                             |
 *
 * Left out for their licences: sahil280114/codealpaca (its data is CC BY-NC 4.0) and AudioLLMs/AudioBench (non-commercial);
 * because they ask not to be trained on: BIG-Bench Hard and LongFact; because they judge models: the questions of
 * lm-sys/FastChat, arena-hard, Koala's test set, and the user-oriented tasks of self-instruct.
 */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { ClassifiedTask } from "../../src/orchestrator/api/types.ts";
import { flanTemplates, naturalInstructions, promptSource } from "./instruction-sets.ts";
import { type Labelled, type Read, evenly, grouped, parseCsv } from "./labelled.ts";
import { labelled, seedLabels } from "./labels.ts";
import type { Slots } from "./templates.ts";

export const sourceNames = [
  "google-research/FLAN with Natural Instructions v2 (Apache-2.0)",
  "bigscience-workshop/promptsource (Apache-2.0)",
  "yizhongw/self-instruct (Apache-2.0)",
  "microsoft/vscode-copilot-chat (MIT)",
  "openai/grade-school-math (MIT)",
  "clinc/oos-eval (CC BY 3.0)",
  "f/awesome-chatgpt-prompts (CC0 1.0)",
  "wshobson/commands (MIT)",
  "jkoppel/QuixBugs (MIT)",
  "sshh12/multi_token (Apache-2.0)",
] as const;

/** At most so many prompts of one group are read, chosen evenly. */
const perGroup = 20;

/** All labelled prompts of the folder, in the same order on every machine. */
export async function readSources(folder: string, slots: Slots): Promise<readonly Labelled[]> {
  const text = (path: string): Promise<string> => readFile(join(folder, path), "utf8");
  const all = (
    await Promise.all([
      naturalInstructions(text),
      flanTemplates(text, slots),
      promptSource(folder, slots),
      byHand(text),
      copilotIntents(text),
      gradeSchool(text),
      clinc(text),
      awesomePrompts(text),
      byFileName(folder),
      speech(text),
    ])
  ).flat();
  return [...grouped(all).values()].flatMap((group) => evenly(group, perGroup));
}

async function byHand(text: Read): Promise<readonly Labelled[]> {
  interface Line {
    readonly instruction: string;
    readonly instances: readonly { readonly input: string }[];
  }
  const path = "yizhongw/self-instruct/data/seed_tasks.jsonl";
  const ofLine = labelled(seedLabels);
  return (jsonLines(await text(path)) as readonly Line[]).flatMap(({ instruction, instances }, index) => {
    const task = ofLine.get(index);
    const input = instances[0]?.input ?? "";
    const prompt = `${instruction}${input === "" ? "" : `\n\n${input}`}`;
    return task === undefined ? [] : [{ task, prompt, group: `${path} ${index}` }];
  });
}

async function copilotIntents(text: Read): Promise<readonly Labelled[]> {
  const ofIntent: Readonly<Record<string, ClassifiedTask>> = {
    explain: "code",
    tests: "code",
    generate: "code",
    edit: "code",
    doc: "code",
    new: "code",
    newNotebook: "code",
    terminal: "code",
    fix: "debugging",
  };
  const files = [
    "src/app.ts",
    "main.py",
    "lib/util.js",
    "Program.cs",
    "server.go",
    "App.tsx",
    "Main.java",
    "query.sql",
  ];
  const found: Labelled[] = [];
  for (const place of ["inline", "panel"]) {
    const path = `microsoft/vscode-copilot-chat/test/intent/${place}-chat.json`;
    const requests = JSON.parse(await text(path)) as readonly { readonly Request: string; readonly Intent: string }[];
    for (const [index, { Request: prompt, Intent }] of requests.entries()) {
      const task = ofIntent[Intent];
      if (task === undefined || /grammar|typos|summarize|translate/i.test(prompt)) continue;
      // Requests in the editor are about the file that is open.
      const file = files[index % files.length];
      const fileNames = place === "inline" && file !== undefined ? { fileNames: [file] } : {};
      found.push({ task, prompt, ...fileNames, group: `copilot ${place} ${index}` });
    }
  }
  return found;
}

async function gradeSchool(text: Read): Promise<readonly Labelled[]> {
  const lines = jsonLines(await text("openai/grade-school-math/grade_school_math/data/train.jsonl")) as readonly {
    question: string;
  }[];
  return evenly(lines, 120).map(({ question }, index) => ({
    task: "reasoning",
    prompt: question,
    group: `gsm8k ${index % 10}`,
  }));
}

const ofClincIntent: Readonly<Record<string, ClassifiedTask>> = {
  translate: "translation",
  definition: "question_answering",
  calories: "question_answering",
  nutrition_info: "question_answering",
  timezone: "question_answering",
  tell_joke: "creative",
  ...Object.fromEntries(
    `greeting goodbye thank_you are_you_a_bot what_can_i_ask_you meal_suggestion travel_suggestion recipe
    what_are_your_hobbies jump_start improve_credit_score ingredient_substitution reminder play_music
    todo_list shopping_list where_are_you_from`
      .split(/\s+/)
      .map((intent) => [intent, "general"] as const),
  ),
};

async function clinc(text: Read): Promise<readonly Labelled[]> {
  const { train } = JSON.parse(await text("clinc/oos-eval/data/data_full.json")) as { train: [string, string][] };
  const found = train.flatMap(([prompt, intent]) => {
    const task = ofClincIntent[intent];
    return task === undefined ? [] : [{ task, prompt, group: `clinc ${intent}` }];
  });
  return [...grouped(found).values()].flatMap((each) =>
    evenly(each, /translate|definition/.test(each[0]?.group ?? "") ? perGroup : 8),
  );
}

/** Roles of awesome-chatgpt-prompts; the others advise, which fits several classes. */
const roles: Readonly<Record<string, ClassifiedTask>> = Object.fromEntries(
  (
    [
      [
        "creative",
        `Character|Storyteller|Football Commentator|Stand-up Comedian|Composer|Screenwriter|Novelist|Poet|Rapper|
        Motivational Speaker|Magician|Text Based Adventure Game|Lunatic|AI Trying to Escape the Box|Fancy Title Generator|
        Spongebob's Magic Conch Shell|Drunk Person|Pirate|Flirting Boy|Girl of Dreams|Healing Grandma|Advertiser|
        Children's Book Creator|Classical Music Composer|Startup Idea Generator|Time Travel Guide|
        Creative Branding Strategist`,
      ],
      ["code_review", "Code Reviewer"],
      ["fast", "Yes or No answer"],
      [
        "code",
        `Linux Terminal|JavaScript Console|SQL Terminal|Python Interpreter|R Programming Interpreter|PHP Interpreter|
        Senior Frontend Developer|Fullstack Software Developer|RegEx Generator|SVG designer|Ethereum Developer|
        Unit Tester Assistant|Any Programming Language to Python Converter|Linux Script Developer|DAX Terminal|
        Commit Message Generator|Conventional Commit Message Generator|Devops Engineer`,
      ],
      ["summarization", "Book Summarizer"],
      ["translation", "English Translator and Improver|Biblical Translator"],
    ] as const
  ).flatMap(([task, names]) => names.split(/\|\s*/).map((name) => [name, task] as const)),
);

async function awesomePrompts(text: Read): Promise<readonly Labelled[]> {
  const folder = "f/awesome-chatgpt-prompts";
  const acts = parseCsv(await text(`${folder}/prompts.csv`)).slice(1);
  const apps = parseCsv(await text(`${folder}/vibeprompts.csv`)).slice(1);
  return [
    ...acts.flatMap(([act = "", prompt = ""]) => {
      const task = roles[act];
      return task === undefined ? [] : [{ task, prompt, group: `awesome ${act}` }];
    }),
    ...apps.flatMap(([app = "", prompt = ""]) =>
      prompt === "" ? [] : [{ task: "code" as const, prompt, group: `awesome app ${app}` }],
    ),
  ];
}

/** Prompts in files of their own: folder, names, class. */
const ofFileName: readonly (readonly [folder: string, name: RegExp, ClassifiedTask])[] = [
  ["wshobson/commands/tools", /^(?:ai-review|multi-agent-review|security-scan|accessibility-audit)/, "code_review"],
  ["wshobson/commands/workflows", /^full-review/, "code_review"],
  ["wshobson/commands/tools", /^(?:debug-trace|error-analysis|error-trace|smart-debug)/, "debugging"],
  ["wshobson/commands/workflows", /^(?:smart-fix|incident-response)/, "debugging"],
  [
    "wshobson/commands/tools",
    /^(?:api-scaffold|code-explain|code-migrate|db-migrate|test-harness|tdd|refactor)/,
    "code",
  ],
];

async function byFileName(folder: string): Promise<readonly Labelled[]> {
  const found: Labelled[] = [];
  for (const [path, pattern, task] of ofFileName) {
    for (const name of (await readdir(join(folder, path))).filter((each) => pattern.test(each)).toSorted()) {
      const file = await readFile(join(folder, path, name), "utf8");
      // Without the settings at the top; their ends are rules for the output.
      const prompt = file.replace(/^---[\s\S]*?---\s*/, "").slice(0, 1200);
      found.push({ task, prompt, group: `${path}/${name}` });
    }
  }
  return found;
}

async function speech(text: Read): Promise<readonly Labelled[]> {
  const source = await text("sshh12/multi_token/scripts/whisper_build_pretrain_dataset.py");
  const phrases = /PRETRAIN_PHRASES = \[([\s\S]*?)\]/.exec(source)?.[1] ?? "";
  return [...phrases.matchAll(/"(.*)"/g)].map(([, phrase = ""]) => ({
    task: "transcription",
    prompt: phrase.replace("<speech>", "this recording"),
    group: "multi_token",
  }));
}

/**
 * Our slots with foreign texts and programs beside our own, so that what stands below a prompt decides nothing. Texts come
 * from prompts that are learned from.
 */
export async function withForeignTexts(slots: Slots, folder: string, learned: readonly Labelled[]): Promise<Slots> {
  const texts = learned
    .filter(({ group }) => group.startsWith("ni "))
    .map(({ prompt }) => prompt.slice(prompt.indexOf("\n\n") + 2))
    .filter((text) => text.length > 80);
  const programs: string[] = [];
  for (const language of ["python_programs", "java_programs"]) {
    const path = join(folder, "jkoppel/QuixBugs", language);
    for (const name of (await readdir(path)).filter((each) => /\.(?:py|java)$/.test(each)).toSorted()) {
      programs.push((await readFile(join(path, name), "utf8")).slice(0, 1500));
    }
  }
  return new Map([
    ...slots,
    ["text", [...repeated(slots.get("text") ?? [], 8), ...texts]],
    ["code", [...repeated(slots.get("code") ?? [], 5), ...programs]],
  ]);
}

const repeated = (texts: readonly string[], times: number): readonly string[] =>
  Array.from({ length: times }, () => texts).flat();

/** The values of a file with one JSON value a line. */
const jsonLines = (text: string): readonly unknown[] =>
  text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as unknown);
