/**
 * `npm run pictures [-- NAME=FILE.gguf NAME=FILE.gguf]`: records `ollm setup`, and with two models `ollm compare`, in a real
 * terminal and writes docs/images/*.svg; then the dashboard in a browser (`browser/pictures.ts`), with the demo's model if
 * none is given. What is shown is what was
 * printed; only the temporary folders are named /home/me. Needs `script` of util-linux.
 */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import xterm from "@xterm/headless";
import { startInTerminal } from "./in-terminal.ts";
import { screenAsSvg, themes } from "./terminal-svg.ts";

const repository = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
const images = path.join(repository, "docs", "images");
const program = path.join(repository, "dist", "cli.mjs");
const columns = 92;
/** The loads of the models included. */
const limitMs = 120_000;

/** What to type when the output since the last answer matches. */
type Answer = readonly [question: RegExp, typed: string];

interface Recording {
  /** As shown before the output. */
  readonly command: string;
  readonly words: readonly string[];
  readonly answers?: readonly Answer[];
}

async function main(): Promise<void> {
  const models = process.argv.slice(2).map((argument) => {
    const [name = "", file = ""] = argument.split("=");
    if (name === "" || file === "") throw new Error("usage: npm run pictures -- NAME=FILE.gguf NAME=FILE.gguf");
    return { name, file: path.resolve(file) };
  });
  const home = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-pictures-")));
  const environment = { ...process.env, HOME: home, OLLM_HOME: path.join(home, ".ollm"), COLUMNS: String(columns) };
  try {
    for (const folder of ["Documents", ".claude"]) await mkdir(path.join(home, folder));
    await writeFile(path.join(home, ".claude.json"), "{}\n");
    const asked: Recording = {
      command: "ollm setup --no-guide",
      words: ["setup", "--no-guide"],
      answers: setupAnswers,
    };
    await record("setup", asked, environment, home);
    if (models.length < 2)
      console.log("ollm compare is not recorded: it needs two models (NAME=FILE.gguf NAME=FILE.gguf)");
    else await recordComparison(models, environment, home);
  } finally {
    await finish([program, "daemon", "stop"], environment);
    await rm(home, { recursive: true, force: true });
  }
  const given = models.map(({ name, file }) => `${name}=${file}`);
  const browser = path.join(repository, "browser", "main.ts");
  process.exitCode = await finish(["--import", "tsx", browser, "pictures", ...given], process.env);
}

async function recordComparison(
  models: readonly { readonly name: string; readonly file: string }[],
  environment: NodeJS.ProcessEnv,
  home: string,
): Promise<void> {
  for (const { name, file } of models) await finish([program, "import", file, name], environment);
  const prompt = "Write one sentence about the sea.";
  const names = models.map(({ name }) => name);
  await record(
    "compare",
    {
      command: `ollm compare "${prompt}" ${names.join(" ")}`,
      words: ["compare", prompt, ...names],
      answers: [[/Which answer is best\?/, "1"]],
    },
    environment,
    home,
  );
}

const setupAnswers: readonly Answer[] = [
  [/Folder whose files/, "~/Documents"],
  [/Make this change\?/, "y"],
  [/Install the embedded engine now/, "n"],
  [/Pull it now\?/, "n"],
];

async function record(
  name: string,
  { command, words, answers = [] }: Recording,
  environment: NodeJS.ProcessEnv,
  home: string,
): Promise<void> {
  const terminal = new xterm.Terminal({ cols: columns, rows: 200, allowProposedApi: true });
  const child = startInTerminal([program, ...words], { columns, rows: 200, environment, limitMs });
  const waiting = [...answers];
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    terminal.write(text);
    said += text;
    const [question, answer = ""] = waiting[0] ?? [];
    if (question?.test(said) !== true) return;
    said = "";
    waiting.shift();
    child.stdin.write(`${answer}\n`);
  });
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject).once("close", resolve);
  });
  await new Promise<void>((resolve) => terminal.write("", resolve));
  if (exitCode !== 0) throw new Error(`${command} ended with exit code ${exitCode}: ${said}`);
  const shorten = (text: string): string =>
    text.replaceAll(repository, "/home/me/ollm-mcp").replaceAll(home, "/home/me").trimEnd();
  for (const [theme, colours] of Object.entries(themes)) {
    const file = path.join(images, `${name}-${theme}.svg`);
    await writeFile(file, screenAsSvg(terminal.buffer.active, { command, columns, colours, shorten }));
    console.log(file);
  }
}

/** The exit code. */
async function finish(words: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(process.execPath, words, { env: environment, stdio: ["ignore", "ignore", "inherit"] });
  return new Promise((resolve) => {
    child.once("close", (exitCode) => resolve(exitCode ?? 1));
  });
}

await main();
