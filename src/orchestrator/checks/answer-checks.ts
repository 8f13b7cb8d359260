/** The checks that a request may ask for, beside its format: each prepares the request, and judges the answer. */
import { InvalidRequest, OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { Answered, Asking, Quoted, Resolved } from "../generation/ports.ts";
import { type AgreeCheck, agreeCheck } from "./agree.ts";
import type { CheckThreads } from "./check-threads.ts";
import { type Commands, namedCommand, runCommand } from "./command.ts";
import { marked, problemOf, promptForQuotes } from "./quotes.ts";
import { sameModel } from "../util/model-name.ts";
import { defined } from "../util/defined.ts";

/** Prepares a request for a check, and judges the answer. */
export interface AnswerCheck {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: Resolved;
  /** The answer as the caller gets it, and what the check found. */
  judge(answer: Answered["generation"], model: string): Promise<Found>;
}

export interface Found {
  readonly text: string;
  readonly result: CheckResult;
  readonly isUnchecked?: boolean;
  /** The model may correct it: completes "You". */
  readonly correct?: string;
  readonly notes?: readonly string[];
}

/** Where checks that may take long run, and for whom. */
export interface CheckPlace extends Required<Asking> {
  readonly threads: CheckThreads;
  /** Those that the user named. */
  readonly commands: Commands;
  /** The model that the user named to judge. */
  readonly judge: string | undefined;
  /** Takes those of other models, which count. */
  readonly answers: Answered[];
}

/** The check that a request asks for. Throws `InvalidRequest` for one that can't be made. */
export async function checkOf(
  request: Resolved,
  quoted: Quoted,
  place: CheckPlace,
): Promise<AnswerCheck | AgreeCheck<Resolved> | undefined> {
  const { check } = request;
  if (check === undefined || check === "none") return undefined;
  if (check === "agree") return agreeCheck(request);
  if (typeof check === "object")
    return "agree" in check ? agreesWith(request, check.agree, place) : commandCheck(request, check.command, place);
  if ((quoted.files ?? []).length === 0) {
    throw new InvalidRequest("statements are looked for in files, and the request has none", {
      next: [
        { step: "setArgument", argument: "files" },
        { step: "omitArgument", argument: "check" },
      ],
    });
  }
  return check === "quotes" ? quotesCheck(request, quoted, place) : judgedCheck(request, quoted, place);
}

/** Another model has to give the same value. */
function agreesWith(given: Resolved, other: string, place: CheckPlace): AnswerCheck {
  if (given.model !== undefined && sameModel(given.model, other))
    throw new InvalidRequest(`${other} can't be compared with itself`, {
      next: { step: "changeArgument", argument: "check" },
    });
  const { request, vote } = agreeCheck(given, false);
  return {
    request,
    async judge({ text, finishReason }, model) {
      const failed = (problem: string) => ({ text, result: { kind: "agree", statements: [], problem } as const });
      if (sameModel(model, other)) return failed(`${other} can't be compared with itself`);
      const { check: _check, ...asked } = request;
      try {
        const { answered } = await place.others.ask({ ...asked, model: other }, true);
        place.answers.push(answered);
        const { result } = vote(
          [{ text, finishReason }, answered.generation].map((each) => ({
            text: each.text,
            isCut: each.finishReason === "length",
          })),
        );
        const problem = result.problem && `${model} and ${other} answer differently`;
        return { text, result: { ...result, ...defined({ problem }) } };
      } catch (error) {
        throwIfCancelled(place.signal, "the request");
        if (!(error instanceof OrchestratorError)) throw error;
        return { ...failed(`the answer was not compared with that of ${other}: ${error.message}`), isUnchecked: true };
      }
    },
  };
}

function commandCheck(request: Resolved, name: string, { commands, signal }: CheckPlace): AnswerCheck {
  const command = namedCommand(commands, name);
  return {
    request,
    async judge({ text }) {
      const { problem, isUnchecked } = await runCommand(name, command, text, signal);
      const result = {
        kind: "command",
        statements: [],
        ...(problem !== undefined && { problem: `the answer ${problem}` }),
      } as const;
      if (isUnchecked === true || problem === undefined) return { text, result, isUnchecked: isUnchecked === true };
      return { text, result, correct: `gave an answer that ${problem}` };
    },
  };
}

/** What the search found, and what the judge says of it. Throws `InvalidRequest` where there is no judge. */
async function judgedCheck(request: Resolved, quoted: Quoted, place: CheckPlace): Promise<AnswerCheck> {
  const { judgeModel, judgedStatements } = await import("./judged.ts");
  const judge = await judgeModel(place.others.list, place.judge);
  const search = quotesCheck(request, quoted, place);
  return {
    request: search.request,
    async judge(answer, model) {
      const found = await search.judge(answer, model);
      const about = { request, files: quoted.files ?? [], place, model };
      const { statements, notes } = await judgedStatements(judge, about, found.result.statements, place);
      const problem = found.isUnchecked === true ? found.result.problem : problemOf(statements);
      // JSON has no room for marks.
      const text = request.format === undefined && statements.length > 0 ? marked(statements) : found.text;
      return { ...found, text, result: { kind: "judged", statements, ...defined({ problem }) }, notes };
    },
  };
}

function quotesCheck(request: Resolved, { files = [], question }: Quoted, place: CheckPlace): AnswerCheck {
  const isJson = request.format !== undefined;
  const quoted = { files: files.map(({ path, text }) => ({ path, text })), question };
  return {
    request: { ...request, prompt: promptForQuotes(request) },
    async judge({ text: answer }) {
      const end = await place.threads.run({ kind: "quotes", isJson, quoted, answer }, place);
      if ("found" in end) return end.found as Found;
      const problem = `the statements were not looked for in the files: ${end.unfinished}`;
      const result = { kind: "quotes", statements: [], problem } as const;
      return { text: answer, result, isUnchecked: true };
    },
  };
}
