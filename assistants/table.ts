import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { say } from "../conformance/judges.ts";
import { claudeCode } from "./claude-code.ts";
import { cline } from "./cline.ts";
import { codex } from "./codex.ts";
import { copilot } from "./copilot.ts";
import { geminiCli } from "./gemini-cli.ts";
import { chats } from "./chats.ts";
import { opencode } from "./opencode.ts";
import { qwenCode } from "./qwen-code.ts";
import { asksWeights, runs, setUp, undo } from "./runs.ts";
import { type Assistant, World } from "./world.ts";

export const assistants = {
  "claude-code": claudeCode,
  codex,
  opencode,
  gemini: geminiCli,
  "qwen-code": qwenCode,
  cline,
  copilot,
} satisfies Record<string, Assistant>;

const rows = [setUp, ...runs, ...chats, undo];

type Name = keyof typeof assistants;

/** What one assistant did, by row. */
type Column = ReadonlyMap<string, string>;

interface Wish {
  /** Their ids; all rows if undefined. */
  readonly rows: readonly string[] | undefined;
  readonly isWritten: boolean;
  readonly isPictured: boolean;
  /** A file for the embedded engine, for the one row that asks it. */
  readonly weights: string | undefined;
}

/** Runs the rows of each assistant and prints them. Returns whether none failed. */
export async function runAll(names: readonly Name[], cache: string, wish: Wish): Promise<boolean> {
  const columns = new Map<Name, Column>();
  for (const name of names) {
    columns.set(name, await runOne(assistants[name], join(cache, name), wish));
    if (wish.isWritten && wish.weights === undefined) await writePage(columns);
  }
  return [...columns.values()].every((column) => ![...column.values()].some((text) => text.startsWith("✗")));
}

async function runOne(
  assistant: Assistant,
  folder: string,
  { rows: chosen, isPictured, weights }: Wish,
): Promise<Column> {
  const platform = `${process.platform}-${process.arch}`;
  const candidates = assistant.files(platform).map((each) => join(folder, "node_modules", each));
  const file = candidates.find((each) => existsSync(each));
  say(`\n${assistant.title} ${assistant.npm[1]}`);
  const column = new Map<string, string>();
  if (file === undefined) {
    say(`did not run: none of ${candidates.join(", ")} is there`);
    return column;
  }
  const world = await World.open(assistant, file, { isPictured, weights });
  const stop = (): void => void world.close().finally(() => process.exit(1));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  try {
    for (const row of weights === undefined ? rows : [setUp, asksWeights(weights)]) {
      // The first two are what the others stand on.
      if (chosen !== undefined && ![...chosen, "setup", "quick", "weights"].includes(row.id)) continue;
      world.ollama.reset();
      const text = await row.run(world).catch((error: unknown) => {
        return `✗ ${error instanceof Error ? error.message : String(error)}`;
      });
      const shown = text.replaceAll(world.places.home, "~").replaceAll(world.folder, "…");
      column.set(row.id, shown);
      say(`${row.title}: ${shown}`);
    }
    const asked = [...world.refused, ...world.models.unknown];
    if (asked.length > 0) say(`asked in vain for ${asked.join(", ")}`);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
    await world.close();
  }
  return column;
}

const page = fileURLToPath(new URL("../docs/assistants.md", import.meta.url));
const formatter = fileURLToPath(new URL("../node_modules/.bin/oxfmt", import.meta.url));

/** Replaces what this run has; columns of other assistants stay, with the date of theirs. */
async function writePage(columns: ReadonlyMap<Name, Column>): Promise<void> {
  const names = Object.keys(assistants) as Name[];
  const before = await keptColumns(names);
  const today = new Date().toISOString().slice(0, 10);
  const cell = (text: string): string => (text.split("\n")[0] ?? "").replaceAll("|", "\\|").slice(0, 240);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const titled = (title: string, id: string): string => {
    // After a run of some rows the others stay, and so does the date of the whole.
    const own = (name: Name): string | undefined => {
      const column = columns.get(name);
      if (id !== "") return column?.get(id);
      return column?.size === rows.length ? runOf(name, today) : undefined;
    };
    const texts = names.map((name) => {
      return (columns.has(name) ? own(name) : undefined) ?? before.get(name)?.get(title) ?? "not tried";
    });
    return line([title, ...texts.map(cell)]);
  };
  const table = [
    line(["", ...names.map((name) => assistants[name].title)]),
    line(["---", ...names.map(() => "---")]),
    titled("version, run on", ""),
    ...rows.map(({ id, title }) => titled(title, id)),
  ];
  await writeFile(page, `${introduction}\n\n${table.join("\n")}\n`);
  await once(spawn(formatter, [page], { stdio: "ignore" }), "exit");
}

const runOf = (name: Name, date: string): string => `${assistants[name].npm[1]}, ${date}`;

/** The page's columns, by the titles of their rows. */
async function keptColumns(names: readonly Name[]): Promise<ReadonlyMap<Name, Column>> {
  const text = await readFile(page, "utf8").catch(() => "");
  const [header = [], , ...lines] = text
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split(/(?<!\\)\|/).map((part) => part.trim().replaceAll("\\|", "|")));
  const found = names.flatMap((name) => {
    const at = header.indexOf(assistants[name].title);
    const column = new Map(lines.map((parts) => [parts[1] ?? "", parts[at] ?? ""] as const));
    return at === -1 ? [] : [[name, column] as const];
  });
  return new Map(found);
}

const introduction = `# Assistants, opened

Written by \`npm run assistants -- --write\` on Linux: assistants as npm has them, set up by \`ollm setup\`, each with a home of
its own. The model of the assistant is a script that makes given calls, and the engine behind ollm is a fake Ollama;
everything between them is real. ✓: seen in that run; otherwise what happens instead.

Instructions and guide are counted in tokens (o200k), with the place in the request to the assistant's model. Times are from the
key press to the end of the engine's work: the median of three, and the least and the most. Jobs begin after 3 s here
(\`jobs.patience\`; by default 45). Tools that are deferred are loaded by a search of the assistant's model. The assistant's
own limits for a result are found in steps: 8, 23, 47, 101 and 199 thousand characters.

Progress and a form in Claude Code (\`npm run assistants -- claude-code --rows progress,accept --pictures\`; the script finds its
row by the word in brackets):

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="images/assistant-progress-dark.svg">
  <img src="images/assistant-progress-light.svg" alt="Claude Code calls ollm; below the call: smollm2:135m: 4 tokens">
</picture>

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="images/assistant-form-dark.svg">
  <img src="images/assistant-form-light.svg" alt="Claude Code shows ollm's question: Delete spare:1b from disk? Accept, Decline">
</picture>

\`npm run assistants -- claude-code codex --weights FILE.gguf\` puts the embedded engine with these weights behind ollm, for one
question about a file, and prints the answer as the assistant's model gets it. On 2026-11-26 SmolLM2-135M answered Claude Code
"The heron nests at lock seventeen." and Codex "The heron nests at a specific location: lock seventeen.", 31 and 25 s after the
start of the assistant, on two busy cores (load 15 to 18).`;
