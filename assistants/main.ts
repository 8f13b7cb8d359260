/**
 * `npm run assistants [-- NAME... --rows ID,ID --cache FOLDER --write --pictures --weights FILE.gguf]`: installs assistants as they are published into the
 * cache, sets each up with the built `ollm setup`, drives it with a scripted model and with a fake Ollama behind ollm, and
 * prints a table of what worked; `--write` puts it into docs/assistants.md, `--pictures` what a terminal shows of progress and
 * of a form into docs/images. With `--weights`, the embedded engine with these weights is behind ollm instead, for one question
 * about a file. All traffic stays on 127.0.0.1. Exits with 1 when a row fails.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installTools, say } from "../conformance/judges.ts";
import { installedEngine } from "../test/support/engine.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
/** Set in the second process, which has no network but loopback. */
const alone = "OLLM_ASSISTANTS_ALONE";

async function main(): Promise<number> {
  if (process.platform !== "linux") {
    say("assistants: nothing ran: they are ended by what /proc shows of them, which is Linux's");
    return 0;
  }
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      cache: { type: "string", default: join(tmpdir(), "ollm-assistants-cache") },
      rows: { type: "string" },
      write: { type: "boolean", default: false },
      pictures: { type: "boolean", default: false },
      weights: { type: "string" },
    },
  });
  const cache = resolve(values.cache);
  if (process.env[alone] === undefined) {
    await installTools(here, ["node_modules/@lydell/node-pty/package.json"], "a terminal (assistants, 130 MB)");
    const compiler = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
    if ((await exitOf(process.execPath, [compiler, "-p", here])) !== 0) return 1;
  }
  // Imported late: what they import is installed by now.
  const { assistants, runAll } = await import("./table.ts");
  const names = Object.keys(assistants) as (keyof typeof assistants)[];
  const unknown = positionals.filter((name) => !(names as readonly string[]).includes(name));
  if (unknown.length > 0) throw new Error(`no assistant ${unknown.join(", ")}; there are ${names.join(", ")}`);
  const chosen = names.filter((name) => positionals.length === 0 || positionals.includes(name));
  if (process.env[alone] === undefined) {
    if (values.weights !== undefined) await installedEngine();
    for (const name of chosen) await install(join(cache, name), assistants[name].npm);
    // In a network of its own, where only loopback leads anywhere, as far as the system allows that.
    const words = [...process.execArgv, ...process.argv.slice(1)];
    const hasOwn = (await exitOf("unshare", ["-n", "true"], "ignore").catch(() => 1)) === 0;
    const shell = ["-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', process.execPath, ...words];
    process.env[alone] = hasOwn ? "network" : "proxy";
    return (await exitOf(hasOwn ? "unshare" : process.execPath, hasOwn ? shell : words)) ?? 1;
  }
  if (process.env[alone] === "proxy")
    say("no network of its own here: only the proxy that the environment names is refused");
  const { pictures: isPictured, write: isWritten, weights } = values;
  const isGood = await runAll(chosen, cache, { rows: values.rows?.split(","), isWritten, isPictured, weights });
  return isGood ? 0 : 1;
}

async function exitOf(file: string, words: readonly string[], stdio: "inherit" | "ignore" = "inherit") {
  const [code] = (await once(spawn(file, words, { stdio }), "exit")) as [number | null];
  return code;
}

/** Installs one package in a folder of its own, without its scripts, unless that version is there. Throws when npm fails. */
async function install(folder: string, [name, version]: readonly [string, string]): Promise<void> {
  const mark = join(folder, `installed-${version}`);
  if (existsSync(mark)) return;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), '{ "private": true }');
  process.stderr.write(`installing ${name}@${version} in ${folder} ...\n`);
  const words = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", `${name}@${version}`];
  const npm = process.env["npm_execpath"];
  const [file, first] = npm === undefined ? ["npm", []] : [process.execPath, [npm]];
  const child = spawn(file, [...first, ...words], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`npm install ${name}@${version} ended with ${code}`);
  await writeFile(mark, "");
}

process.exitCode = await main().catch((error: unknown) => {
  say(`assistants: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});
