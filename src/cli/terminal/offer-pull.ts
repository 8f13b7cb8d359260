import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import { type CommandIo, isYes } from "./io.ts";
import type { Session } from "./session.ts";
import { hanging } from "./terminal-text.ts";

type Pull = Extract<NextStep, { readonly step: "pullModel" }>;

/** A session, and how a chat asks its questions. */
interface Asking {
  readonly io: Pick<CommandIo, "isTerminal" | "ask" | "stderr" | "stdout" | "columns">;
  readonly call: Session["call"];
}

/**
 * Runs `work`. If it fails because the model (or any model) is not installed, offers to pull it, and runs `work` again.
 * Without a terminal, or after a no, throws the error, which names the command.
 */
export async function orPull<Value>(
  { io, call }: Asking,
  model: string | undefined,
  work: () => Promise<Value>,
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof OrchestratorError) || !io.isTerminal) throw error;
    // Of the model that was named, or if none was named, of a first model.
    const pull = error.next.find((step): step is Pull => step.step === "pullModel");
    if (pull === undefined || (model !== undefined && pull.model !== model)) throw error;
    io.stderr(`${hanging("", question(error, pull, model), io)}\n`);
    if (!isYes(await io.ask("Pull it now? [y/N] "))) throw withoutReasons(error);
    await call("pull_model", { model: pull.model, engine: pull.engine }, { progress: "always" });
    return work();
  }
}

/**
 * Offers the suggested first model, if no model is installed. Says how to get it later where it can't ask, or after a
 * no; `program` is how ollm is called. Returns whether there is a model.
 */
export async function offerFirstModel(
  { models, suggestion, unreachable = [] }: Pick<ToolAnswers["list_models"], "models" | "suggestion" | "unreachable">,
  { io, call }: Asking,
  { mayAsk = true, program = "ollm" }: { readonly mayAsk?: boolean; readonly program?: string } = {},
): Promise<boolean> {
  if (models.length > 0 || suggestion === undefined) return models.length > 0;
  // One choice: a newcomer can't judge several. `ollm models` has the others.
  const [best = ""] = suggestion.reason.split("\n");
  const found = unreachable.length === 0 ? "No model is installed yet." : `${unreachable.map(oneLine).join("; ")}.`;
  io.stdout(`${hanging("", `${found} Suggested: ${suggestion.model} (${best})`, io)}\n`);
  if (mayAsk && isYes(await io.ask("Pull it now? [y/N] "))) {
    const { text } = await call("pull_model", { model: suggestion.model }, { progress: "always" });
    io.stdout(`${oneLine(text)}\n`);
    return true;
  }
  io.stdout(`${hanging("", `To get it later: ${program} pull ${suggestion.model}`, io)}\n`);
  return false;
}

function question(error: OrchestratorError, { because, ...pull }: Pull, model: string | undefined): string {
  if (model === undefined) {
    return `No model is installed. Suggested: ${pull.model}${because === undefined ? "" : ` (${because})`}`;
  }
  const similar = error.next.flatMap((step) => (step.step === "didYouMean" ? step.names : []));
  const known = similar.length === 0 ? "" : ` Installed with a similar name: ${similar.join(", ")}.`;
  return `${model} is not installed${because === undefined ? "" : ` (${because})`}.${known}`;
}

/** The error without the facts that the question stated. */
function withoutReasons(error: OrchestratorError): OrchestratorError {
  const next = error.next.map((step) => (step.step === "pullModel" ? { step: step.step, model: step.model } : step));
  return new OrchestratorError(error.message, { next, cause: error });
}
