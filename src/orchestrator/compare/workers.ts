import { InvalidRequest } from "../api/errors.ts";
import { type Delegated, type Worker, type WorkerRequest, type Workers, changedLines } from "../api/facade-batches.ts";
import type { CallerContext, JsonSchema } from "../api/types.ts";
import { createValidator } from "../checks/checks.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext, Operations } from "../jobs/operations.ts";
import { oneLine } from "../util/control-characters.ts";
import { frameFile } from "../util/file-name.ts";
import { counted, formatCount, shortened } from "../util/format-bytes.ts";
import { WorkerLoop } from "./worker-loop.ts";

export function createWorkers(deps: {
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly settings: () => {
    readonly workers: Readonly<Record<string, Worker & Omit<NonNullable<Worker["verifier"]>, "name">>>;
  };
  /** Applies the caller's privacy to the work. */
  readonly lock: { readonly serving: <Result>(caller: CallerContext, work: () => Result) => Result };
  /** The program that validates, and until when. */
  readonly checkWorker: string;
  readonly signal: AbortSignal;
}): Workers {
  const { world, operations, settings, lock, checkWorker, signal } = deps;
  const validator = createValidator(checkWorker, signal);

  async function work(request: WorkerRequest, caller: CallerContext, context: OperationContext): Promise<Delegated> {
    const { workspace } = request;
    const asking = { caller: caller.id, signal: context.signal };
    const validate = (text: string, schema: JsonSchema) => validator(text, schema, asking);
    try {
      const messages = await firstMessages(request);
      const ended = await new WorkerLoop({ world, caller, context, validate }, request, messages).run();
      if (ended.state === "do_it_yourself") await workspace.remove();
      const { problem: _problem, words: _words, passedBefore: _passedBefore, ...facts } = ended;
      return { ...facts, summary: summaryOf(ended), notes: workspace.notes };
    } catch (error) {
      await workspace.remove();
      throw error;
    }
  }

  return {
    named(name, agent) {
      const all = settings().workers;
      if (Object.hasOwn(all, name) && all[name] !== undefined) {
        const { verify, schema, file = "", timeout, ...rest } = all[name];
        return { ...rest, verifier: verify || schema ? { name, verify, schema, file, timeout } : undefined };
      }
      if (agent !== undefined) return agent;
      const names = Object.keys(all);
      throw new InvalidRequest(`no worker is named ${JSON.stringify(name)} in the setting workers`, {
        next: [
          ...(names.length === 0 ? [] : [{ step: "chooseOneOf", names } as const]),
          { step: "askUserToSet", setting: "workers" },
        ],
      });
    },
    start(caller, request) {
      const title = `delegate ${JSON.stringify(shortened(request.task, 60))}`;
      const spec = { kind: "delegate", title, id: request.workspace.id, client: caller.client } as const;
      return lock.serving(caller, () =>
        operations.start(spec, (context) => work(request, { ...caller, signal: context.signal }, context)),
      );
    },
  };
}

/** Files of few characters are shown at once: a turn costs more than their text. */
const most = { characters: 6_000, names: 80, changed: 6 } as const;

/** What a worker's model is told first. */
async function firstMessages({ task, verifier, instructions, workspace }: WorkerRequest) {
  const names = await workspace.list();
  const shown = names.slice(0, most.names);
  let texts = "";
  for (const path of shown) {
    const text = await workspace.text(path).catch(() => undefined);
    texts += text === undefined ? "x".repeat(most.characters + 1) : frameFile({ path, text });
    if (texts.length > most.characters) break;
  }
  const more = names.length > most.names ? `\n... and ${names.length - most.names} more` : "";
  const isWhole = texts.length <= most.characters && more === "";
  const { verify, file, schema } = verifier ?? {};
  const checked = verify
    ? `this command is run, and must end with exit code 0: ${verify.join(" ")}`
    : `${file} is compared with a JSON schema: ${JSON.stringify(schema)}`;
  const system = [
    "You do a task by changing files with tools. Look at what you need, change it, then call done. Each answer is a call of a tool.",
    ...(verifier === undefined ? [] : [` When you call done, ${checked}`]),
    ...(instructions === undefined ? [] : [`\n\n${instructions}`]),
  ];
  return [
    { role: "system", content: system.join("") },
    { role: "user", content: `${isWhole ? texts : `Files:\n${shown.join("\n")}${more}\n\n`}Task: ${task}` },
  ] as const;
}

/** At most some 150 tokens for the one who gave the task: what the program knows, and the model's words, marked as such. */
function summaryOf(ended: Awaited<ReturnType<WorkerLoop["run"]>>): string {
  const { state, files, check, passedBefore, problem, words, model, turns, tokens } = ended;
  const isDone = state !== "do_it_yourself";
  const names = files.slice(0, most.changed).map(({ path, kind }) => (kind === "added" ? `${path} (new)` : path));
  const more = files.length > most.changed ? ` and ${files.length - most.changed} more` : "";
  const lines = files.flatMap(({ diff }) => changedLines(diff));
  const added = lines.filter((line) => line.startsWith("+")).length;
  const counts = lines.length === 0 ? "" : `, +${added} -${lines.length - added}`;
  const name = shortened(oneLine(check?.name ?? ""), 60);
  const how = shortened(oneLine(check?.how ?? ""), 80);
  const last = check === undefined ? "" : `the last run of ${name}: ${how}`;
  const checked = {
    verified: `verified by ${name} (${how})${passedBefore ? ", which passed before, too" : ""}`,
    unverified: last || "not verified: no check was named",
    do_it_yourself: last,
  };
  // What is proven needs no words of the model.
  const said = state === "verified" ? "" : shortened(oneLine(words).trim(), 160);
  return [
    isDone
      ? `${counted(files.length, "file")} changed${counts}: ${oneLine(names.join(", "))}${more}`
      : `Do this yourself: ${shortened(oneLine(problem), 200)}`,
    checked[state],
    `${model}, ${counted(turns, "turn")}, ${formatCount(tokens.completion)} tokens`,
    said && `the model says: "${said}"`,
  ]
    .filter((part) => part !== "")
    .join("; ");
}
