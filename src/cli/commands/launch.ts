import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { sameModel } from "../../orchestrator/util/model-name.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { type Session, withSession } from "../terminal/session.ts";
import { hanging } from "../terminal/terminal-text.ts";
import {
  type Program,
  type ProgramName,
  launchPrograms,
  printed,
  programAt,
  runProgram,
  startOf,
} from "./launch-program.ts";

/** `ollm launch`. */
export async function launchProgram(
  name: ProgramName,
  words: readonly string[],
  { model, print }: { readonly model?: string; readonly print?: boolean },
  io: CommandIo,
): Promise<number> {
  const program = launchPrograms[name];
  const found = programAt(name, program, io);
  if (found === undefined && print !== true) {
    throw new OrchestratorError(`${program.title} is not installed: there is no ${name} in the folders of PATH`, {
      next: advice(`install it: npm install -g ${program.package}`),
    });
  }
  let chosen: Chosen | undefined;
  const code = await withSession(io, {}, async (session) => {
    const choice = model === undefined ? await chooseModel(name, session) : await checkModel(name, model, session);
    for (const line of expectation(program, choice)) io.stderr(`${hanging("", line, { columns: io.errorColumns })}\n`);
    // A window that grows is another load, and all is read again.
    if (print !== true && choice.fit !== undefined)
      await session.call("smart_load", { model: choice.name, context_tokens: leastTokens });
    chosen = choice;
  });
  if (chosen === undefined) return code;
  const target = { model: chosen.name, contextTokens: chosen.contextTokens };
  if (print === true || found === undefined) {
    const start = startOf(program, { ...target, url: "http://127.0.0.1:7411" });
    io.stdout(printed(start, [name, ...start.arguments, ...words], program.door, io));
    return 0;
  }
  return runProgram([...found, ...words], program, target, io);
}

type ListedModel = ToolAnswers["list_models"]["models"][number];

interface Chosen extends ListedModel {
  readonly contextTokens: number;
  /** How long its first answer reads. */
  readonly readMs: number | undefined;
}

/** Instructions and tools of an agent take half of it. */
const leastTokens = 32_768;
/** Wider ones are asked for first. */
const windows = [131_072, 65_536, leastTokens];
/** Longer waits for the first token are no use, unless the user names the model. */
const longestReadMs = 20 * 60_000;
/** A prompt is read so many times faster than an answer is written, where neither was measured; the router's rule. */
const readingFactor = 5;

/** The best model, as the router ranks them, that can do it. Throws an error with the reason of the best one that can't. */
async function chooseModel(name: ProgramName, session: Session): Promise<Chosen> {
  const { title, firstTokens } = launchPrograms[name];
  const { structured: list } = await session.call("list_models", { capability: "tools", verbose: true, limit: 1_000 });
  const able = list.models.filter(({ is_remote, error }) => is_remote !== true && error === undefined);
  if (able.length === 0) {
    throw new OrchestratorError(`${title} needs a model that can call tools, and none is installed here`, {
      next:
        list.suggestion === undefined
          ? { step: "pullModelThat", that: "that can call tools", example: "qwen3:8b" }
          : { step: "pullModel", model: list.suggestion.model },
    });
  }
  const ranked = able.length === 1 ? able : await rank(able, firstTokens, session);
  let refusal: unknown;
  for (const model of ranked) {
    try {
      const chosen = await fitting(name, model, session);
      if ((chosen.readMs ?? 0) <= longestReadMs) return chosen;
      throw new OrchestratorError(
        `the first answer of ${oneLine(model.name)} takes too long: ${reading(chosen, firstTokens)}`,
        {
          next: [
            { step: "pullModelThat", that: "that can call tools and is smaller" },
            advice(`to start all the same: ollm launch ${name} --model ${model.name}`),
          ],
        },
      );
    } catch (error) {
      if (!(error instanceof OrchestratorError) || session.signal.aborted) throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

/** In the order in which the router would take them for a prompt of that length. */
async function rank(
  able: readonly ListedModel[],
  firstTokens: number,
  { call }: Session,
): Promise<readonly ListedModel[]> {
  const { structured } = await call("route_and_generate", {
    prompt: "word ".repeat(firstTokens),
    task: "code",
    privacy: "local_only",
    use_memory: false,
    explain: true,
    dry_run: true,
  });
  const considered = structured.route?.considered ?? [];
  const place = ({ name, engine }: ListedModel): number => {
    const at = considered.findIndex((other) => other.model === name && other.engine === engine);
    return at < 0 ? considered.length : at;
  };
  return able.toSorted((a, b) => place(a) - place(b));
}

/** The model that the user named. Throws with what it lacks. */
async function checkModel(name: ProgramName, named: string, session: Session): Promise<Chosen> {
  // Throws with the nearest names.
  await session.call("manage_model", { action: "show", model: named });
  const { structured: list } = await session.call("list_models", { verbose: true, limit: 1_000 });
  const model = list.models.find((other) => sameModel(other.name, named));
  if (model?.capabilities?.includes("tools") !== true) {
    throw new OrchestratorError(`${oneLine(named)} can't call tools, which ${launchPrograms[name].title} needs`, {
      next: { step: "listModels", capability: "tools" },
    });
  }
  return fitting(name, model, session);
}

/** The model with the widest window that fits in memory. Throws if that is too narrow. */
async function fitting(name: ProgramName, model: ListedModel, { call }: Session): Promise<Chosen> {
  const { title, firstTokens } = launchPrograms[name];
  const shown = oneLine(model.name);
  const own = model.context_tokens ?? leastTokens;
  if (own < leastTokens) {
    throw new OrchestratorError(
      `${shown} reads ${own.toLocaleString("en")} tokens at most; ${title} needs ${leastTokens.toLocaleString("en")}`,
      { next: { step: "chooseModel", that: "with a longer context window" } },
    );
  }
  const speed = model.tokens_per_second ?? model.expected_tokens_per_second;
  const readingSpeed = model.prompt_tokens_per_second ?? (speed === undefined ? undefined : speed * readingFactor);
  const readMs = readingSpeed === undefined ? undefined : (1_000 * firstTokens) / readingSpeed;
  const widest = Math.min(own, windows[0] ?? own);
  // Its server decides which models it has in memory.
  if (model.fit === undefined) return { ...model, contextTokens: widest, readMs };
  let needed: ToolAnswers["smart_load"]["plan"];
  for (const contextTokens of [own, ...windows].filter((tokens) => tokens <= widest)) {
    const { structured } = await call("smart_load", {
      model: model.name,
      context_tokens: contextTokens,
      dry_run: true,
    });
    if (structured.plan?.fits !== false) return { ...model, contextTokens, readMs };
    needed = structured.plan;
  }
  throw new OrchestratorError(
    `${shown} needs ${formatBytes(needed?.needed_bytes ?? 0)} with the ${leastTokens.toLocaleString("en")} tokens of context that ${title} needs; ${formatBytes(needed?.free_bytes ?? 0)} are free`,
    {
      next: [
        { step: "planLoad", model: model.name },
        { step: "chooseModel", that: "that is smaller" },
      ],
    },
  );
}

/** What the user can expect, in lines of their own. */
function expectation(
  { title, firstTokens }: Pick<Program, "title" | "firstTokens">,
  chosen: Chosen,
): readonly string[] {
  const { name, contextTokens, tokens_per_second: measured, expected_tokens_per_second: expected, is_remote } = chosen;
  const speed = measured ?? expected;
  const figures = [
    `${contextTokens.toLocaleString("en")} tokens of context`,
    ...(speed === undefined
      ? []
      : [`about ${Number(speed.toPrecision(2))} tokens/s${measured === undefined ? " expected" : ""}`]),
  ];
  return [
    `${title} on ${oneLine(name)}: ${figures.join(", ")}; ${reading(chosen, firstTokens)}`,
    ...(is_remote === true ? [`${oneLine(name)} runs on another machine: prompts and files are sent there.`] : []),
  ];
}

/** `the first answer reads about 22,000 tokens: about 3 min, expected from its size`. */
function reading({ readMs, prompt_tokens_per_second: measured }: Chosen, firstTokens: number): string {
  const tokens = `the first answer reads about ${firstTokens.toLocaleString("en")} tokens`;
  if (readMs === undefined) return `${tokens}; its speed is not known yet`;
  const seconds = Math.ceil(readMs / 1_000);
  const time = seconds < 60 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `${tokens}: about ${time}${measured === undefined ? ", expected, not measured" : ""}`;
}
