import type { Task } from "../api/types.ts";

export interface TaskRequest {
  readonly prompt: string;
  readonly task?: Task;
  readonly images?: readonly string[];
  readonly fileNames?: readonly string[];
}

/** How much of the beginning and end of a long prompt is examined, in characters: instructions are there. */
const examinedCharacters = 4000;

const codeFile =
  /\.(?:[cm]?[jt]sx?|py|rb|go|rs|java|kt|swift|c|cc|cpp|h|hpp|cs|php|sh|bash|ps1|sql|lua|r|scala|dart|ex|exs|hs|vue|svelte|css|html?|tf|gradle|cmake)$|(?:^|[/\\])(?:dockerfile|makefile)$/i;

interface Sign {
  readonly pattern: RegExp;
  readonly because: string;
}

/** A single one of these suffices. */
const codeSigns: readonly Sign[] = [
  { pattern: /```/, because: "a code block" },
  {
    pattern:
      /\b(?:stack ?trace|traceback|segfault|nullpointer\w*|typeerror|syntaxerror|undefined is not|cannot read propert)/i,
    because: "a program error",
  },
  {
    pattern:
      /\b(?:refactor|debug|unit tests?|code review|pull request|regex(?:p|es)?|regular expression|source code|compile[rs]?|linter|typecheck)\b/i,
    because: "a programming term",
  },
  {
    pattern:
      /^[ \t]*(?:import [\w{*"']|from \w+ import |def \w+\(|class \w+[ ]?[:({]|function \w*\(|const \w+ ?[=:]|let \w+ ?[=:]|#include|package \w+;|fn \w+\(|func \w+\(|SELECT .{1,80} FROM |CREATE TABLE|<\?php|#!\/)|=> ?[{(\w]|\);$|\) ?\{$/m,
    because: "source code",
  },
];

/** Two different ones are needed, because single ones are ambiguous: "function", "Java". */
const codeWords =
  /\b(?:typescript|javascript|python|rust|golang|java|kotlin|swift|php|ruby|haskell|sql|bash|powershell|react|node\.?js|css|html|dockerfile|kubernetes|functions?|funktion|methods?|class|variables?|loop|script|program|algorithm|api|endpoint|query|schema|module|package|library|array|json|yaml|bugs?|code|implement|parser?|async)\b|\bc(?:\+\+|#)/gi;

/** `codeWords` count only in the first and last part of the prompt, in characters: pasted text has them anyway. */
const instructionCharacters = 300;

const creativeSigns: readonly Sign[] = [
  {
    pattern:
      /\b(?:poem|haiku|sonnet|limerick|lyrics|short story|bedtime story|fairy ?tale|novel|screenplay|ballad|gedicht|märchen|kurzgeschichte|poème|poema|cuento)\b/i,
    because: "asks for a literary text",
  },
  {
    pattern:
      /\b(?:write|tell|invent|compose|draft|continue|create|schreib\w*|erzähl\w*|écris|escribe)\b[^.?!\n]{0,60}\b(?:story|tale|song|slogan|tagline|dialogue|scene|character|essay|blog ?post|speech|toast|joke|geschichte|lied|histoire|canción)\b/i,
    because: "asks for a text to be invented",
  },
  { pattern: /\b(?:brainstorm|imagine|role-?play|creative)\b/i, because: "asks for ideas" },
];

const fastSigns: readonly Sign[] = [
  {
    pattern:
      /\b(?:yes or no|true or false|one word|single word|in a (?:few )?words?|one sentence|be brief|briefly|quick(?:ly)?|short answer|kurz|ja oder nein)\b/i,
    because: "asks for a short answer",
  },
];

/** Longest prompt of a fast task, in characters: a short answer to a long text is not fast. */
const fastPromptCharacters = 600;

/**
 * The task of a request, and the reason. An explicit `task` wins; images mean vision; otherwise files and words decide,
 * with `general` as the default. Embedding is never inferred.
 */
export function classifyTask(request: TaskRequest): { readonly task: Task; readonly because: string } {
  if (request.task !== undefined) return { task: request.task, because: "set by the request" };
  if (request.images !== undefined && request.images.length > 0)
    return { task: "vision", because: "the request has images" };

  const { prompt, fileNames = [] } = request;
  const text = ends(prompt, examinedCharacters);
  const isAboutText = fileNames.length === 0;
  const creative = isAboutText && !text.includes("```") ? find(creativeSigns, text) : undefined;
  if (creative !== undefined) return { task: "creative", because: creative };

  const codeFiles = fileNames.filter((name) => codeFile.test(name));
  if (codeFiles.length > 0 && codeFiles.length * 2 >= fileNames.length) {
    return { task: "code", because: `${codeFiles[0] ?? ""} is source code` };
  }
  const code = find(codeSigns, text) ?? wordsOfCode(ends(prompt, instructionCharacters));
  if (code !== undefined) return { task: "code", because: `the prompt contains ${code}` };

  const fast = isAboutText && prompt.length <= fastPromptCharacters ? find(fastSigns, text) : undefined;
  if (fast !== undefined) return { task: "fast", because: fast };
  return { task: "general", because: "no signs of a special task" };
}

/** The first and last `count` characters. */
function ends(text: string, count: number): string {
  return text.length <= 2 * count ? text : `${text.slice(0, count)}\n${text.slice(-count)}`;
}

function find(signs: readonly Sign[], text: string): string | undefined {
  return signs.find((sign) => sign.pattern.test(text))?.because;
}

function wordsOfCode(text: string): string | undefined {
  const words = new Set([...text.matchAll(codeWords)].map(([word]) => word.toLowerCase()));
  const [first, second] = words;
  return second === undefined ? undefined : `the words ${first} and ${second}`;
}
