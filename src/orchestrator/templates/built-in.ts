import type { Template } from "../api/facade-templates.ts";
import { type TemplateFile, templateOf } from "./parse-file.ts";
import { defined } from "../util/defined.ts";

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
  return { ...read.template, source: "built-in", ...defined({ aliases: others }) };
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
    name: "transcription",
    description: "Transcription: corrects the transcript of a recording, or writes one of a recording in audio.",
    variables: [
      { name: "text", description: "The raw transcript. Not needed with a recording.", default: "" },
      { name: "language", description: "Language of the recording.", default: "that of the speaker" },
    ],
    system: "You transcribe speech. You write only what is said, and nothing about it.",
    template: `Write the transcript of this speech. Language: {language}.

{text}

Correct words that were plainly misheard. Add punctuation and paragraphs. Keep names, numbers and the order of sentences.
Leave out fillers and repetitions. Answer with the transcript alone.`,
    profile: "audio",
    options: { temperature: 0.1 },
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

/**
 * Templates about code, written for small models: one task each, few choices, and the exact form of the answer last.
 * Answers are limited, because small models repeat themselves, unless their length depends on the input.
 */
const codeTemplates: readonly TemplateFile[] = [
  {
    name: "commit-message",
    description: "Writes a commit message for a diff.",
    variables: [
      { name: "diff", description: "The diff; as a file: git:staged." },
      { name: "style", description: "How messages look here.", enum: ["plain", "conventional"], default: "plain" },
      { name: "context", description: "Why the change was made.", default: "" },
    ],
    system: "You write git commit messages. You answer with the message alone: no quotes, no code fences, no comments.",
    template: `Write the commit message for this change.

{context}

<diff>
{diff}
</diff>

Style: {style}. (plain: a sentence. conventional: it begins with feat:, fix:, docs:, refactor:, test: or chore:.)

Line 1: what the change does, in the imperative ("Add", "Fix"), at most 72 characters, no full stop.
Line 2: empty.
Then at most three short lines that say why. Leave them out when the first line says it all.`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 300 },
  },
  {
    name: "pull-request",
    description: "Writes the title and description of a pull request for a diff.",
    variables: [
      { name: "diff", description: "The diff; as a file: git:diff:main... for what the branch adds." },
      { name: "context", description: "Why the change was made.", default: "" },
    ],
    system: "You describe pull requests for reviewers. You tell only what the diff shows. You invent nothing.",
    template: `Write the title and the description of a pull request for this change.

{context}

<diff>
{diff}
</diff>

Answer in this form:
Title: what the change does, in the imperative, at most 72 characters.
Summary: one or two sentences for a reviewer.
Changes: a list, one line per changed file, "- file: what changed".`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 600 },
  },
  {
    name: "review-diff",
    description: "Code review: lists what is wrong in a diff or in code, worst first.",
    variables: [
      { name: "code", description: "The diff or code; as a file: git:staged, git:diff or git:show:REF." },
      { name: "language", description: "Programming language.", default: "source" },
      { name: "focus", description: "What to look for.", default: "bugs, security, error handling, clarity" },
    ],
    system: "You are a careful code reviewer. You report only what you can point to in the code. You invent nothing.",
    template: `Review this {language} code. Look for: {focus}. In a diff, lines with + are new, lines with - are gone.

<code>
{code}
</code>

Answer with a list, the worst problem first, one line each:
- [high|medium|low] where: what is wrong. Fix: what to do.
If there is no problem, answer only: No problems found.`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 1000 },
  },
  {
    name: "explain-error",
    description: "Explains an error message, stack trace or failed build: what happened, the cause, the fix.",
    variables: [
      { name: "error", description: "The message, trace or log." },
      { name: "context", description: "The code or command that failed.", default: "" },
    ],
    system: "You explain errors to developers. You use only what the message shows. You invent nothing.",
    template: `Explain this error.

<error>
{error}
</error>

{context}

Answer in three lines:
What happened: one sentence in plain words.
Where: the file and line that the error names, or "not named".
Fix: what to try first.`,
    profile: "code",
    options: { temperature: 0.1, maxTokens: 400 },
  },
  {
    name: "explain-code",
    description: "Explains what code does.",
    variables: [
      { name: "code", description: "The code." },
      { name: "language", description: "Programming language.", default: "source" },
      { name: "audience", description: "Who reads it.", default: "a developer who is new to this code" },
    ],
    system: "You explain code in plain words. You describe only what the code shows.",
    template: `Explain this {language} code to {audience}.

<code>
{code}
</code>

Answer in this form:
Purpose: one sentence.
Steps: a numbered list, one short line per step, in the order in which they happen.
Watch out: one line on what is easy to get wrong, or "nothing".`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 800 },
  },
  {
    name: "write-tests",
    description: "Writes unit tests for code.",
    variables: [
      { name: "code", description: "The code to test." },
      { name: "framework", description: "Test framework.", default: "the usual one for its language" },
      { name: "cases", description: "Cases that must be among them.", default: "" },
    ],
    system: "You write unit tests. You answer with one code block and nothing else.",
    template: `Write unit tests for this code. Test framework: {framework}.

<code>
{code}
</code>

Test the usual case first, then edge cases (empty, zero, very large, wrong type), then errors. {cases}
One test per case, each named after what it proves. Call only what is in the code.
Answer with one code block that runs as it is.`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 1500 },
  },
  {
    name: "test-stub",
    description: "Writes a test stub: the cases to test, each as an empty test.",
    variables: [
      { name: "code", description: "The code to test." },
      { name: "framework", description: "Test framework.", default: "the usual one for its language" },
    ],
    system: "You plan unit tests. You answer with one code block and nothing else.",
    template: `Write a test stub for this code. Test framework: {framework}.

<code>
{code}
</code>

One empty test per case, named after what it must prove: the usual case first, then edge cases, then errors.
At most eight. In each body only a comment that says the input and the expected result.
Answer with one code block.`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 700 },
  },
  {
    name: "docstring",
    description: "Writes a documentation comment for a function or class.",
    variables: [
      { name: "code", description: "The function or class." },
      { name: "style", description: "Style of the comment.", default: "the usual one for its language" },
    ],
    system: "You write documentation comments. You answer with the comment alone, not with the code.",
    template: `Write the documentation comment for this code. Style: {style}.

<code>
{code}
</code>

First one sentence that says what it does. Then each parameter, what it returns, and what it throws, one line each.
Leave out what does not apply. Say nothing that the code does not show.`,
    profile: "code",
    options: { temperature: 0.2, maxTokens: 600 },
  },
  {
    name: "regex",
    description: "Writes a regular expression from a description.",
    variables: [
      { name: "task", description: "What it must match." },
      { name: "flavour", description: "Dialect of the expression.", default: "JavaScript" },
      { name: "examples", description: "Texts that match, and texts that must not.", default: "none" },
    ],
    system: "You write regular expressions. You answer in exactly the form that is asked for.",
    template: `Write a {flavour} regular expression that matches: {task}

<examples>
{examples}
</examples>

Answer in three lines:
Regex: the expression, without delimiters
Matches: one text that it matches
Does not match: one text that it does not match`,
    profile: "code",
    options: { temperature: 0.1, maxTokens: 300 },
  },
  {
    name: "sql",
    description: "Writes an SQL query from a question and a schema.",
    variables: [
      { name: "question", description: "What to find out." },
      { name: "schema", description: "CREATE TABLE statements, or tables with their columns." },
      { name: "dialect", description: "Database.", default: "PostgreSQL" },
    ],
    system: "You write SQL. You use only tables and columns of the schema you are given. You answer with one query.",
    template: `Schema:
<schema>
{schema}
</schema>

Write one {dialect} query that answers: {question}

Only read data (SELECT). Name the columns you need, not *.
Answer with the query alone, in one code block.
If the schema lacks something, answer with one line that begins with "Missing:".`,
    profile: "code",
    options: { temperature: 0.1, maxTokens: 600 },
  },
];
