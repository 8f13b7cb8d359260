import { mkdir, mkdtemp, readFile, readdir, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { createEmbeddedEngine } from "../../src/cli/setup/setup-guide.ts";
import { PullFailed } from "../../src/orchestrator/api/errors.ts";
import { advice } from "../../src/orchestrator/api/next-step.ts";
import { runSetup, writeIn, type SetupGiven } from "../support/run-setup.ts";

type EngineState = Awaited<ReturnType<ReturnType<typeof createEmbeddedEngine>["look"]>>;

let home: string;

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "ollm-setup-")));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

const write = (name: string, text: string) => writeIn(home, name, text);
const read = (name: string) => readFile(join(home, name), "utf8");
const run = (options: Parameters<typeof runSetup>[1], given: SetupGiven = {}) => runSetup(home, options, given);

describe("copies of the program that setup made", () => {
  /** Set-up run as npx would, by a program of that build; answers the names of the copies afterwards. */
  async function setUp(build: string): Promise<readonly string[]> {
    const cached = await write(`.npm/_npx/${build}/node_modules/ollm-mcp/dist/cli.mjs`, build);
    expect((await run({ yes: true, client: ["cursor"] }, { script: cached, build })).code).toBe(0);
    return (await readdir(join(home, ".ollm", "app"))).toSorted();
  }

  test("stay while a client that is open may run them, and go at the next upgrade", async () => {
    expect(await setUp("1.0.0+a")).toEqual(["1.0.0+a"]);
    expect(await setUp("1.1.0+b")).toEqual(["1.0.0+a", "1.1.0+b"]);
    expect(await setUp("1.2.0+c")).toEqual(["1.1.0+b", "1.2.0+c"]);
  });

  test("stay while any client's file names them, be it broken", async () => {
    await setUp("1.0.0+a");
    await write(".gemini/settings.json", `{"mcpServers": {"ollm": {"args": ["${home}/.ollm/app/1.0.0+a/cli.mjs"`);
    await setUp("1.1.0+b");
    expect(await setUp("1.2.0+c")).toEqual(["1.0.0+a", "1.1.0+b", "1.2.0+c"]);
  });
});

describe("the embedded engine in ollm setup", () => {
  const possible: EngineState = { kind: "possible", downloadBytes: 48_056_087, installedBytes: 36_941_473 };
  beforeEach(() => mkdir(join(home, ".cursor")));

  test.each(["", "n"])("a person is asked last, with its size, and %j installs nothing", async (answer) => {
    const { code, asked, installs } = await run({ guide: false }, { answers: ["", "y", answer], engine: possible });
    expect({ code, installs }).toEqual({ code: 0, installs: 0 });
    expect(asked.at(-1)).toContain("48.1 MB to download, 36.9 MB on disk");
  });

  test("a yes installs it; who is set up already isn't asked", async () => {
    const first = await run({ guide: false }, { answers: ["", "y", "y"], engine: possible });
    expect(first).toMatchObject({ code: 0, installs: 1 });
    expect(first.stdout).toContain("✓ Embedded engine: installed");
    expect(await run({}, { answers: [], engine: possible })).toMatchObject({ code: 0, asked: [], installs: 0 });
  });

  test("--yes alone never installs it, --engine does without asking", async () => {
    expect(await run({ yes: true }, { engine: possible })).toMatchObject({ code: 0, installs: 0 });
    expect(await run({ yes: true, engine: true }, { engine: possible })).toMatchObject({ code: 0, installs: 1 });
  });

  test("--engine installs it without any client; --print only shows its size", async () => {
    await rm(join(home, ".cursor"), { recursive: true });
    const printed = await run({ engine: true, print: true }, { engine: possible });
    expect(printed).toMatchObject({ code: 0, installs: 0 });
    expect(printed.stdout).toContain("would be installed (48.1 MB to download");
    expect(await run({ engine: true }, { engine: possible })).toMatchObject({ code: 1, installs: 1 });
  });

  describe("with a card", () => {
    const card = { name: "NVIDIA RTX 4090", backend: "cuda" } as const;

    test("asks about it once, with size and licence; a yes installs its binaries and keeps the choice", async () => {
      const asked = await run({ engine: true, guide: false }, { answers: ["", "y", "y"], engine: possible, card });
      expect(asked).toMatchObject({ code: 0, installed: ["cuda"], chosen: ["cuda"] });
      expect(asked.asked.filter((question) => question.includes("NVIDIA RTX 4090"))).toEqual([
        expect.stringMatching(/by CUDA \(48\.1 MB to download.*MIT licence.*NVIDIA's, and not part of it/),
      ]);
    });

    test("a no keeps the processor, so that it isn't asked again", async () => {
      const asked = await run({ engine: true, guide: false }, { answers: ["", "y", "n"], engine: possible, card });
      expect(asked).toMatchObject({ code: 0, installed: [undefined], chosen: ["cpu"] });
    });

    test("without a terminal it names the command", async () => {
      const asked = await run({ yes: true, engine: true }, { engine: possible, card });
      expect(asked).toMatchObject({ code: 0, installed: [undefined], chosen: [] });
      expect(asked.stdout).toContain("! NVIDIA RTX 4090 is not used; ollm setup --engine cuda installs what it needs");
    });

    test("a named backend is not asked about, and cpu goes back", async () => {
      expect(await run({ yes: true, engine: "vulkan" }, { engine: possible, card })).toMatchObject({
        code: 0,
        installed: ["vulkan"],
        chosen: ["vulkan"],
        stdout: expect.stringContaining("Vulkan: 48.1 MB to download"),
      });
      expect(await run({ yes: true, engine: "cpu" }, { card })).toMatchObject({ code: 0, chosen: ["cpu"] });
      await expect(run({ engine: "rocm" })).rejects.toThrow("--engine rocm is unknown");
    });

    test("a failed download leaves the choice as it was", async () => {
      const install = (): Promise<void> => Promise.reject(new PullFailed("no network", { next: { step: "retry" } }));
      const failed = await run({ yes: true, engine: "cuda" }, { engine: possible, card, install });
      expect(failed).toMatchObject({ code: 1, chosen: [] });
    });
  });

  test("a failure is reported with its next step, exits with 1 and leaves the clients set up", async () => {
    const install = (): Promise<void> =>
      Promise.reject(new PullFailed("no network", { next: advice("check the proxy") }));
    const { code, stderr } = await run({ yes: true, engine: true }, { engine: possible, install });
    expect(code).toBe(1);
    expect(stderr).toContain("✗ Embedded engine: no network\n  Check the proxy.");
    expect(await read(".cursor/mcp.json")).toContain("ollm");
  });

  test("where it can't run, --engine reports why and does not ask", async () => {
    const engine: EngineState = { kind: "impossible", reason: "it needs glibc" };
    const flagged = await run({ yes: true, engine: true }, { engine });
    expect(flagged).toMatchObject({ code: 1, stderr: "✗ Embedded engine: it needs glibc\n", installs: 0 });
    await rm(join(home, ".cursor", "mcp.json"));
    expect((await run({ guide: false }, { answers: ["", "y"], engine })).asked).toHaveLength(2);
  });

  test("--undo with --engine is refused", async () => {
    await expect(run({ undo: true, engine: true })).rejects.toThrow("--undo and --engine contradict each other");
  });
});

describe("what setup says at its end and of problems", () => {
  test("ends with a request that works: about a file that is there, without a folder about none", async () => {
    await mkdir(join(home, ".cursor"));
    await write("Documents/notes.txt", "");
    await mkdir(join(home, "empty"));
    const tried = async (options: Parameters<typeof runSetup>[1], given: SetupGiven = {}) =>
      /^(?:Try|Once you have a model, try): .*$/m.exec((await run({ yes: true, ...options }, given)).stdout)?.[0];
    expect(await tried({})).toBe('Try: "use a local model to draft a polite reply that declines a meeting".');
    expect(await tried({ root: ["~/empty"] }, { hasNoModel: true })).toBe(
      'Once you have a model, try: "use a local model to summarise FILE".',
    );
    expect(await tried({ root: ["~/Documents"] })).toBe('Try: "use a local model to summarise notes.txt".');
  });

  test("breaks no word at 60 columns, names the risk of a temporary folder, and what to do about a broken file", async () => {
    await mkdir(join(home, ".cursor"));
    await write(".gemini/settings.json", '{"mcpServers": {');
    await write("installed/dist/cli.mjs", "");
    const { stdout, stderr } = await run({ yes: true }, { columns: 60, temporaryFolders: [home] });
    const words = `${stdout}${stderr}`.split("\n").filter((line) => /^ *[✓✗!] /.test(line));
    expect(words).toContain("✓ Cursor: set up; starts in 12 ms and offers 2 tools");
    expect(stdout).toMatch(/because\s+this\s+one\s+is\s+in\s+a\s+temporary\s+folder/);
    expect(stdout).not.toContain("npx");
    expect(stdout).toMatch(/not\s+changed\n +Correct the file, then run setup again\.\n\n/);
    const told = stdout.split("\n").filter((line) => !/^[+-]|\//.test(line));
    expect(told.filter((line) => line.length > 60 || /^ +$/.test(line))).toEqual([]);
  });
});
