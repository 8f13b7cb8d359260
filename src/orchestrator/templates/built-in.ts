import type { Template } from "../api/facade-templates.ts";
import { codeTemplates } from "./built-in-code.ts";
import { type TemplateFile, templateOf } from "./parse-file.ts";

/** Names that templates had, or that are spelt differently. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  "review-diff": ["code-review"],
  summary: ["summarise", "summarize"],
};

/** The templates that come with ollm. A template of the user or the project hides one of the same name. */
export function builtInTemplates(): readonly Template[] {
  return [...codeTemplates, ...textTemplates].map(compiled);
}

/** Throws for an invalid template; a test compiles them all. */
function compiled(file: TemplateFile): Template {
  const read = templateOf(file, "built-in");
  if (!("template" in read)) throw new Error(`built-in template ${file.name}: ${read.problem}`);
  const others = aliases[read.template.name];
  return { ...read.template, source: "built-in", ...(others !== undefined && { aliases: others }) };
}

/**
 * Templates about texts, written for small models: one task each, few choices, and the exact form of the answer last.
 * Answers are limited, because small models repeat themselves, unless their length depends on the input.
 */
const textTemplates: readonly TemplateFile[] = [
  {
    name: "summary",
    description: "Summarises (summarizes) a text.",
    variables: [
      { name: "text", description: "The text." },
      { name: "length", description: "How long the summary may be.", default: "3 sentences" },
      { name: "focus", description: "What the reader wants to know.", default: "the main points" },
    ],
    system: "You summarise texts. You add nothing that the text does not say.",
    template: `Summarise this text in {length}. Focus on {focus}.

<text>
{text}
</text>

Keep names, numbers and dates as they are. Answer with the summary alone.`,
    options: { temperature: 0.2, maxTokens: 800 },
  },
  {
    name: "extract-json",
    description: "Extracts fields from a text as JSON, by name or by the JSON Schema in format.",
    variables: [
      { name: "text", description: "The text." },
      {
        name: "fields",
        description:
          "The fields, with a word on each: name, date (ISO 8601), total (number). Not needed with a schema.",
        default: "the fields of the answer's schema",
      },
    ],
    system: "You extract data. You answer with one JSON object and nothing else.",
    template: `<text>
{text}
</text>

Extract from this text: {fields}

Answer with one JSON object that has these fields as its keys and nothing else.
Copy values from the text. Use null for what the text does not say.`,
    options: { temperature: 0, maxTokens: 1000 },
    format: "json",
  },
  {
    name: "classify",
    description: "Classification: chooses one of some labels for a text.",
    variables: [
      { name: "text", description: "The text." },
      { name: "labels", description: "The labels, separated by commas: bug, question, praise." },
    ],
    system: "You classify texts. You answer with one of the given labels and nothing else.",
    template: `<text>
{text}
</text>

Labels: {labels}

Which one of these labels fits the text best? Answer with the label alone.`,
    options: { temperature: 0, maxTokens: 30 },
  },
  {
    name: "translate",
    description: "Translates a text.",
    variables: [
      { name: "text", description: "The text." },
      { name: "language", description: "Language to translate into." },
      { name: "tone", description: "Tone of the translation.", default: "that of the original" },
    ],
    system: "You are a translator. You answer with the translation alone: no notes, no original.",
    template: `Translate this text into {language}. Tone: {tone}.

<text>
{text}
</text>

Keep line breaks, names, numbers, code and links as they are.
Answer with the {language} text alone.`,
    options: { temperature: 0.2 },
  },
  {
    name: "rewrite",
    description: "Rewrites a text in another tone or for another reader.",
    variables: [
      { name: "text", description: "The text." },
      { name: "goal", description: "What to make of it.", default: "clear and short" },
      { name: "audience", description: "Who reads it.", default: "a general reader" },
    ],
    system: "You are an editor. You keep the meaning and every fact. You answer with the new text alone.",
    template: `Rewrite this text so that it is {goal}. It is for {audience}.

<text>
{text}
</text>

Use the language of the text. Answer with the rewritten text alone.`,
    options: { temperature: 0.4 },
  },
  {
    name: "changelog",
    description: "Writes a changelog entry for users from a list of commits.",
    variables: [
      { name: "commits", description: "The commits; as a file: git:log:20." },
      { name: "version", description: "Version of the entry.", default: "Unreleased" },
    ],
    system: "You write changelogs for users of a program. You tell only what the commits tell.",
    template: `Write the changelog entry for version {version} from these commits.

<commits>
{commits}
</commits>

Answer in Markdown:
## {version}
### Added
### Changed
### Fixed
Under each heading one line per change, beginning with "- ", in words that users understand. Leave out headings without
a line, and commits that users don't notice (tests, refactoring, tools).`,
    options: { temperature: 0.2, maxTokens: 1000 },
  },
];
