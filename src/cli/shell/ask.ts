import { InvalidRequest, OrchestratorError } from "../../orchestrator/errors.ts";
import type { Answers, Question } from "../../server/client.ts";
import type { CommandIo } from "../commands/io.ts";

type Field = Question["fields"][number];

/**
 * Puts a question at the terminal: a sole yes or no as `message [y/N]`, anything else field by field. Undefined when
 * the user did not agree: no, or nothing where something is required.
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

/** Asks for a yes; throws where there is none, or nobody who could say it. */
export async function agree(message: string, io: Pick<CommandIo, "ask" | "stderr" | "isTerminal">): Promise<void> {
  if (!io.isTerminal) throw nobodyAnswers(message);
  const field = { name: "confirm", description: "confirm", type: "boolean", isRequired: true } as const;
  if ((await askAtTerminal({ message, fields: [field] }, io)) === undefined) throw declined();
}

export function declined(): OrchestratorError {
  return new OrchestratorError("you did not agree, so nothing was changed");
}

export function nobodyAnswers(
  question: string,
  hint = "Add --yes to do this, or run it in a terminal.",
): OrchestratorError {
  return new InvalidRequest(`${question} Nobody can answer here`, { hint });
}

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
    if (field.type === "number" && !Number.isFinite(Number(answer))) io.stderr("  A number, please.\n");
    else if (field.enum !== undefined && !field.enum.includes(answer)) io.stderr(`  One of${choices}, please.\n`);
    else return field.type === "number" ? Number(answer) : answer;
  }
}

function isYes(answer: string): boolean {
  return /^y(es)?$/i.test(answer.trim());
}
