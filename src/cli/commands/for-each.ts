import { writeFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { batchLines } from "../../orchestrator/util/batch-lines.ts";
import { messageOf } from "../../orchestrator/util/message-of.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { orPull } from "../terminal/offer-pull.ts";
import type { Session } from "../terminal/session.ts";
import { show } from "../terminal/table.ts";
import { hanging, styled, styledError } from "../terminal/terminal-text.ts";

/** `ollm run --for-each`: the job's answers on stdout or in `target`, and what they took on stderr. */
export async function askForEach(
  request: ToolInputs["route_and_generate"],
  { json }: { readonly json?: boolean },
  target: string | undefined,
  session: Session,
): Promise<number> {
  const { io, call, read } = session;
  const begun = await orPull(session, request.model, () => repeated(() => call("route_and_generate", request)));
  const { job = "" } = begun.structured as { readonly job?: string };
  const { result, error } = await waitFor(job, session);
  if (result === undefined) throw new OrchestratorError(error ?? `${job} has no result`);
  const found = result as ToolAnswers["route_and_generate"];
  const { for_each: batch = { counts: {} }, text: reduced, notes = [], model } = found;
  const lines = await read("ollm://results/{id}", job);
  const kept = `ollm://results/${job}`;
  if (target !== undefined) {
    await writeFile(target, lines).catch((cause: unknown) => {
      const problem = `${target} could not be written (${messageOf(cause)}); all answers: ${kept}`;
      throw new OrchestratorError(problem, { cause });
    });
  }
  const shown = lines
    .trimEnd()
    .split("\n")
    .map((line) => answerText(line, session));
  show({ ...found, job }, { json }, io, () => {
    if (reduced !== undefined) return `${reduced.trimEnd()}\n`;
    return target === undefined ? shown.join("\n") : "";
  });
  const said = [...batchLines({ ...batch, examples: [] }, model), ...notes, `all answers: ${target ?? kept}`];
  for (const line of json === true ? [] : said)
    io.stderr(`${styledError(hanging("", oneLine(line), { columns: io.errorColumns }), io)}\n`);
  const { failed, open, doubtful } = batch.counts;
  const isWhole = failed === undefined && open === undefined;
  return isWhole ? (doubtful === undefined ? 0 : 3) : 1;
}

/** Waits for the end of a job; Ctrl-C cancels it. */
export async function waitFor(job: string, { call, signal }: Session): Promise<ToolAnswers["job"]> {
  try {
    for (;;) {
      const { structured } = await repeated(() => call("job", { action: "wait", job_id: job }));
      if (structured.state !== "running") return structured;
    }
  } catch (error) {
    // The session has ended already.
    const options = { signal: AbortSignal.timeout(10_000), progress: "never" } as const;
    if (signal.aborted) await call("job", { action: "cancel", job_id: job }, options).catch(() => undefined);
    throw error;
  }
}

/** The answer to a call that may be repeated; one that a restart of the daemon cuts is. */
export async function repeated<Answer>(ask: () => Promise<Answer>, tries = 10): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    const isCut = error instanceof OrchestratorError && error.next.some(({ step }) => step === "retry");
    if (!isCut || tries === 0) throw error;
    await setTimeout(500);
    return repeated(ask, tries - 1);
  }
}

/** One answer for a person: what it is about, and what it says. */
function answerText(line: string, { io }: Session): string {
  const { item, question, text, why, state } = JSON.parse(line) as Readonly<Record<string, string | undefined>>;
  const head = styled(oneLine([item, question].filter(Boolean).join(": ")), "bold", io);
  const said = state === "failed" ? `failed: ${oneLine(why ?? "")}` : (text ?? "").trim();
  const doubt = state === "doubtful" ? `\n${styled(`(${oneLine(why ?? "")})`, "dim", io)}` : "";
  return `${head}\n${said}${doubt}\n`;
}
