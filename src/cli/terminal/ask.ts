import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice, type NextSteps } from "../../orchestrator/api/next-step.ts";
import type { Answers, Question } from "../../server/daemon/client.ts";
import type { CommandIo } from "./io.ts";

type Field = Question["fields"][number];

/**
 * Asks a question at the terminal: a single boolean field as `message [y/N]`, other forms field by field. Resolves to
 * undefined if the user answers no or leaves a required field empty.
 */
export async function askAtTerminal(
  { message, fields }: Question,
  io: Pick<CommandIo, "ask" | "stderr">,
): Promise<Answers> {
  const [first] = fields;
  if (fields.length === 1 && first?.type === "boolean") {
    return isYes(await io.ask(`${message} [y/N] `)) ? { [first.name]: true } : undefined;
  }
  io.stderr(`${message}\n`);
  const answers: Record<string, string | number | boolean> = {};
  for (const field of fields) {
    const value = await askField(field, io);
    if (value !== undefined) answers[field.name] = value;
    else if (field.isRequired) return undefined;
  }
  return answers;
}

/** Asks for consent. Throws `OrchestratorError` if the user declines, `InvalidRequest` without a terminal. */
export async function agree(message: string, io: Pick<CommandIo, "ask" | "stderr" | "isTerminal">): Promise<void> {
  if (!io.isTerminal) throw noTerminal(message);
  const field = { name: "confirm", description: "confirm", type: "boolean", isRequired: true } as const;
  if ((await askAtTerminal({ message, fields: [field] }, io)) === undefined) throw declined();
}

export function declined(): OrchestratorError {
  return new OrchestratorError("declined: nothing was changed");
}

/** The error of a question that can't be asked. */
export function noTerminal(
  question: string,
  next: NextSteps = [{ step: "setArgument", argument: "confirm", to: true }, inTerminal],
): OrchestratorError {
  return new InvalidRequest(`not a terminal, so I can't ask: ${question}`, { next });
}

export const inTerminal = advice("run this in a terminal");

async function askField(
  field: Field,
  io: Pick<CommandIo, "ask" | "stderr">,
): Promise<string | number | boolean | undefined> {
  const choices = field.enum === undefined ? "" : ` (${field.enum.join(", ")})`;
  const preset = field.default === undefined ? "" : ` [${field.default}]`;
  const name = field.description === field.name ? field.name : `${field.name}: ${field.description}`;
  for (;;) {
    const answer = await io.ask(`  ${name}${choices}${preset}${field.type === "boolean" ? " [y/N]" : ""} `);
    if (field.type === "boolean") return answer === "" ? (field.default ?? false) : isYes(answer);
    if (answer === "") return field.default;
    if (field.type === "number" && !Number.isFinite(Number(answer))) io.stderr("  Enter a number.\n");
    else if (field.enum !== undefined && !field.enum.includes(answer)) io.stderr(`  Enter one of${choices}.\n`);
    else return field.type === "number" ? Number(answer) : answer;
  }
}

function isYes(answer: string): boolean {
  return /^y(es)?$/i.test(answer.trim());
}
