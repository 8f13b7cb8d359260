import type { Argument, NextStep } from "../orchestrator/api/next-step.ts";
import argumentTable from "./arguments.json" with { type: "json" };

/** The renderers of one surface: each returns a clause without a full stop, or a question with its question mark. */
export type StepTable = {
  readonly [Name in NextStep["step"]]: (step: Extract<NextStep, { readonly step: Name }>) => string;
};

/** Each argument as an input of a tool, as a flag of the shell, and in a chat: its commands, where it has one. */
export function argumentNames(surface: "tool" | "flag" | "chat"): Readonly<Record<Argument, string>> {
  const at = ["tool", "flag", "chat"].indexOf(surface);
  const everyName: Readonly<Record<Argument, readonly string[]>> = argumentTable;
  return Object.fromEntries(Object.entries(everyName).map(([argument, all]) => [argument, all[at]])) as Record<
    Argument,
    string
  >;
}

/** The steps as sentences, alternatives joined by "or"; empty without steps. */
export function renderSteps(steps: readonly NextStep[], table: StepTable): string {
  let text = "";
  let isOpen = false;
  for (const step of steps) {
    // The table maps each name to the renderer of that step; the compiler can't infer that from the index.
    const clause = (table[step.step] as (given: NextStep) => string)(step);
    const isQuestion = clause.endsWith("?");
    if (isOpen && !isQuestion) text += `, or ${clause}`;
    else
      text += `${isOpen ? ". " : text === "" ? "" : " "}${capitalized(text === "" || isQuestion ? clause : `or ${clause}`)}`;
    isOpen = !isQuestion;
  }
  return isOpen ? `${text}.` : text;
}

/** An error's message with its steps as text behind `separator`; the message alone without steps. */
export function withSteps(
  { message, next = [] }: { readonly message: string; readonly next?: readonly NextStep[] },
  table: StepTable,
  separator: string,
): string {
  const text = renderSteps(next, table);
  return text === "" ? message : `${message}${separator}${text}`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `a`, `a or b`, `a, b or c`. */
function either(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${String(names.at(-1))}`;
}

/** Steps with the same text on every surface. */
export const common = {
  shortenPrompt: ({ byTokens }) =>
    byTokens === undefined ? "shorten the prompt" : `shorten the prompt by about ${byTokens} tokens`,
  didYouMean: ({ names }) => `did you mean ${either(names)}?`,
  chooseOneOf: ({ names }) => (names.length === 1 ? `use ${names.join("")}` : `choose one of ${names.join(", ")}`),
  useModelName: () => "use a name like smollm2:135m, namespace/model:tag or hf.co/ORG/REPO:QUANT",
  setHome: ({ to = "another folder" }) => `set OLLM_HOME to ${to}`,
  restartDaemon: ({ after }) => `${after === undefined ? "" : `${after}, then `}run \`ollm daemon restart\``,
  stopDaemon: () => "run `ollm daemon stop`",
  listClients: () => "run `ollm daemon status` to see the clients",
  checkInstallation: () => "run `ollm doctor`",
  setUpClient: ({ client }) => `run \`ollm setup${client === undefined ? "" : ` --client ${client}`}\``,
  rotateToken: () => "run `ollm token rotate`",
  shareDaemon: () => "start `ollm` without --standalone",
  startStandalone: () => "start `ollm --standalone`, which needs no daemon",
  allowFolder: ({ folder = "/path/to/folder", configFile }) =>
    configFile === undefined
      ? "allow a folder where the server runs (files.roots, OLLM_FILES_ROOTS or --root)"
      : `add files: { roots: [${JSON.stringify(folder)}] } to ${configFile} (takes effect with the next call), ` +
        `or start the server with --root ${quoted(folder)} or OLLM_FILES_ROOTS=${quoted(folder)}`,
  advice: ({ text }) => text,
} as const satisfies Partial<StepTable>;

/** Steps about an argument that tools and commands say alike. */
export function aboutArguments(named: ReturnType<typeof argumentNames>) {
  return {
    omitArgument: ({ argument }) => `leave out ${named[argument]}`,
    changeArgument: ({ argument, because }) =>
      `choose another ${named[argument]}${because === undefined ? "" : ` (${because})`}`,
    lowerArgument: ({ argument, to }) => `lower ${named[argument]}${to === undefined ? "" : ` to ${to}`}`,
    raiseArgument: ({ argument, to }) => `raise ${named[argument]}${to === undefined ? "" : ` to ${to}`}`,
  } as const satisfies Partial<StepTable>;
}

/** The folder as a shell argument. */
export function quoted(folder: string): string {
  return /^[\w./\\:~-]+$/.test(folder) ? folder : `"${folder}"`;
}

/** `a model that has vision, such as gemma4:e4b` */
export function modelThat(that: string, example: string | undefined): string {
  return `a model ${that}${example === undefined ? "" : `, such as ${example}`}`;
}

/**
 * Key in `_meta` of a request whose caller accepts errors as data. The error is under the same key in `_meta` of a failed
 * tool call and in `data` of a protocol error. Only our own shell uses it, to render the next steps itself.
 */
export const errorKey = "ollm/error";

export interface ErrorData {
  readonly message: string;
  readonly next: readonly NextStep[];
}

/** The error in a result's `_meta` or an error's `data`; undefined if there is none. */
export function errorDataIn(carrier: unknown): ErrorData | undefined {
  if (typeof carrier !== "object" || carrier === null) return undefined;
  const data = (carrier as Readonly<Record<string, unknown>>)[errorKey];
  // Not validated: the data is from our own server.
  return typeof data === "object" && data !== null ? (data as ErrorData) : undefined;
}
