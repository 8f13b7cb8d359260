/** The check `judged`: a local model is asked of each statement whether the files say so. */
import { InvalidRequest, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { CheckedStatement } from "../api/facade-answers.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Answered, Asking, Resolved } from "../generation/ports.ts";
import { counted } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";

type Others = NonNullable<Asking["others"]>;

/** A model that judges, and how it is asked. */
interface JudgeModel {
  readonly candidate: Awaited<ReturnType<Others["list"]>>[number];
  readonly prompt: (passage: string, claim: string) => string;
  /** `no` of a model that was made for it means no more than "not supported". */
  readonly choices: readonly string[];
  /** Why it gives no verdict. */
  readonly off?: string;
  readonly note?: string;
}

/**
 * Models that were made for it, with the prompt of their documentation. Bespoke-MiniCheck: `Document: ...\nClaim: ...`, answered
 * by Yes or No. Granite Guardian takes the statement as the last message of an assistant, and its newer versions answer in
 * tags: neither is one token after a prompt.
 */
const madeForIt: readonly { readonly name: RegExp; readonly prompt: JudgeModel["prompt"] }[] = [
  { name: /(?:^|\/)bespoke-minicheck/i, prompt: (passage, claim) => `Document: ${passage}\nClaim: ${claim}` },
];
const suggested = "bespoke-minicheck";

export const generalPrompt: JudgeModel["prompt"] = (passage, claim) =>
  `Document: ${passage}\nClaim: ${claim}\n\n` +
  "Is the claim supported by the document? Answer yes (it says so), no (it says otherwise) or unclear (it does not say).";

/**
 * General models of up to 2 billion parameters: on 173 statements (decision 0055) Qwen2.5-Coder-1.5B-Instruct was right in 70 %
 * of what it called supported, at half of the true ones.
 */
const tooSmall = 2e9;
/** A verdict needs this share of the choices, and the choices more than half of all answers. */
const least = { share: 0.9, all: 0.5 };
/** Requests to the judge for one answer. */
const mostAsked = 40;
/** Characters; shorter files are given whole, so that all statements have the same prefix. */
const passageCharacters = 6_000;
/** Around the lines that the search found. */
const linesAround = 4;

/**
 * The model that judges: the one of the setting `model.judge`, else one that was made for it. Throws `InvalidRequest` where
 * there is none.
 */
export async function judgeModel(list: Others["list"], named: string | undefined): Promise<JudgeModel> {
  const local = (await list()).filter(
    ({ trust, capabilities }) => trust === "local" && capabilities.includes("completion"),
  );
  if (named === undefined) {
    for (const { name, prompt } of madeForIt) {
      const candidate = local.find(({ model }) => name.test(model));
      if (candidate !== undefined) return { candidate, prompt, choices: ["yes", "no"] };
    }
    throw new InvalidRequest("no model that judges statements is installed", {
      next: [
        { step: "pullModel", model: suggested },
        { step: "askUserToSet", setting: "model.judge" },
        { step: "setArgument", argument: "check", to: "quotes" },
      ],
    });
  }
  const candidate = local.find(({ model }) => sameModel(model, named));
  if (candidate === undefined) {
    throw new InvalidRequest(`${named}, which the setting model.judge names, is no model on this machine`, {
      next: [
        { step: "pullModel", model: named },
        { step: "askUserToSet", setting: "model.judge" },
      ],
    });
  }
  const made = madeForIt.find(({ name }) => name.test(candidate.model));
  if (made !== undefined) return { candidate, prompt: made.prompt, choices: ["yes", "no"] };
  const general = { candidate, prompt: generalPrompt, choices: ["yes", "no", "unclear"] };
  if (isTooSmall(candidate))
    return {
      ...general,
      off: `${candidate.model} gives no verdicts: general models of up to 2 B parameters were measured, and called too much supported that was not`,
    };
  return { ...general, note: `judged by ${candidate.model}, whose verdicts were not measured` };
}

/** Where the parameters are not known: a file of 16 bits a parameter may have so few, and so may one of unknown size. */
const isTooSmall = ({ parameterCount, sizeBytes }: JudgeModel["candidate"]): boolean =>
  parameterCount !== undefined ? parameterCount <= tooSmall : sizeBytes <= tooSmall * 2.2;

/** What the judge said of the statements, with what its answers took. Throws `Cancelled`. */
export async function judgedStatements(
  judge: JudgeModel,
  about: {
    readonly request: Resolved;
    readonly files: Parameters<typeof passageOf>[0];
    readonly place: Asking;
    readonly model: string;
  },
  statements: readonly CheckedStatement[],
  { others, answers }: { readonly others: Others; readonly answers: Answered[] },
): Promise<{ readonly statements: readonly CheckedStatement[]; readonly notes: readonly string[] }> {
  const { model } = judge.candidate;
  const { request, files, place } = about;
  if (request.format !== undefined) return { statements, notes: ["values of JSON are looked for, and not judged"] };
  if (sameModel(model, about.model)) return { statements, notes: [`${model} does not judge its own answer`] };
  if (judge.off !== undefined) return { statements, notes: [judge.off] };
  const notes = judge.note === undefined ? [] : [judge.note];
  const found: CheckedStatement[] = [];
  let asked = 0;
  const stopped = (why: string) => ({
    statements: [...found, ...statements.slice(found.length)],
    notes: [...notes, `${counted(statements.length - found.length, "statement")} not judged: ${why}`],
  });
  for (const statement of statements) {
    const passage = passageOf(files, statement);
    const clauses = passage === undefined ? [] : clausesOf(statement.text);
    if (asked + clauses.length > mostAsked) return stopped(`${model} is asked ${mostAsked} times at most`);
    const verdicts: (CheckedStatement["status"] | undefined)[] = [];
    for (const clause of clauses) {
      asked += 1;
      try {
        const { answered } = await others.ask(turnOf(request, judge, judge.prompt(passage ?? "", clause)), false);
        answers.push(answered);
        const { likelihoods } = answered.generation;
        if (likelihoods === undefined)
          return stopped(`the engine of ${model} gives no probabilities (Ollama does from 0.12.11 on)`);
        verdicts.push(verdictOf(likelihoods, judge.choices));
      } catch (error) {
        throwIfCancelled(place.signal, "the request");
        if (!(error instanceof OrchestratorError)) throw error;
        return stopped(`${model} failed: ${error.message}`);
      }
      if (verdicts.at(-1) !== "supported") break;
    }
    found.push({ ...statement, status: overall(verdicts) ?? statement.status });
  }
  return { statements: found, notes };
}

/** Supported if each clause is. */
function overall(verdicts: readonly (CheckedStatement["status"] | undefined)[]) {
  if (verdicts.includes("contradicted")) return "contradicted";
  return verdicts.length > 0 && verdicts.every((verdict) => verdict === "supported") ? "supported" : undefined;
}

/** Undefined for a doubt. */
export function verdictOf(
  likelihoods: Readonly<Record<string, number>>,
  choices: readonly string[],
): CheckedStatement["status"] | undefined {
  const all = choices.reduce((sum, choice) => sum + (likelihoods[choice] ?? 0), 0);
  if (all < least.all) return undefined;
  const isSure = (choice: string): boolean => (likelihoods[choice] ?? 0) >= least.share * all;
  if (isSure("yes")) return "supported";
  return choices.includes("unclear") && isSure("no") ? "contradicted" : undefined;
}

function turnOf(
  { decided, settings, client, keepAliveSeconds }: Resolved,
  { candidate, choices }: JudgeModel,
  prompt: string,
): Resolved {
  return {
    prompt,
    model: candidate.model,
    // Its own, if its template has one.
    system: "",
    choices,
    maxTokens: 1,
    temperature: 0,
    think: false,
    privacy: "local_only",
    memoryTokens: 0,
    decided,
    settings,
    client,
    // The next statement would load it again.
    ...(keepAliveSeconds !== undefined && keepAliveSeconds !== 0 && { keepAliveSeconds }),
  };
}

/** Parts that are asked one by one: at semicolons, and at a comma with a conjunction between parts of some length. */
export function clausesOf(statement: string): readonly string[] {
  const parts = statement.split(/;\s+|,\s+(?:and|but|und|aber|et|mais|y|pero|e|ma)\s+/iu).map((part) => part.trim());
  return parts.every((part) => part.split(/\s+/).length >= 4) ? parts : [statement];
}

/** The files as they are if they are short, else the lines around those that the search found, if those are. */
export function passageOf(
  files: NonNullable<GenerateRequest["files"]>,
  { where }: Pick<CheckedStatement, "where">,
): string | undefined {
  const named = ({ path, text }: (typeof files)[number]): string => (files.length === 1 ? text : `${path}:\n${text}`);
  if (files.reduce((sum, { text }) => sum + text.length, 0) <= passageCharacters) return files.map(named).join("\n\n");
  const passages = (where ?? "").split(", ").flatMap((place) => {
    const [, path, from = "", to = from] = /^(.*):(\d+)(?:-(\d+))?$/s.exec(place) ?? [];
    const file = files.find((each) => each.path === path);
    if (file === undefined) return [];
    const lines = file.text.split("\n").slice(Math.max(0, Number(from) - 1 - linesAround), Number(to) + linesAround);
    return [named({ ...file, text: lines.join("\n") })];
  });
  const passage = passages.join("\n…\n");
  // Cut, it might lack what was found, and a judge would say that it isn't there.
  return passages.length === 0 || passage.length > passageCharacters ? undefined : passage;
}
