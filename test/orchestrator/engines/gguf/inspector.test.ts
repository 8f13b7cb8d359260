import { copyFile, mkdtemp, readdir, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Cancelled, LoadFailed } from "../../../../src/orchestrator/api/errors.ts";
import { createGgufInspector } from "../../../../src/orchestrator/engines/gguf/inspector.ts";
import { flipBit, type MetadataEntry, truncateBy, writeGguf } from "../../../support/gguf-writer.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";

type GgufInspectorOptions = Parameters<typeof createGgufInspector>[0];

const never = new AbortController().signal;
const realChild = resolve("dist/gguf-child.mjs");

let folder = "";
let model = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-gguf-"));
  model = join(folder, "model.gguf");
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

function inspector(options: Partial<GgufInspectorOptions> = {}) {
  return createGgufInspector({ childEntry: realChild, nodeExecutable: process.execPath, ...options });
}

/** A child program that records its start as a file in `folder`, then runs `code`. */
async function scriptedChild(code: string): Promise<{ entry: string; starts: () => Promise<number> }> {
  const entry = join(folder, "child.mjs");
  const note = `import fs from "node:fs"; fs.writeFileSync(${JSON.stringify(folder)} + "/started-" + process.pid, "");\n`;
  await writeFile(entry, note + code);
  return { entry, starts: async () => (await readdir(folder)).filter((name) => name.startsWith("started-")).length };
}
const answersAtOnce = `process.once("message", () => process.send({ header: { architecture: "llama" } }));`;
const hangs = `process.once("message", () => { for (;;); });`;

test("a valid header is read in a separate process", async () => {
  await writeTinyGguf(model);
  const header = await inspector()(model, never);
  expect(header).toMatchObject({ architecture: "llama", vocabularySize: 365, fileBytes: (await stat(model)).size });
  expect(header.metadata["llama.block_count"]).toBe(2);
  expect(header.tensors.embedding).toEqual({ name: "token_embd.weight", type: "F32", shape: [64, 365] });
});

describe("an unreadable file is an error with its name and the reason", () => {
  test.each<[string, (file: string) => Promise<void>, RegExp]>([
    ["missing", () => Promise.resolve(), /model\.gguf doesn't exist/],
    ["empty", (file) => writeTinyGguf(file, { corrupt: "empty" }), /is empty \(0 bytes\)/],
    ["truncated", (file) => writeTinyGguf(file, { corrupt: "truncated" }), /4096 of \d+ bytes are missing/],
    ["bit-flipped", (file) => writeTinyGguf(file, { corrupt: "bit-flipped" }), /the number of tensors is/],
    ["HTML", (file) => writeFile(file, "<!DOCTYPE html><p>Login"), /not a GGUF file but an HTML page/],
    ["LFS pointer", (file) => writeFile(file, "version https://git-lfs.github.com/spec/v1\n"), /Git LFS pointer/],
  ])("%s", async (_, write, message) => {
    await write(model);
    const outcome = inspector()(model, never);
    await expect(outcome).rejects.toThrow(message);
    await expect(outcome).rejects.toBeInstanceOf(LoadFailed);
  });

  test("a folder", async () => {
    await expect(inspector()(folder, never)).rejects.toThrow("is a folder");
  });

  test("a parser that crashes: the error has its signal", async () => {
    await writeTinyGguf(model);
    const child = await scriptedChild(`process.once("message", () => { console.error("boom"); process.abort(); });`);
    await expect(inspector({ childEntry: child.entry })(model, never)).rejects.toThrow(
      /the process that read its header ended \((SIGABRT|code \d+)\)/,
    );
  });

  test("a parser that hangs is killed after the limit", async () => {
    await writeTinyGguf(model);
    const child = await scriptedChild(hangs);
    await expect(inspector({ childEntry: child.entry, timeoutMs: 300 })(model, never)).rejects.toThrow(
      /could not be read within 0\.3 s/,
    );
  });

  test("a Node that can't be started", async () => {
    await writeTinyGguf(model);
    await expect(inspector({ nodeExecutable: join(folder, "no-node") })(model, never)).rejects.toThrow(
      /process that reads its header could not be started/,
    );
  });
});

test("calls for one file share a process, and the header is cached until the file changes", async () => {
  await writeTinyGguf(model);
  const child = await scriptedChild(answersAtOnce);
  const inspect = inspector({ childEntry: child.entry });
  await Promise.all([inspect(model, never), inspect(model, never), inspect(model, never)]);
  await inspect(model, never);
  expect(await child.starts()).toBe(1);
  await utimes(model, 1, 1);
  await inspect(model, never);
  expect(await child.starts()).toBe(2);
});

test("the least recently used header leaves the cache first", async () => {
  const files = ["a", "b", "c"].map((name) => join(folder, `${name}.gguf`));
  for (const file of files) await writeFile(file, "GGUF");
  const [a = "", b = "", c = ""] = files;
  const child = await scriptedChild(answersAtOnce);
  const inspect = inspector({ childEntry: child.entry, maxRememberedCharacters: 180 });
  for (const file of [a, b, a, c, a]) await inspect(file, never);
  expect(await child.starts()).toBe(3);
  await inspect(b, never);
  expect(await child.starts()).toBe(4);
});

test("a header with 189 MB of texts or 100,000 keys is read, and the result is small", async () => {
  const inspect = inspector({ timeoutMs: 30_000 });
  const text = "x".repeat(15 * 1024 ** 2);
  const metadata: MetadataEntry[] = [["general.architecture", "string", "llama"]];
  await writeGguf(model, {
    metadata: [
      ...metadata,
      ...Array.from({ length: 12 }, (_, index): MetadataEntry => [`text.${index}`, "string", text]),
    ],
    tensors: [],
  });
  expect((await stat(model)).size).toBeGreaterThan(188_000_000);
  expect(await inspect(model, never)).toMatchObject({ metadata: { "general.architecture": "llama" } });
  const many = join(folder, "many.gguf");
  await writeGguf(many, {
    metadata: [
      ...metadata,
      ...Array.from({ length: 100_000 }, (_, index): MetadataEntry => [`key.${index}`, "u32", 1]),
    ],
    tensors: [],
  });
  expect(JSON.stringify(await inspect(many, never)).length).toBeLessThan(1_000);
});

/** A file of 189 MB, nearly all of it empty texts in one list. */
async function writeTextList(file: string): Promise<void> {
  const [count, name] = [23_000_000, "tokenizer.ggml.tokens"];
  const header = Buffer.alloc(24 + 8 + name.length + 16);
  header.write("GGUF");
  header.writeUInt32LE(3, 4);
  header.writeUInt32LE(1, 16);
  header.writeUInt32LE(name.length, 24);
  header.write(name, 32);
  header.writeUInt32LE(9, 32 + name.length);
  header.writeUInt32LE(8, 36 + name.length);
  header.writeUInt32LE(count, 40 + name.length);
  await writeFile(file, header);
  await truncate(file, 189_000_000);
}

test("a header of 23 million texts is refused before they are read, and not read again", async () => {
  await writeTextList(model);
  const inspect = inspector({ timeoutMs: 30_000 });
  await expect(inspect(model, never)).rejects.toThrow("more than 4000000 texts");
  // A process takes longer to start. The best of a few tries, because other processes slow them down.
  const times: number[] = [];
  while (times.length < 5) {
    const start = performance.now();
    await expect(inspect(model, never)).rejects.toThrow("more than 4000000 texts");
    times.push(performance.now() - start);
  }
  expect(Math.min(...times)).toBeLessThan(20);
});

test("an aborted call is cancelled, and another call for the same file succeeds", async () => {
  await writeTinyGguf(model);
  const inspect = inspector();
  const leaving = new AbortController();
  const [left, stayed] = [inspect(model, leaving.signal), inspect(model, never)];
  leaving.abort();
  await expect(left).rejects.toBeInstanceOf(Cancelled);
  expect((await stayed).architecture).toBe("llama");
});

test("the process is killed when all callers have left, and the next call starts another", async () => {
  await writeTinyGguf(model);
  const child = await scriptedChild(hangs);
  const inspect = inspector({ childEntry: child.entry, timeoutMs: 20_000, maxProcesses: 1 });
  const leaving = new AbortController();
  const call = inspect(model, leaving.signal);
  await expect.poll(child.starts).toBe(1);
  const waiting = inspect(join(folder, "child.mjs"), leaving.signal);
  const pid = Number((await readdir(folder)).find((name) => name.startsWith("started-"))?.slice("started-".length));
  leaving.abort();
  await expect(call).rejects.toBeInstanceOf(Cancelled);
  await expect(waiting).rejects.toBeInstanceOf(Cancelled);
  await expect.poll(() => isAlive(pid)).toBe(false);
  await writeFile(child.entry, answersAtOnce);
  expect((await inspect(model, never)).architecture).toBe("llama");
});

test("an aborted signal starts no process", async () => {
  await writeTinyGguf(model);
  const child = await scriptedChild(answersAtOnce);
  await expect(inspector({ childEntry: child.entry })(model, AbortSignal.abort())).rejects.toBeInstanceOf(Cancelled);
  expect(await child.starts()).toBe(0);
});

test("no more processes than allowed run concurrently", async () => {
  // Each child process fails if another one is running.
  const child = await scriptedChild(
    `process.once("message", () => {
       const others = fs.readdirSync(${JSON.stringify(folder)}).filter((name) => name === "running");
       fs.writeFileSync(${JSON.stringify(join(folder, "running"))}, "");
       setTimeout(() => {
         fs.rmSync(${JSON.stringify(join(folder, "running"))});
         process.send(others.length === 0 ? { header: { architecture: "alone" } } : { damage: "it was not alone" });
       }, 20);
     });`,
  );
  const files = Array.from({ length: 4 }, (_, index) => join(folder, `${index}.gguf`));
  for (const file of files) await writeFile(file, "GGUF");
  const inspect = inspector({ childEntry: child.entry, maxProcesses: 1 });
  const headers = await Promise.all(files.map((file) => inspect(file, never)));
  expect(headers.map((header) => header.architecture)).toEqual(["alone", "alone", "alone", "alone"]);
});

test.skipIf(process.platform === "win32")(
  "only the header of a huge file is read (not on Windows, where a hole takes disk space)",
  async () => {
    await writeGguf(model, {
      metadata: [["general.architecture", "string", "llama"]],
      tensors: [{ name: "huge.weight", type: "F32", shape: [5 * 2 ** 20, 1024] }],
    });
    expect((await stat(model)).size).toBeGreaterThan(20 * 2 ** 30);
    const before = performance.now();
    expect((await inspector()(model, never)).weightsBytes).toBe(20 * 2 ** 30);
    expect(performance.now() - before).toBeLessThan(5_000); // reading 20 GiB takes longer on any disk
  },
);

test.skipIf(process.platform === "win32")(
  "a link is followed (creating one on Windows requires a privilege)",
  async () => {
    await writeTinyGguf(model);
    const link = join(folder, "link.gguf");
    await symlink(model, link);
    expect((await inspector()(link, never)).architecture).toBe("llama");
  },
);

test(
  "each of 40 flipped bits yields a header or LoadFailed, and the inspector continues",
  { timeout: 120_000 },
  async () => {
    const inspect = inspector({ maxProcesses: 4 });
    const random = seededRandom(7);
    await writeTinyGguf(model, { quantization: "Q4_0" });
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const file = join(folder, `${index}.gguf`);
        await copyFile(model, file);
        await flipBit(file, Math.floor(random() * 8 * 10_000)); // keys, vocabulary, tensor entries
        return inspect(file, never).then(
          () => "header",
          (error: unknown) => (error instanceof LoadFailed ? "LoadFailed" : String(error)),
        );
      }),
    );
    expect(new Set(outcomes)).toEqual(new Set(["header", "LoadFailed"]));
    await truncateBy(model, 1);
    await expect(inspect(model, never)).rejects.toThrow("1 of");
  },
);

/** Mulberry32: the same bits on every machine. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
