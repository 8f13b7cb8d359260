/**
 * `npm run agents [-- NAME... | --real [--weights FILE.gguf]]`: coding agents as they are published, started by the built
 * `ollm launch` on a scripted model behind the real door. Each reads two files, edits them, runs a command and ends; the
 * files are checked. `--real` does it once with a real model and the program that sends it least, and only prints what came
 * of it. Then Claude Code and Codex do it with a service behind `http.upstreams` (`upstream.ts`). Agents are installed on the
 * first run. Exits with 1 when one fails.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { installTools, say } from "../conformance/judges.ts";
import { type ProgramName, launchPrograms } from "../src/cli/commands/launch-program.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../test/support/fake-openai.ts";
import { type Agent, agents } from "./programs.ts";
import { runUpstream } from "./upstream.ts";
import { World, here, tail, version } from "./world.ts";

const scriptedModel = "scripted";
/** What the scripted model says when it has called all tools. */
const lastWords = "Both files are joined.";
const realModel = "qwen2.5-coder:1.5b";
const limitMs = 120_000;
/** A processor reads thousands of tokens for minutes. */
const realLimitMs = 30 * 60_000;

/** Makes the scripted model call the tools of one program, in turn: a conversation with N results is answered with call N. */
function script(engine: FakeOpenAi, turns: ReturnType<Agent["turns"]>): void {
  engine.reset();
  engine.models.set(scriptedModel, {
    id: scriptedModel,
    contextTokens: 131_072,
    script({ messages, tools }) {
      const turn = turns[messages.filter(({ role }) => role === "tool").length];
      // Titles and notes are conversations of their own.
      return turn !== undefined && tools.some(({ name }) => name === turn.name)
        ? { calls: [{ name: turn.name, arguments: turn.input }] }
        : { text: lastWords };
    },
  });
}

/** One line per program. Returns whether all that can run here did it. */
async function runScripted(names: readonly ProgramName[]): Promise<boolean> {
  const engine = await startFakeOpenAi({ dialect: "cloud", models: [{ id: scriptedModel, contextTokens: 131_072 }] });
  const model = { name: scriptedModel, contextTokens: 131_072, capabilities: ["completion", "tools"] };
  const server = { id: "script", kind: "local", trust: "local", baseUrl: engine.baseUrl, models: [model] };
  const world = await World.open({ providers: { openai: [server] } }, false);
  let isGood = true;
  try {
    for (const name of names) {
      const agent = agents[name];
      try {
        await world.install(name, agent);
      } catch (error) {
        say(`${name}: did not run: ${error instanceof Error ? error.message : String(error)}`);
        continue;
      }
      await world.reset();
      world.refused.clear();
      script(engine, agent.turns(world.work));
      const startedAt = performance.now();
      const ran = await world.launch(name, scriptedModel, limitMs);
      const problems = [
        ...(ran.code === 0 ? [] : [`ended with ${ran.code}`]),
        ...(ran.stdout.includes(lastWords) ? [] : ["the last answer is not in its output"]),
        ...(await world.problems()),
      ];
      const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
      const title = `${name} ${await version(name)}`;
      const asked = engine.requests.filter(({ path }) => path === "/v1/chat/completions").length;
      const elsewhere = world.refused.size === 0 ? "" : `; asked in vain for ${[...world.refused].join(", ")}`;
      if (problems.length === 0)
        say(`${title}: read, edited two files, ran a command, ended: ${asked} requests, ${seconds} s${elsewhere}`);
      else {
        isGood = false;
        say(`${title}: FAILED: ${problems.join("; ")}${elsewhere}\n${tail(ran.stdout)}\n${tail(ran.stderr)}`);
      }
    }
  } finally {
    await world.close();
    await engine.close();
  }
  return isGood;
}

/** The program that sends the least, with a real model in the embedded engine: what comes of it is printed. */
async function runReal(weights: string): Promise<void> {
  const [name = "cline"] = (Object.keys(agents) as ProgramName[]).toSorted(
    (a, b) => launchPrograms[a].firstTokens - launchPrograms[b].firstTokens,
  );
  const world = await World.open({}, true);
  try {
    await world.reset();
    await world.install(name, agents[name]);
    const imported = await world.ollm(["import", resolve(weights), realModel], 10 * 60_000);
    if (imported.code !== 0) throw new Error(`the weights can't be imported: ${tail(imported.stderr)}`);
    const startedAt = performance.now();
    const ran = await world.launch(name, realModel, realLimitMs);
    const problems = await world.problems();
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    say(`${name} ${await version(name)} with ${realModel}: ended with ${ran.code} after ${seconds} s`);
    say(problems.length === 0 ? "all of it was done" : `not done: ${problems.join("; ")}`);
    say(`${tail(ran.stderr)}\n${tail(ran.stdout)}`);
    // What it asked for, how long each took, and what came of it.
    say(tail(await readFile(join(world.folder, ".ollm", "logs", "calls.log"), "utf8")));
  } finally {
    await world.close();
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { real: { type: "boolean", default: false }, weights: { type: "string" } },
  });
  const names = Object.keys(agents) as ProgramName[];
  const unknown = positionals.filter((name) => !names.includes(name as ProgramName));
  if (unknown.length > 0) throw new Error(`no agent ${unknown.join(", ")}; there are ${names.join(", ")}`);
  if (process.platform === "win32") {
    say("agents: nothing ran: their scripts are for a POSIX shell");
    return 0;
  }
  await installTools(here, ["node_modules/.package-lock.json"], "coding agents (agents, 2 GB)", [
    "install",
    "--no-save",
  ]);
  if (values.real) {
    if (values.weights === undefined)
      throw new Error("--real needs --weights FILE.gguf of Qwen2.5-Coder-1.5B-Instruct");
    await runReal(values.weights);
    return 0;
  }
  const chosen = names.filter((name) => positionals.length === 0 || positionals.includes(name));
  const results = [await runScripted(chosen)];
  for (const name of chosen) if (name === "claude" || name === "codex") results.push(await runUpstream(name));
  return results.every(Boolean) ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  say(`agents: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});
