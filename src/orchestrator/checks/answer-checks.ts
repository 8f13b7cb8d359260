/** The checks that a request may ask for, beside its format: each prepares the request, and judges the answer. */
import { InvalidRequest } from "../api/errors.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { Asking, Quoted, Resolved } from "../generation/ports.ts";
import { type AgreeCheck, agreeCheck } from "./agree.ts";
import type { CheckThreads } from "./check-threads.ts";
import { type Commands, namedCommand, runCommand } from "./command.ts";
import { QuotesCheck } from "./quotes.ts";

/** Prepares a request for a check, and judges the answer. */
export interface AnswerCheck {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: Resolved;
  /** The answer as the caller gets it, and what the check found. */
  judge(answer: string): Promise<Found>;
}

export interface Found {
  readonly text: string;
  readonly result: CheckResult;
  readonly isUnchecked?: boolean;
  /** The model may correct it: completes "You". */
  readonly correct?: string;
}

/** Where checks that may take long run, and for whom. */
export interface CheckPlace extends Asking {
  readonly threads: CheckThreads;
  /** Those that the user named. */
  readonly commands: Commands;
}

/** The check that a request asks for. Throws `InvalidRequest` for one that can't be made. */
export function checkOf(
  request: Resolved,
  quoted: Quoted,
  place: CheckPlace,
): AnswerCheck | AgreeCheck<Resolved> | undefined {
  if (request.check === "agree") return agreeCheck(request);
  if (request.check === "quotes" && (quoted.files ?? []).length === 0) {
    throw new InvalidRequest("quotes are looked for in files, and the request has none", {
      next: [
        { step: "setArgument", argument: "files" },
        { step: "omitArgument", argument: "check" },
      ],
    });
  }
  if (typeof request.check === "object") return commandCheck(request, request.check.command, place);
  return request.check === "quotes" ? quotesCheck(request, quoted, place) : undefined;
}

function commandCheck(request: Resolved, name: string, { commands, signal }: CheckPlace): AnswerCheck {
  const command = namedCommand(commands, name);
  return {
    request,
    async judge(text) {
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

function quotesCheck(request: Resolved, { files = [], question }: Quoted, place: CheckPlace): AnswerCheck {
  const { prompt, format } = request;
  const quoted = { files: files.map(({ path, text }) => ({ path, text })), question };
  return {
    request: { ...request, prompt: new QuotesCheck(request, quoted).request.prompt },
    async judge(answer) {
      const work = { kind: "quotes", prompt, isJson: format !== undefined, quoted, answer } as const;
      const end = await place.threads.run(work, place);
      if ("found" in end) return end.found as Found;
      const problem = `the statements were not looked for in the files: ${end.unfinished}`;
      const result = { kind: "quotes", statements: [], problem } as const;
      return { text: answer, result, isUnchecked: true };
    },
  };
}
