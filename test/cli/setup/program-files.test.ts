import { mkdir, mkdtemp, readFile, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { copyProgram, howToCall, lastingNode, lastingScript } from "../../../src/cli/setup/program-files.ts";

describe("a script that is gone tomorrow", () => {
  test.each([
    ["/home/me/.npm/_npx/1f2e/node_modules/ollm-mcp/dist/cli.mjs", "the cache of npx or a similar tool"],
    [
      "C:\\Users\\me\\AppData\\Local\\npm-cache\\_npx\\1f\\node_modules\\ollm-mcp\\dist\\cli.mjs",
      "the cache of npx or a similar tool",
    ],
    ["/home/me/.cache/pnpm/dlx-123/node_modules/ollm-mcp/dist/cli.mjs", "the cache of npx or a similar tool"],
    ["/home/me/.cache/pnpm/dlx/1f/node_modules/ollm-mcp/dist/cli.mjs", "the cache of npx or a similar tool"],
    ["/var/bunx-501-ollm-mcp/node_modules/ollm-mcp/dist/cli.mjs", "the cache of npx or a similar tool"],
    ["/tmp/x/dist/cli.mjs", "a temporary folder"],
    ["/tmpfiles/dist/cli.mjs", undefined],
    ["/usr/local/lib/node_modules/ollm-mcp/dist/cli.mjs", undefined],
    ["/home/me/.nvm/versions/node/v22.1.0/lib/node_modules/ollm-mcp/dist/cli.mjs", undefined],
    ["/home/me/src/ollm-mcp/dist/cli.mjs", undefined],
  ])("%s: in %s", (script, expected) => {
    const from = { script, home: "/home/me/.ollm", build: "1.0.0+abc", temporaryFolders: ["/tmp"] };
    expect(lastingScript(from).risk).toBe(expected);
  });
});

test.each([
  ["/home/me/.npm/_npx/1f2e/node_modules/ollm-mcp/dist/cli.mjs", "npx -y ollm-mcp"],
  ["/usr/local/lib/node_modules/ollm-mcp/dist/cli.mjs", "ollm"],
  ["C:\\Users\\me\\AppData\\Roaming\\npm\\node_modules\\ollm-mcp\\dist\\cli.mjs", "ollm"],
  ["/home/me/my src/ollm-mcp/dist/cli.mjs", 'node "/home/me/my src/ollm-mcp/dist/cli.mjs"'],
  ["/tmp/x/dist/cli.mjs", "node /tmp/x/dist/cli.mjs"],
])("messages of %s tell to call %s", (script, call) => {
  expect(howToCall(script)).toBe(call);
});

describe("the script for clients", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-program-")));
    await mkdir(join(folder, "cache", "_npx", "dist", "chunks"), { recursive: true });
    await writeFile(join(folder, "cache", "_npx", "dist", "cli.mjs"), "cli");
    await writeFile(join(folder, "cache", "_npx", "dist", "chunks", "a.mjs"), "chunk");
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });
  const choose = (script: string) =>
    lastingScript({ script, home: join(folder, "home"), build: "1.0.0+abc", temporaryFolders: [] });

  test("is where it is installed", () => {
    const script = join(folder, "dist", "cli.mjs");
    expect(choose(script)).toEqual({ script });
  });

  test("is a copy in the home when it runs from a cache, whole and made once", async () => {
    const from = join(folder, "cache", "_npx", "dist");
    const script = join(folder, "home", "app", "1.0.0+abc", "cli.mjs");
    expect(choose(join(from, "cli.mjs"))).toMatchObject({ script, copyFrom: from });
    copyProgram(from, script);
    expect(await readFile(join(folder, "home", "app", "1.0.0+abc", "chunks", "a.mjs"), "utf8")).toBe("chunk");
    expect(choose(join(from, "cli.mjs"))).not.toHaveProperty("copyFrom");
    // A second process that copies at the same time keeps the first one's.
    copyProgram(from, script);
    expect(await readdir(join(folder, "home", "app"))).toEqual(["1.0.0+abc"]);
  });

  test("stays the copy when set-up runs from it, wherever the home is", async () => {
    const script = join(folder, "home", "app", "1.0.0+abc", "cli.mjs");
    copyProgram(join(folder, "cache", "_npx", "dist"), script);
    const { home, build } = { home: join(folder, "home"), build: "1.0.0+other" };
    expect(lastingScript({ script, home, build, temporaryFolders: [folder] })).toEqual({ script });
  });
});

describe("the Node for clients", () => {
  const links = new Map([
    ["/opt/homebrew/Cellar/node/22.1.0/bin/node", "/opt/homebrew/Cellar/node/22.1.0/bin/node"],
    ["/opt/homebrew/opt/node/bin/node", "/opt/homebrew/Cellar/node/22.1.0/bin/node"],
    ["/opt/homebrew/Cellar/node@20/20.1.0/bin/node", "/opt/homebrew/Cellar/node@20/20.1.0/bin/node"],
    ["/opt/homebrew/opt/node@20/bin/node", "/opt/homebrew/Cellar/node@20/20.1.0/bin/node"],
    ["/snap/node/7/bin/node", "/snap/node/7/bin/node"],
    ["/snap/node/current/bin/node", "/snap/node/7/bin/node"],
    ["/run/user/1/fnm_multishells/3_4/bin/node", "/home/me/.fnm/v20/bin/node"],
    ["/usr/bin/node", "/usr/bin/node"],
    ["/home/me/.nvm/versions/node/v20/bin/node", "/home/me/.nvm/versions/node/v20/bin/node"],
  ]);
  const choose = (node: string, path = "/usr/bin") =>
    lastingNode({ node, platform: "linux", environment: { PATH: path } }, (file) => links.get(file));

  test.each([
    ["/usr/bin/node", "/usr/bin/node"],
    ["/home/me/.nvm/versions/node/v20/bin/node", "/home/me/.nvm/versions/node/v20/bin/node"],
    ["/opt/homebrew/Cellar/node/22.1.0/bin/node", "/opt/homebrew/opt/node/bin/node"],
    ["/opt/homebrew/Cellar/node@20/20.1.0/bin/node", "/opt/homebrew/opt/node@20/bin/node"],
    ["/snap/node/7/bin/node", "/snap/node/current/bin/node"],
    ["/run/user/1/fnm_multishells/3_4/bin/node", "/home/me/.fnm/v20/bin/node"],
    ["/Applications/Claude.app/Contents/Frameworks/Claude Helper", "/usr/bin/node"],
  ])("%s becomes %s", (node, expected) => {
    expect(choose(node)).toBe(expected);
  });

  test("reports that no Node was found", () => {
    expect(() =>
      lastingNode({ node: "/opt/Electron", platform: "linux", environment: { PATH: "/nowhere" } }, () => undefined),
    ).toThrow("/opt/Electron is not a Node that clients can start");
  });
});
