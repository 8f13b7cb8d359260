import { link, mkdir, readFile, readdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { createWorkspace } from "../../../src/server/files/workspace.ts";
import { escapes, obeyed, waysOut } from "../../support/worker-escapes.ts";
import { copyOf, hasSandbox, temporaryFolder, workId } from "../../support/work-copy.ts";

const never = new AbortController().signal;
const refusal = (asked: Promise<unknown>) =>
  asked.then(
    () => undefined,
    (error: unknown) => error as InvalidRequest,
  );

describe("a worker's file", () => {
  it.each(waysOut)("is not reached by %s", async (_what, name, words) => {
    const { copy, folder } = await copyOf({ "src/a.ts": "1\n" });
    await writeFile(join(folder, "secret.txt"), "secret");
    for (const asked of [copy.read(name), copy.write(name, "x"), copy.edit(name, "1", "2"), copy.text(name)]) {
      const error = await refusal(asked);
      expect(error).toBeInstanceOf(InvalidRequest);
      expect(error?.message).toMatch(words);
    }
    expect(await copy.keep(never)).toEqual([]);
  });

  it.each(obeyed)("is not %s, which other programs obey", async (name) => {
    const { copy } = await copyOf({ [name]: "1\n" });
    expect((await refusal(copy.write(name, "x")))?.message).toContain("obeyed by other programs");
    expect((await refusal(copy.edit(name, "1", "2")))?.message).toContain("obeyed by other programs");
    expect(await copy.read(name)).toBe("1\n");
  });

  it.each([
    ["the file of the command", "check.mjs"],
    ["a file that a shell's command names", "verify.sh"],
    ["what says how tests run", "package.json"],
    ["a new setting of tests", "vitest.config.ts"],
    ["a test that there is", "test/a.test.ts"],
  ])("is not %s", async (_what, name) => {
    const files = { "check.mjs": "1", "verify.sh": "1", "package.json": "1", "test/a.test.ts": "1" };
    const { copy } = await copyOf(files, ["sh", "-c", "node ./check.mjs && sh verify.sh"]);
    expect((await refusal(copy.write(name, "2")))?.message).toContain("belongs to the check");
    expect(await copy.write("test/b.test.ts", "new")).toBe(3);
  });
});

describe("a copy", () => {
  it("has no links, pipes, secrets or git data of the tree, and not the file behind a hard link", async () => {
    const outside = await temporaryFolder();
    await writeFile(join(outside, "secret.txt"), "secret");
    const more = ["out", "folder/secret.txt", "pipe", ".git/config", "server.key", ".env"];
    const { base, copy: first, home } = await copyOf({ "a.ts": "1\n", "server.key": "k", ".env": "TOKEN=1" });
    await first.remove();
    await symlink(join(outside, "secret.txt"), join(base, "out"));
    await symlink(outside, join(base, "folder"));
    await mkdir(join(base, ".git"));
    await writeFile(join(base, ".git/config"), "");
    await link(join(outside, "secret.txt"), join(base, "hard.txt"));
    if (process.platform !== "win32") execFileSync("mkfifo", [join(base, "pipe")]);
    const git = { environment: {}, homeDirectory: outside, signal: never };
    const copy = await createWorkspace({ home, id: workId, base, names: ["a.ts", "hard.txt", ...more], git });
    expect(await copy.list()).toEqual(["a.ts", "hard.txt"]);
    expect(copy.notes.join()).toMatch(/\.git\/config.*server\.key.*\.env|server\.key/);
    await copy.write("hard.txt", "mine");
    expect(await readFile(join(outside, "secret.txt"), "utf8")).toBe("secret");
  });

  it("refuses too much", async () => {
    const { home, base } = await copyOf({});
    const names = Array.from({ length: 5_001 }, (_, at) => `${at}.txt`);
    const git = { environment: {}, homeDirectory: home, signal: never };
    const made = createWorkspace({ home, id: "delegate-11111111", base, names, git });
    expect((await refusal(made))?.message).toBe("5001 files would be copied; at most 5000 are");
    expect(await readdir(join(home, "work"))).toEqual(["delegate-0123abcd"]);
  });
});

// Bubblewrap is not installed everywhere: OLLM_TEST_SANDBOX names a folder that has it.
describe.skipIf(!hasSandbox)("a command of a verifier", () => {
  it.each(escapes)("can't %s", async (_what, script) => {
    const server = createServer((_request, response) => response.end("ok"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    process.env["OLLM_TEST_SECRET"] = "OLLM_TEST_SECRET";
    onTestFinished(() => void delete process.env["OLLM_TEST_SECRET"]);
    const { port } = server.address() as AddressInfo;
    const command = ["sh", "-c", ""];
    const { copy, folder, base } = await copyOf({ "a.txt": "1\n" }, command);
    await writeFile(join(folder, "secret.txt"), "secret");
    command[2] = script({ folder, port });
    expect(await copy.run(never)).toMatchObject({ passed: false });
    expect(await readFile(join(base, "a.txt"), "utf8")).toBe("1\n");
  });

  it("sees the copy, and leaves nothing in it", async () => {
    const script = "cat a.txt b.txt && echo 3 > a.txt && ln -s / link && mkdir -p .git/hooks && pwd";
    const { copy, home } = await copyOf({ "a.txt": "1\n" }, ["sh", "-c", script]);
    await copy.write("b.txt", "2\n");
    expect(await copy.run(never)).toEqual({
      passed: true,
      how: "exit code 0",
      output: "1\n2\n/work",
    });
    expect(await copy.text("a.txt")).toBe("1\n");
    expect((await readdir(join(home, "work", copy.id))).toSorted()).toEqual(["b"]);
  });

  it("reads what a package manager installed, and can't change it", async () => {
    const script = "node -p 'require(\"x\")' && ! echo 8 > node_modules/x/index.js";
    const { copy, base } = await copyOf({ "a.txt": "1\n" }, ["sh", "-c", script]);
    await mkdir(join(base, "node_modules/x"), { recursive: true });
    await writeFile(join(base, "node_modules/x/index.js"), "module.exports = 7;");
    const found = await copy.run(never);
    expect([found.passed, found.output.split("\n")[0]]).toEqual([true, "7"]);
  });

  it("ends with its time, and with the call", async () => {
    const late = (await copyOf({ "a.txt": "1\n" }, ["sleep", "60"], 1)).copy;
    expect(await late.run(never)).toMatchObject({ passed: false, how: "it did not end within 1 s" });
    const { copy } = await copyOf({ "a.txt": "1\n" }, ["sleep", "60"]);
    await expect(copy.run(AbortSignal.timeout(200))).rejects.toThrow("the check was cancelled");
  });
});
