import { execFileSync } from "node:child_process";
import { watch } from "node:fs";
import { chmod, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { ask, never, setupLimitMs, startEngine, testLimitMs, until } from "./engine-under-test.ts";

const model = "practice:tiny";
const isPosix = process.platform !== "win32";
/** Of a disk, in bytes: the state of a prompt takes more. */
const smallBytes = 256 * 1024;

let modulePath: string;
beforeAll(async () => {
  ({ modulePath } = await installedEngine());
}, setupLimitMs);

/** Two engines of the same weights, whose every answer depends on all that was read. `plain` keeps nothing on disk. */
async function started(wrapped?: (prompts: string) => string) {
  const folder = await mkdtemp(join(tmpdir(), "ollm-faults-"));
  const [file, prompts, log] = [join(folder, "tiny.gguf"), join(folder, "prompts"), join(folder, "log")];
  await writeTinyGguf(file, { contextLength: 8_192, layerCount: 12, isBabbling: true });
  const start = async (options: Parameters<typeof startEngine>[2]) => {
    const engine = await startEngine(modulePath, { [model]: file }, options);
    onTestFinished(() => engine.dispose());
    return engine;
  };
  const node = join(folder, "node");
  if (wrapped !== undefined) {
    await writeFile(node, `#!/bin/sh\nexec 2>>"${log}"\n${wrapped(prompts)}\n`);
    await chmod(node, 0o700);
  }
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const keeping = await start({
    promptsFolder: prompts,
    promptCacheBytes: 1e9,
    ...(wrapped !== undefined && { nodeExecutable: node }),
  });
  const plain = await start({ promptCacheBytes: 0 });
  const request = (conversation: number, question: string) => ({
    model,
    messages: [
      {
        role: "user" as const,
        content: `Secret ${conversation * 7_919}. ${"The quick brown fox jumps over the lazy dog. ".repeat(20)}${question}`,
      },
    ],
    contextTokens: 4_096,
    maxTokens: 12,
  });
  return {
    prompts,
    childPids: keeping.childPids,
    ask: (conversation: number, question: string) => ask(keeping, request(conversation, question)),
    /** Asks both, and says what the first restored from disk. */
    async same(conversation: number, question: string) {
      const given = await ask(keeping, request(conversation, question));
      expect(given.text).toBe((await ask(plain, request(conversation, question))).text);
      return given.restoredPromptTokens ?? 0;
    },
    unload: () => keeping.engine.residency?.unload(model, never),
    log: () => readFile(log, "utf8").catch(() => ""),
    files: async () =>
      (await readdir(prompts, { recursive: true }).catch(() => [])).filter((name) => /\.(part|state)$/.test(name)),
  };
}

/** A process in a namespace of its own can mount a disk that is too small. */
const namespace = process.getuid?.() === 0 ? "unshare -m" : "unshare -rm";
const mountFailure = (() => {
  try {
    execFileSync("/bin/sh", ["-c", `${namespace} sh -c 'mount -t tmpfs none /mnt'`], { stdio: "ignore" });
    return undefined;
  } catch {
    return " (skipped: no file system can be mounted here)";
  }
})();

const disks: readonly (readonly [string, boolean, (prompts: string) => string])[] = [
  [
    `a disk that is full${mountFailure ?? ""}`,
    mountFailure === undefined,
    (prompts) =>
      `exec ${namespace} sh -c 'mkdir -p "$0" && mount -t tmpfs -o size=${smallBytes} none "$0" && exec "$@"' "${prompts}" "${process.execPath}" "$@"`,
  ],
  [
    `a limit of a file's size${isPosix ? "" : " (skipped: Windows has none)"}`,
    isPosix,
    // In blocks of 512 bytes.
    () => `ulimit -f ${smallBytes / 512}; exec "${process.execPath}" "$@"`,
  ],
];

describe("writing what a model has read", () => {
  it.for(disks.map(([name, runs, wrapped]) => ({ name, runs, wrapped })))(
    "ends in the middle by $name: nothing is kept, and all goes on in the same process",
    { timeout: setupLimitMs },
    async ({ runs, wrapped }, { skip }) => {
      skip(!runs);
      const engine = await started(wrapped);
      await engine.same(1, "What is quick?");
      const pids = await engine.childPids();
      await until(async () => (await engine.log()).includes("a prompt's file was not kept"), 30_000);
      await engine.same(1, "What is lazy?");
      await engine.same(2, "What is quick?");
      expect(await engine.childPids()).toEqual(pids);
      await engine.unload();
      expect(await engine.files()).toEqual([]);
      expect(await engine.same(1, "What is quick?")).toBe(0);
    },
  );

  it(
    "ends in the middle by a kill: the half of a file is never used",
    async () => {
      const engine = await started();
      expect(await engine.same(0, "What is quick?")).toBe(0);
      await engine.unload();
      const [name = ""] = await engine.files();
      const folder = join(engine.prompts, name, "..");
      let isHalf = false;
      for (let round = 1; round <= 10 && !isHalf; round += 1) {
        await engine.ask(round, "What is quick?");
        const [pid = 0] = await engine.childPids();
        const watcher = watch(folder, (_, changed) => {
          if (changed?.endsWith(".part") === true) process.kill(pid, "SIGKILL");
        });
        await engine.unload();
        watcher.close();
        isHalf = (await engine.files()).some((each) => each.endsWith(`${pid}-1.part`));
        // The first words of all conversations are the same.
        if (isHalf) expect(await engine.same(round, "What is lazy?")).toBeLessThan(64);
      }
      expect(isHalf).toBe(true);
      // What was whole before is still used.
      await engine.unload();
      expect(await engine.same(0, "What is lazy?")).toBeGreaterThan(500);
    },
    setupLimitMs + 2 * testLimitMs,
  );
});
