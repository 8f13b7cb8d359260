import type { TemplateFile } from "./parse-file.ts";

/**
 * Templates about code, written for small models: one task each, few choices, and the exact form of the answer last.
 * Answers are limited, because small models repeat themselves, unless their length depends on the input.
 */
export const codeTemplates: readonly TemplateFile[] = [
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
