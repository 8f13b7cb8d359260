import type { Task } from "../facade.ts";

export interface TaskRequest {
  readonly prompt: string;
  readonly task?: Task;
  readonly images?: readonly string[];
  readonly fileNames?: readonly string[];
}

/** Looked at from a long prompt: its beginning and its end, where instructions stand. */
const lookedAtCharacters = 4000;

const codeFile =
  /\.(?:[cm]?[jt]sx?|py|rb|go|rs|java|kt|swift|c|cc|cpp|h|hpp|cs|php|sh|bash|ps1|sql|lua|r|scala|dart|ex|exs|hs|vue|svelte|css|html?|tf|gradle|cmake)$|(?:^|[/\\])(?:dockerfile|makefile)$/i;

interface Sign {
  readonly pattern: RegExp;
  readonly because: string;
}

/** One of these decides. */
const codeSigns: readonly Sign[] = [
  { pattern: /```/, because: "a code block" },
  {
    pattern:
      /\b(?:stack ?trace|traceback|segfault|nullpointer\w*|typeerror|syntaxerror|undefined is not|cannot read propert)/i,
    because: "a program's error",
  },
  {
    pattern:
      /\b(?:refactor|debug|unit tests?|code review|pull request|regex(?:p|es)?|regular expression|source code|compile[rs]?|linter|typecheck)\b/i,
    because: "a programmer's word",
  },
  {
    pattern:
      /^[ \t]*(?:import [\w{*"']|from \w+ import |def \w+\(|class \w+[ ]?[:({]|function \w*\(|const \w+ ?[=:]|let \w+ ?[=:]|#include|package \w+;|fn \w+\(|func \w+\(|SELECT .{1,80} FROM |CREATE TABLE|<\?php|#!\/)|=> ?[{(\w]|\);$|\) ?\{$/m,
    because: "program text",
  },
];

/** Two different ones are needed: "function" is also what a heart has, and Java an island. */
const codeWords =
  /\b(?:typescript|javascript|python|rust|golang|java|kotlin|swift|php|ruby|haskell|sql|bash|powershell|react|node\.?js|css|html|dockerfile|kubernetes|functions?|funktion|methods?|class|variables?|loop|script|program|algorithm|api|endpoint|query|schema|module|package|library|array|json|yaml|bugs?|code|implement|parser?|async)\b|\bc(?:\+\+|#)/gi;

/** In pasted text two such words say little: they count in the first and last part, where people say what they want. */
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

/** A short answer to a long text is no quick job. */
const fastPromptCharacters = 600;

/**
 * The kind of work a request is, and the sign it was told by. A given `task` is taken; images mean vision; otherwise
 * files and words decide, and `general` is what is left. Embedding is never guessed.
 */
export function classifyTask(request: TaskRequest): { readonly task: Task; readonly because: string } {
  if (request.task !== undefined) return { task: request.task, because: "the request says so" };
  if (request.images !== undefined && request.images.length > 0) return { task: "vision", because: "it has images" };

  const { prompt, fileNames = [] } = request;
  const text = ends(prompt, lookedAtCharacters);
  const isAboutText = fileNames.length === 0;
  const creative = isAboutText && !text.includes("```") ? find(creativeSigns, text) : undefined;
  if (creative !== undefined) return { task: "creative", because: creative };

  const codeFiles = fileNames.filter((name) => codeFile.test(name));
  if (codeFiles.length > 0 && codeFiles.length * 2 >= fileNames.length) {
    return { task: "code", because: `${codeFiles[0] ?? ""} is program text` };
  }
  const code = find(codeSigns, text) ?? wordsOfCode(ends(prompt, instructionCharacters));
  if (code !== undefined) return { task: "code", because: `the prompt has ${code}` };

  const fast = isAboutText && prompt.length <= fastPromptCharacters ? find(fastSigns, text) : undefined;
  if (fast !== undefined) return { task: "fast", because: fast };
  return { task: "general", because: "nothing points to special work" };
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
