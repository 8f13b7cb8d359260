import type { Task } from "../types.ts";

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
  readonly weight: number;
  readonly because: string;
}

/** 2 decides alone, 1 needs company: "function" is also what a heart has. */
const codeSigns: readonly Sign[] = [
  { pattern: /```/, weight: 2, because: "a code block" },
  { pattern: /\b(?:stack ?trace|traceback|segfault|nullpointer\w*|typeerror|syntaxerror|undefined is not|cannot read propert)/i, weight: 2, because: "a program's error" },
  { pattern: /\b(?:refactor|debug|unit tests?|code review|pull request|regex(?:p|es)?|regular expression|source code|compile[rs]?|linter|typecheck)\b/i, weight: 2, because: "a programmer's word" },
  { pattern: /\b(?:typescript|javascript|python|rust|golang|java|kotlin|swift|c\+\+|c#|php|ruby|haskell|sql|bash|powershell|react|node\.?js|css|html|dockerfile|kubernetes)(?![\w#+])/i, weight: 1, because: "a programming language" },
  { pattern: /\b(?:function|method|class|variable|loop|script|program|algorithm|api|endpoint|query|schema|module|package|library|array|json|yaml|bug|code|implement\w*|parser?|async)\b/i, weight: 1, because: "a word of programming" },
  { pattern: /(?:^|\n)\s*(?:import |from \w+ import|def |class \w+[:({]|function \w*\(|const |let |var |public |private |#include|package |fn |func |SELECT |CREATE TABLE|<\?php|#!\/)|=>|\);\s*(?:\n|$)|\{\s*\n/m, weight: 2, because: "program text" },
];

const creativeSigns: readonly Sign[] = [
  {
    pattern:
      /\b(?:poem|haiku|sonnet|limerick|lyrics|short story|bedtime story|fairy ?tale|novel|screenplay|ballad|gedicht|märchen|kurzgeschichte|poème|poema|cuento)\b/i,
    weight: 2,
    because: "asks for a literary text",
  },
  {
    pattern:
      /\b(?:write|tell|invent|compose|draft|continue|create|schreib\w*|erzähl\w*|écris|escribe)\b[^.?!\n]{0,60}\b(?:story|tale|song|slogan|tagline|dialogue|scene|character|essay|blog ?post|speech|toast|joke|geschichte|lied|histoire|canción)\b/i,
    weight: 2,
    because: "asks for a text to be invented",
  },
  { pattern: /\b(?:brainstorm|imagine|role-?play|creative)\b/i, weight: 2, because: "asks for ideas" },
];

const fastSigns: readonly Sign[] = [
  {
    pattern:
      /\b(?:yes or no|true or false|one word|single word|in a (?:few )?words?|one sentence|be brief|briefly|quick(?:ly)?|short answer|kurz|ja oder nein)\b/i,
    weight: 2,
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
  const text =
    prompt.length <= 2 * lookedAtCharacters
      ? prompt
      : `${prompt.slice(0, lookedAtCharacters)}\n${prompt.slice(-lookedAtCharacters)}`;
  const creative = strongest(creativeSigns, text);
  if (creative !== undefined && fileNames.length === 0 && !/```/.test(text)) return { task: "creative", because: creative.because };

  const codeFiles = fileNames.filter((name) => codeFile.test(name));
  if (codeFiles.length > 0 && codeFiles.length * 2 >= fileNames.length) {
    return { task: "code", because: `${codeFiles[0] ?? ""} is program text` };
  }
  const code = strongest(codeSigns, text);
  if (code !== undefined) return { task: "code", because: `the prompt has ${code.because}` };

  const fast = prompt.length <= fastPromptCharacters && fileNames.length === 0 ? strongest(fastSigns, text) : undefined;
  if (fast !== undefined) return { task: "fast", because: fast.because };
  return { task: "general", because: "nothing points to special work" };
}

/** The heaviest sign found, when all found weigh 2 or more together. */
function strongest(signs: readonly Sign[], text: string): Sign | undefined {
  const found = signs.filter((sign) => sign.pattern.test(text));
  const weight = found.reduce((sum, sign) => sum + sign.weight, 0);
  return weight >= 2 ? found.reduce((a, b) => (b.weight > a.weight ? b : a)) : undefined;
}
