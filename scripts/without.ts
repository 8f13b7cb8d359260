/**
 * `npm run check:without`: each watcher, by itself, is deleted from a copy of the sources together with its import and its
 * line in `watchers.ts`, and the rest must compile.
 */
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const wiring = "src/orchestrator/watchers.ts";
const watch = "src/orchestrator/watch";

/** The wiring without a watcher: without its import, and the lines that use what it imports. */
function wiringWithout(source: string, watcher: string): string {
  const isImport = (line: string): boolean => line.startsWith("import ") && line.includes(`"./watch/${watcher}`);
  const names = source
    .split("\n")
    .filter(isImport)
    .flatMap((line) => line.match(/\bwatch[A-Z]\w*/g) ?? []);
  const isUse = (line: string): boolean => names.some((name) => line.includes(`${name}(`));
  return source
    .split("\n")
    .filter((line) => !isImport(line) && !isUse(line))
    .join("\n");
}

async function compiles(watcher: string): Promise<boolean> {
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-without-"));
  try {
    await Promise.all(["src", "sql-js.d.ts", "tsconfig.json", "package.json"].map((name) => copy(name, folder)));
    await symlink(path.join(root, "node_modules"), path.join(folder, "node_modules"), "junction");
    await rm(path.join(folder, watch, watcher), { recursive: true });
    const file = path.join(folder, wiring);
    const source = await readFile(file, "utf8");
    await writeFile(file, wiringWithout(source, watcher));
    // Nothing else sees a watcher: that is lint's.
    const config = {
      extends: "./tsconfig.json",
      compilerOptions: { skipLibCheck: true },
      include: ["src/orchestrator", "sql-js.d.ts"],
    };
    await writeFile(path.join(folder, "without.json"), JSON.stringify(config));
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", "without.json"], { cwd: folder });
    process.stdout.write(status === 0 ? `without ${watcher}: compiles\n` : `without ${watcher}:\n${String(stdout)}`);
    return status === 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function copy(name: string, folder: string): Promise<void> {
  return cp(path.join(root, name), path.join(folder, name), { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  let isComplete = true;
  for (const watcher of await readdir(path.join(root, watch))) isComplete = (await compiles(watcher)) && isComplete;
  process.exitCode = isComplete ? 0 : 1;
}
