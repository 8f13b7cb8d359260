/**
 * What real prompts wear around their request: politeness, rules for the output, system-like openings, context, tags,
 * headings, typing errors, and pasted material that the request is not about. All classes wear the same, so that it
 * decides nothing.
 */
import type { Labelled } from "./labelled.ts";
import type { Slots } from "./templates.ts";

type Random = () => number;

const oneOf = <T>(choices: readonly T[], random: Random): T => choices[Math.floor(random() * choices.length)] as T;

const polite = {
  before: [
    "Hello! I hope you're doing well. ",
    "Good morning, ",
    "Sorry to bother you again, but ",
    "Hey, could you do me a favour? ",
    "If it isn't too much trouble: ",
    "Would you be so kind and help me here? ",
    "Hi there :) ",
    "I was wondering whether you could help. ",
    "Hallo, könntest du mir bitte kurz helfen? ",
    "Guten Tag! Ich hätte eine Bitte: ",
    "Bonjour, j'aurais besoin d'aide. ",
    "S'il vous plaît : ",
    "Hola, ¿me podrías ayudar? ",
    "Ciao, avrei bisogno di una mano. ",
    "你好,麻烦你帮个忙。",
    "请问,",
  ],
  after: [
    " Thanks in advance!",
    " Thank you so much, I really appreciate it.",
    "\n\nMany thanks\nJo",
    " No hurry. Cheers!",
    " Please and thank you.",
    " That would help me a lot.",
    " Vielen Dank im Voraus!",
    " Merci beaucoup !",
    " ¡Muchas gracias!",
    " Grazie mille!",
    "谢谢!",
  ],
} as const;

const output = [
  "Return only the answer.",
  "Output the result and nothing else.",
  "No explanations, no preamble.",
  "Do not add any commentary.",
  "Give me just the final version.",
  "Only the result please, no introduction.",
  "Respond with the output only.",
  "Don't explain what you did.",
  "Skip the pleasantries and the summary at the end.",
  "Answer in plain text without Markdown.",
  "Use Markdown with short headings.",
  "Keep it under 200 words.",
  "Answer in English.",
  "Be concise.",
  "Be thorough.",
  "Format: JSON.",
  "Nur das Ergebnis, keine Erklärung.",
  "Ohne Einleitung bitte.",
  "Uniquement le résultat, sans explication.",
  "Solo el resultado, sin explicaciones.",
  "Solo il risultato.",
  "只给结果,不要解释。",
] as const;

const persona = [
  "a helpful assistant",
  "an expert with 20 years of experience",
  "a careful and honest assistant",
  "a senior software engineer",
  "a native speaker of German and English",
  "a professional editor",
  "a patient teacher",
  "a data analyst",
  "a lawyer",
  "an award-winning author",
  "a world-class mathematician",
  "a project manager",
  "a chef",
  "a doctor",
  "a journalist",
  "a marketing specialist",
] as const;

const openings = [
  "You are {p}.\n\n",
  "You are {p}. Answer accurately and say so if you don't know.\n\n",
  "SYSTEM: You are {p}. Follow the user's instructions exactly.\n\nUSER: ",
  "Act as {p}. ",
  "# System prompt\nYou are {p}.\n- Never invent facts.\n- Use the user's language.\n\n# User\n",
  "[INST] You are {p}. [/INST]\n",
  "I want you to be {p} for this. ",
  "As {p}, do the following.\n",
  "### System:\nYou are {p}, and you take your time.\n\n### User:\n",
] as const;

const contexts = [
  "We are a team of six and our deadline is on Friday.",
  "I work at a small hospital and have no budget for this.",
  "It is for a friend who is not good with computers.",
  "My boss asked me for this an hour ago and I'm on the train.",
  "This is part of a larger project about a public library.",
  "We moved to a new office last month, so everything is a bit chaotic.",
  "I already tried twice and was not happy with what I got.",
  "The result goes to a customer in Austria, so it has to be right.",
  "I'm preparing a workshop for teachers.",
  "Context: the shop sells bicycles and spare parts, and has run since 2009.",
  "For your information, the other department has agreed already.",
  "My daughter is 14 and needs it for school.",
  "The server runs Debian 12 with 4 GB of memory.",
  "I use a Mac, my colleague uses Windows.",
] as const;

const tags = ["request", "task", "prompt", "instructions", "user_input", "query", "question", "message"] as const;
const headings = [
  "Task",
  "Request",
  "Instructions",
  "What I need",
  "Question",
  "Your job",
  "Goal",
  "Aufgabe",
  "Tâche",
  "任务",
] as const;
const furtherHeadings = ["Background", "Context", "Notes", "Constraints", "Audience", "Hintergrund"] as const;

function withContext(prompt: string, random: Random): string {
  const context = oneOf(contexts, random);
  const other = random() < 0.4 ? ` ${oneOf(contexts, random)}` : "";
  return random() < 0.75
    ? `${context}${other}${oneOf([" ", "\n\n", "\n", "\n\nHere is what I need: "], random)}${prompt}`
    : `${prompt}\n\n${context}`;
}

function tagged(prompt: string, random: Random): string {
  const tag = oneOf(tags, random);
  const rules = random() < 0.5 ? `\n<rules>${oneOf(output, random)}</rules>` : "";
  const context = random() < 0.4 ? `<context>${oneOf(contexts, random)}</context>\n` : "";
  const [request, ...pasted] = prompt.split("\n\n");
  const split = pasted.length > 0 && random() < 0.5;
  return split
    ? `${context}<${tag}>${request}</${tag}>\n<input>\n${pasted.join("\n\n")}\n</input>${rules}`
    : `${context}<${tag}>\n${prompt}\n</${tag}>${rules}`;
}

function headed(prompt: string, random: Random): string {
  const marks = oneOf(["# ", "## ", "### ", "**"], random);
  const heading = (title: string): string => (marks === "**" ? `**${title}:**` : `${marks}${title}`);
  const more = random() < 0.6 ? `${heading(oneOf(furtherHeadings, random))}\n${oneOf(contexts, random)}\n\n` : "";
  const end = random() < 0.4 ? `\n\n${heading("Output")}\n${oneOf(output, random)}` : "";
  return `${more}${heading(oneOf(headings, random))}\n${prompt}${end}`;
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
function wrapped(prompt: string, random: Random): string {
  const kind = random();
  if (kind < 0.2) {
    const before = random() < 0.7 ? oneOf(polite.before, random) : "";
    return `${before}${prompt}${before === "" || random() < 0.5 ? oneOf(polite.after, random) : ""}`;
  }
  if (kind < 0.38)
    return random() < 0.8
      ? `${prompt}${oneOf([" ", "\n", "\n\n"], random)}${oneOf(output, random)}`
      : `${oneOf(output, random)} ${prompt}`;
  if (kind < 0.54) return `${oneOf(openings, random).replace("{p}", oneOf(persona, random))}${prompt}`;
  if (kind < 0.7) return withContext(prompt, random);
  if (kind < 0.8) return tagged(prompt, random);
  if (kind < 0.92) return headed(prompt, random);
  return mistyped(prompt, random);
}

/** What a request may be given although it is about something else: a poem about a trace, a translation of a comment. */
const crossedTasks = new Set<Labelled["task"]>([
  "creative",
  "translation",
  "summarization",
  "question_answering",
  "general",
  "fast",
  "extraction",
  "reasoning",
]);

/** A share of the prompts again, wrapped once or twice. `group` stays: near-duplicates are held out together. */
export function withWrappers(prompts: readonly Labelled[], share: number, random: Random): readonly Labelled[] {
  return prompts.flatMap((each) => {
    if (random() >= share) return [each];
    const once = wrapped(each.prompt, random);
    return [each, { ...each, prompt: random() < 0.3 ? wrapped(once, random) : once }];
  });
}

const crossed: readonly (readonly [Labelled["task"], readonly string[]])[] = [
  [
    "creative",
    [
      "Write a poem about this",
      "Turn this into a short story",
      "Make a limerick out of this",
      "Write a song inspired by this",
      "Tell a joke about this",
      "Write a dialogue between two people who see this",
      "Invent a fairy tale in which this appears",
      "Dichte etwas über das hier",
      "Écris un poème sur ceci",
    ],
  ],
  [
    "translation",
    [
      "Translate the comments to German",
      "Translate the text in this into French",
      "Put the messages below into Spanish",
      "What does this say in English?",
      "Translate only the strings into Italian",
      "Übersetze die Kommentare ins Englische",
      "Traduis les messages en anglais",
      "把注释翻译成英文",
    ],
  ],
  [
    "summarization",
    [
      "Summarize what this is about for a non-technical reader",
      "Give me the gist of this in two sentences",
      "What are the main points of this?",
      "TL;DR of the following",
      "Fass das für meine Chefin zusammen",
      "Résume ceci en trois phrases",
      "Sum up what happened here",
      "请概括下面的内容",
    ],
  ],
  [
    "extraction",
    [
      "List all names and dates in this as a table",
      "Extract all e-mail addresses and phone numbers",
      "Pull the version numbers out of this",
      "Which URLs occur in this? List them",
      "Get the amounts and currencies as JSON",
      "Extrahiere alle Zahlen mit ihren Einheiten",
      "Collect every file name mentioned below",
    ],
  ],
  [
    "fast",
    [
      "Which language is this? One word",
      "Is this valid JSON? Yes or no",
      "One word: what is this?",
      "Positive or negative? Just the label",
      "Is this about money? yes/no",
      "Only a number: how many lines are there?",
    ],
  ],
  [
    "general",
    [
      "Rewrite the text in this so that it sounds friendlier",
      "Help me answer this politely",
      "I found this in an old folder, what may it have been used for?",
      "Correct the spelling in the text only",
      "How should I reply to this?",
      "Explain to my grandmother what this is",
    ],
  ],
  [
    "code",
    [
      "Write a script that makes a table like this",
      "Write a parser for this format",
      "Generate a TypeScript type for this",
      "Write a SQL schema for data like this",
      "Give me a regex that matches these lines",
      "Convert this into a Python dictionary",
      "Schreib ein Skript, das solche Dateien einliest",
      "写一个脚本来解析这种格式",
    ],
  ],
  [
    "debugging",
    [
      "Why does this fail?",
      "What's wrong here?",
      "This used to work yesterday. What broke?",
      "I get this since the update, how do I fix it?",
      "Warum kommt das?",
      "Pourquoi ça plante ?",
      "这是什么错误,怎么解决?",
    ],
  ],
  [
    "code_review",
    [
      "Review this",
      "Would you merge this? Why not?",
      "Don't change anything, just tell me what you think of the quality",
      "Any security problems in this?",
      "Is this good style?",
      "What would you criticise here before it ships?",
      "Schau bitte drüber, ob das so bleiben kann",
      "请审查这段代码",
    ],
  ],
  [
    "reasoning",
    [
      "How likely is it that this comes out the same twice? Show the calculation",
      "Work out step by step what the total would be after three years",
      "Is the conclusion logically valid? Explain",
      "Given these figures, which option is cheapest from when on?",
    ],
  ],
];

/** Requests with material of any kind below or above them. */
export function crossedPrompts(slots: Slots, count: number, random: Random): readonly Labelled[] {
  const kinds = ["code", "trace", "diff", "text", "table", "log"] as const;
  const codeOnly = ["code", "diff", "trace"] as const;
  return Array.from({ length: count }, () => {
    const [task, requests] = oneOf(crossed, random);
    const kind = crossedTasks.has(task) || task === "code" ? oneOf(kinds, random) : oneOf(codeOnly, random);
    const material = oneOf(slots.get(kind) ?? [""], random);
    const pasted = random() < 0.3 ? `\`\`\`\n${material}\n\`\`\`` : material;
    const request = oneOf(requests, random);
    const end = /[?!.]$/.test(request) ? "" : oneOf([":", ".", ""], random);
    const prompt =
      random() < 0.75 ? `${request}${end}\n\n${pasted}` : `${pasted}\n\n${request}${end === ":" ? "." : end}`;
    return { task, prompt, group: "own" };
  });
}
