import type { Argument, NextStep } from "../orchestrator/next-step.ts";

/** How one surface puts each step into words: a clause without a full stop; a question ends with its mark. */
export type StepTable = {
  readonly [Name in NextStep["step"]]: (step: Extract<NextStep, { readonly step: Name }>) => string;
};

export type ArgumentNames = Readonly<Record<Argument, string>>;

/** The steps as text: alternatives joined by "or", each sentence with its mark. Empty without steps. */
export function renderSteps(steps: readonly NextStep[], table: StepTable): string {
  let text = "";
  let isOpen = false;
  for (const step of steps) {
    const clause = clauseOf(step, table);
    const isQuestion = clause.endsWith("?");
    if (isOpen && !isQuestion) text += `, or ${clause}`;
    else
      text += `${isOpen ? ". " : text === "" ? "" : " "}${capitalized(text === "" || isQuestion ? clause : `or ${clause}`)}`;
    isOpen = !isQuestion;
  }
  return isOpen ? `${text}.` : text;
}

function clauseOf(step: NextStep, table: StepTable): string {
  // The table has for each name the renderer of that step, which the compiler can't follow through an index.
  return (table[step.step] as (given: NextStep) => string)(step);
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `"a"`, `"a" or "b"`, `"a", "b" or "c"`. */
export function either(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${String(names.at(-1))}`;
}

/** Steps that every surface words alike. */
export const common = {
  shortenPrompt: ({ byTokens }) =>
    byTokens === undefined ? "shorten the prompt" : `shorten the prompt by about ${byTokens} tokens`,
  didYouMean: ({ names }) => `did you mean ${either(names)}?`,
  chooseOneOf: ({ names }) => (names.length === 1 ? `use ${names.join("")}` : `choose one of ${names.join(", ")}`),
  useModelName: () => "use a name like smollm2:135m, namespace/model:tag or hf.co/ORG/REPO:QUANT",
  setHome: ({ to = "another folder" }) => `set OLLM_HOME to ${to}`,
  shareDaemon: () => "start `ollm` without --standalone",
  startStandalone: () => "start `ollm --standalone`, which needs no daemon",
  allowFolder: ({ folder = "/path/to/folder", configFile }) =>
    configFile === undefined
      ? "allow a folder where the server runs (files.roots, OLLM_FILES_ROOTS or --root)"
      : `add files: { roots: [${JSON.stringify(folder)}] } to ${configFile} (it holds from the next call), ` +
        `or start the server with --root ${quoted(folder)} or OLLM_FILES_ROOTS=${quoted(folder)}`,
  advice: ({ text }) => text,
} as const satisfies Partial<StepTable>;

/** As a shell takes it. */
function quoted(folder: string): string {
  return /^[\w./\\:~-]+$/.test(folder) ? folder : `"${folder}"`;
}

/** How a model with a property is asked for: `a model with vision, such as llava:7b`. */
export function modelThat(that: string, example: string | undefined): string {
  return `a model ${that}${example === undefined ? "" : `, such as ${example}`}`;
}
