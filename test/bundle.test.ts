import { binaryPackages } from "../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { buildAll } from "../scripts/build.ts";
import { resources } from "../src/resources/index.ts";
import { tools } from "../src/tools/index.ts";
import { makeDaemonHome } from "./support/daemon-home.ts";

const dist = fileURLToPath(new URL("../dist", import.meta.url));

/** The file and everything it imports statically, each once. */
async function closure(file: string, seen = new Map<string, string>()): Promise<ReadonlyMap<string, string>> {
  if (seen.has(file)) return seen;
  const source = await readFile(file, "utf8");
  seen.set(file, source);
  for (const [, specifier = ""] of source.matchAll(/(?:^|[;}])import(?:[\w$*{},\s]+from)?"(\.[^"]+)"/gm)) {
    await closure(join(dirname(file), specifier), seen);
  }
  return seen;
}

test("a standalone start reads less than 450 KB, all of it known from its first file on", async () => {
  expect(await readFile(join(dist, "cli.mjs"), "utf8")).toContain('import("./standalone.mjs")');
  const files = await closure(join(dist, "standalone.mjs"));
  const bytes = [...files.values()].reduce((sum, source) => sum + Buffer.byteLength(source), 0);
  // The SDK and zod alone are 375; far less would mean that the files were not followed.
  expect(bytes).toBeGreaterThan(200_000);
  expect(bytes).toBeLessThan(450 * 1024);
});

test("a front is one small file: it asks for Node's own modules, and for the rest only when it is needed", async () => {
  const files = await closure(join(dist, "cli.mjs"));
  expect([...files.keys()]).toEqual([join(dist, "cli.mjs")]);
  const [cli = ""] = files.values();
  expect(Buffer.byteLength(cli)).toBeLessThan(40 * 1024);
  const imported = [...cli.matchAll(/(?:from|import)"([^"]+)"/g)].map(([, name]) => name);
  expect(imported).toContain("node:net");
  expect(imported.filter((name) => !name?.startsWith("node:"))).toEqual([]);
});

test("no command of the shell loads the definition of a tool or a resource: it has their types alone", async () => {
  const descriptions = [...tools, ...resources].map(({ description }) => description);
  const defined = async (file: string): Promise<readonly string[]> => {
    const text = [...(await closure(file)).values()].join("\n");
    return descriptions.filter((description) => text.includes(description));
  };
  const chunks = await readdir(join(dist, "chunks"));
  // Definitions, and what they do, are read with every command; the rest is in chunks of its own, by the name of its file.
  const sources = [new URL("../src/cli/commands", import.meta.url), new URL("../src/cli/setup", import.meta.url)];
  const shell = (await Promise.all(sources.map((folder) => readdir(folder)))).flat();
  const names = ["commands", ...shell.map((name) => name.replace(/\.ts$/, ""))];
  const commands = chunks.filter((chunk) =>
    names.some((name) => new RegExp(`^${name}-[A-Z0-9]{8}\\.mjs$`).test(chunk)),
  );
  expect(commands.length).toBeGreaterThan(10);
  for (const command of commands) expect(await defined(join(dist, "chunks", command)), command).toEqual([]);
  const everywhere = await Promise.all(chunks.map((chunk) => defined(join(dist, "chunks", chunk))));
  expect(everywhere.flat()).toEqual(expect.arrayContaining([tools[0]?.description, resources[0]?.description]));
});

test("help and completion read neither the SDK, nor the settings, nor how a daemon is reached", async () => {
  const names = (await readdir(join(dist, "chunks"))).filter((name) => /^commands-[A-Z0-9]{8}\.mjs$/.test(name));
  const files = new Map<string, string>();
  for (const name of names) await closure(join(dist, "chunks", name), files);
  const text = [...files.values()].join("\n");
  expect(text).toContain("add ollm to the assistants on this machine");
  expect(Buffer.byteLength(text)).toBeLessThan(220 * 1024);
  for (const heavy of ["notifications/initialized", "~standard", "node:net"]) expect(text).not.toContain(heavy);
});

test("a build takes away what an earlier one left, so that it is not packed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ollm-build-"));
  try {
    await mkdir(join(folder, "chunks"));
    const stale = ["front.cjs", "chunks/stale-AAAAAAAA.mjs"];
    for (const name of stale) await writeFile(join(folder, name), "");
    await buildAll(folder);
    const names = (await readdir(folder, { recursive: true })).map((name) => name.replaceAll("\\", "/"));
    expect(names.filter((name) => stale.includes(name))).toEqual([]);
    expect(names).toEqual(expect.arrayContaining(["cli.mjs", "third-party-licenses.txt", "engine-lock/linux-x64"]));
    expect(names).toHaveLength((await readdir(dist, { recursive: true })).length);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("every file that the bundle loads, now or lazily, is there", async () => {
  const names = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith(".mjs"));
  const present = new Set(names.map((name) => join(dist, name)));
  const missing: string[] = [];
  for (const entry of [
    "cli.mjs",
    "commands.mjs",
    "standalone.mjs",
    "engine-child.mjs",
    "gguf-child.mjs",
    "bandwidth-worker.mjs",
    "check-worker.mjs",
    "query-worker.mjs",
  ]) {
    const waiting = [join(dist, entry)];
    for (const file of waiting) {
      const source = await readFile(file, "utf8");
      for (const [, specifier = ""] of source.matchAll(/(?:from|import\(?)"(\.\.?\/[^"]+\.mjs)"/g)) {
        const target = join(dirname(file), specifier);
        if (!present.has(target)) missing.push(`${file} -> ${specifier}`);
        else if (!waiting.includes(target)) waiting.push(target);
      }
    }
  }
  expect(missing).toEqual([]);
});

test("every platform's engine lock is in the package, with its integrity hashes", async () => {
  const platforms = (await readdir(join(dist, "engine-lock"))).toSorted();
  expect(platforms).toEqual(Object.keys(binaryPackages).toSorted());
  for (const platform of platforms) {
    const lock = await readFile(join(dist, "engine-lock", platform, "package-lock.json"), "utf8");
    expect(lock).toContain('"integrity": "sha512-');
  }
});

test("the licences of the bundled packages are passed on", async () => {
  const text = await readFile(join(dist, "third-party-licenses.txt"), "utf8");
  for (const name of ["@modelcontextprotocol/server", "zod", "undici", "sql.js"]) expect(text).toContain(`\n${name} `);
  expect(text).toContain("Permission is hereby granted, free of charge");
});

test.skipIf(process.platform === "win32")("a command and its daemon start with 64 descriptors", async () => {
  const daemon = await makeDaemonHome();
  try {
    const script = 'ulimit -n 64; exec "$0" "$1" status';
    const words = ["-c", script, process.execPath, join(dist, "cli.mjs")];
    const { stdout } = await promisify(execFile)("/bin/sh", words, { env: daemon.environment });
    expect(stdout).toContain("privacy    local only");
  } finally {
    await daemon.close();
  }
});
