import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createKnownRoots } from "../../src/server/call/caller.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";

describe("the roots of a client", () => {
  it("are asked for once, and again after they changed", async () => {
    const roots = createKnownRoots(
      () => undefined,
      () => 0,
    );
    let asked = 0;
    const ask = () => Promise.resolve([`file:///${(asked += 1)}`]);
    const [first, second] = await Promise.all([roots.get(ask), roots.get(ask)]);
    expect(first).toBe(second);
    expect(asked).toBe(1);
    roots.forget();
    expect(await roots.get(ask)).toEqual(["file:///2"]);
  });

  it("are none of a client that can't tell, which is asked again a minute later", async () => {
    const failures: string[] = [];
    let now = 0;
    const roots = createKnownRoots(
      (message) => failures.push(message),
      () => now,
    );
    expect(await roots.get(() => Promise.reject(new Error("timed out")))).toEqual([]);
    expect(failures).toEqual(["roots/list: timed out"]);
    now = 59_999;
    expect(await roots.get(() => Promise.resolve(["file:///a"]))).toEqual([]);
    now = 60_000;
    expect(await roots.get(() => Promise.resolve(["file:///a"]))).toEqual(["file:///a"]);
  });
});

describe("a client that answers roots/list with", () => {
  let folder: string;
  let connection: MemoryClient | undefined;
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-known-roots-")));
    await writeFile(path.join(folder, "a.txt"), "Green.");
  });
  afterEach(async () => {
    await connection?.close();
    await rm(folder, { recursive: true });
  });

  it.each<[string, () => unknown]>([
    ["an error", () => Promise.reject(new Error("not today"))],
    ["nothing, ever", () => new Promise(() => undefined)],
    ["null", () => null],
    ["a text", () => "roots"],
    ["no list", () => ({})],
    ["a list of numbers", () => ({ roots: [1, 2] })],
    ["roots without a uri", () => ({ roots: [{ name: "x" }] })],
    ["what is no file", () => ({ roots: [{ uri: "file:" }, { uri: "http://a/b" }, { uri: "nonsense" }] })],
    ["a path with a NUL", () => ({ roots: [{ uri: "file:///a%00b" }] })],
    ["half an escape", () => ({ roots: [{ uri: "file:///%E0%A4%A" }] })],
    ["very many", () => ({ roots: Array.from({ length: 50_000 }, (_each, index) => ({ uri: `file:///r${index}` })) })],
  ])("%s: calls that a --root serves succeed, and wait once", async (_what, answerRoots) => {
    const orchestrator = createFakeOrchestrator();
    let asked = 0;
    const count = () => {
      asked += 1;
      return answerRoots();
    };
    connection = await connectMemoryClient(orchestrator, { fileRoots: [folder], answerRoots: count });
    for (let calls = 0; calls < 3; calls += 1) {
      const answer = await connection.call("route_and_generate", { prompt: "Hi", files: ["a.txt"] });
      expect(answer.isError, JSON.stringify(answer.content)).not.toBe(true);
    }
    expect(asked).toBe(1);
  });
});
