import { Option } from "commander";
import { tasks } from "../../orchestrator/api/types.ts";
import type { ResourceData } from "../../resources/index.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import type { CommandIo, JsonOption, Options } from "../terminal/io.ts";
import { showCall, showRead } from "../terminal/session.ts";
import { type Column, type Fact, renderFacts, renderTable, styled } from "../terminal/terminal-text.ts";
import type { ShellCommand } from "./options.ts";

/** `ollm profiles`. */
export function addProfiles(program: ShellCommand): void {
  const values =
    "name, description, models, families, needs, min_context_tokens, temperature, top_p, max_tokens, system, fallback, max_latency_ms, min_success_rate, templates, builds_on, matches";
  const profiles = program.command("profiles").json(`profiles[{${values}}]`).does(listProfiles);
  profiles
    .command("show")
    .argument("<profile>", "a name from ollm profiles")
    .json(`${values}, sources, answers{model, engine, reason}, unavailable, learned[{task, model, answers, score}]`)
    .does(showProfile);
  profiles
    .command("reset")
    .addOption(new Option("--task <task>", "only for this kind of task").choices(tasks))
    .option("--model <model>", "only about this model")
    .option("-y, --yes", "don't ask")
    .does(resetLearned);
}

const rows: readonly Column<ResourceData["ollm://profiles"]["profiles"][number]>[] = [
  { title: "NAME", text: ({ name }) => name },
  { title: "MODELS", text: ({ models = [], families }) => [...models, ...families].join(" "), isExtra: 1 },
  { title: "NEEDS", text: ({ needs = [] }) => needs.join(" "), isExtra: 3 },
  { title: "TEMPERATURE", text: ({ temperature }) => temperature, isExtra: 2, isNumber: true },
  { title: "FALLBACK", text: ({ fallback = [] }) => [fallback].flat().join(" "), isExtra: 4 },
];

/** `ollm profiles`. */
function listProfiles(options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://profiles"], options, io, ({ profiles }) => renderTable(profiles, rows, io));
}

/** `ollm profiles show`: also works with no model installed. */
function showProfile(name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://profiles/{name}", name], options, io, (profile) => described(profile, io));
}

/** The names of values in the settings. */
const settingOf: Readonly<Record<string, string>> = {
  min_context_tokens: "contextTokens",
  builds_on: "base",
  matches: "match",
};

function described(profile: ResourceData["ollm://profiles/{name}"], io: CommandIo): string {
  const { name, description, sources, answers, unavailable, system, learned = [], ...rest } = profile;
  const { matches: _matches, ...values } = rest;
  const facts = Object.entries(values).map(([key, value]): Fact => {
    const source = sources[settingOf[key] ?? key.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    const text = Array.isArray(value) ? value.join(", ") : String(value);
    return [key.replaceAll("_", " "), source === undefined ? text : `${text}; ${source}`];
  });
  const answer: Fact =
    answers === undefined
      ? ["would answer", `no model: ${unavailable ?? "unknown"}`, "yellow"]
      : ["would answer", `${answers.model} on ${answers.engine}; ${answers.reason}`];
  const learnedFacts = learned.map(({ task, model, score, answers: count }): Fact => {
    const of = counted(Math.max(1, Math.round(count)), "answer");
    return [`learned for ${task}`, `${model} scores ${score} of 1 in ${of}`];
  });
  const title = `${styled(oneLine(name), "bold", io)}${description === undefined ? "" : `: ${oneLine(description)}`}`;
  const prompt =
    system === undefined
      ? ""
      : `\n${styled(`system (${sources["system"] ?? "built-in"})`, "dim", io)}\n${system.trimEnd()}\n`;
  return `${title}\n\n${renderFacts([...facts, answer, ...learnedFacts], io)}${prompt}`;
}

type Flags = Options<{ switch: "json" | "yes"; text: "task" | "model" }>;

/** `ollm profiles reset`: forgets what was learned, after asking. */
function resetLearned({ task, model, yes, ...options }: Flags, io: CommandIo): Promise<number> {
  const agreed = yes === true ? { ask: () => Promise.resolve({ confirm: true }) } : {};
  return showCall("pick_winner", { action: "reset", task, model }, options, io, undefined, agreed);
}
