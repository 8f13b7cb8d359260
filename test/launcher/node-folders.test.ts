import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { nodeFolders } from "../../src/launcher/decide.ts";
import { isNewEnough, oldestNode } from "../../src/orchestrator/util/programs.ts";

const folders = (platform: NodeJS.Platform, listed: Record<string, readonly string[]>, environment = {}) =>
  nodeFolders({
    platform,
    userHome: platform === "win32" ? "C:\\Users\\me" : "/home/me",
    environment,
    list: (folder) => listed[folder] ?? [],
  });

describe("nodeFolders", () => {
  it("lists nvm's newest version first, compared as numbers", () => {
    const listed = { "/home/me/.nvm/versions/node": ["v9.1.0", "v22.3.0", "v22.11.0", "system"] };
    expect(folders("darwin", listed).slice(0, 3)).toEqual([
      "/home/me/.nvm/versions/node/v22.11.0/bin",
      "/home/me/.nvm/versions/node/v22.3.0/bin",
      "/home/me/.nvm/versions/node/v9.1.0/bin",
    ]);
  });

  it("uses the variables that move version managers", () => {
    expect(folders("linux", { "/opt/nvm/versions/node": ["v20.19.0"] }, { NVM_DIR: "/opt/nvm" })).toContain(
      "/opt/nvm/versions/node/v20.19.0/bin",
    );
    expect(folders("linux", { "/data/fnm/node-versions": ["v20.19.0"] }, { XDG_DATA_HOME: "/data" })).toContain(
      "/data/fnm/node-versions/v20.19.0/installation/bin",
    );
  });

  it("lists the folders of Windows", () => {
    const found = folders(
      "win32",
      { "C:\\Users\\me\\AppData\\Roaming\\nvm": ["v22.1.0"] },
      { NVM_SYMLINK: "C:\\nodejs" },
    );
    expect(found.slice(0, 2)).toEqual(["C:\\nodejs", "C:\\Users\\me\\AppData\\Roaming\\nvm\\v22.1.0"]);
    expect(found.some((folder) => folder.includes("/"))).toBe(false);
  });
});

describe("isNewEnough", () => {
  it.each([
    ["v20.19.0\n", true],
    ["20.19.4", true],
    ["v22.0.0", true],
    ["v20.18.3", false],
    ["v18.20.8", false],
    ["", false],
    ["bun 1.2", false],
  ])("%j: %s", (version, expected) => {
    expect(isNewEnough(version)).toBe(expected);
  });

  it("requires the version in package.json", async () => {
    const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
    expect((JSON.parse(text) as { engines: { node: string } }).engines.node).toBe(`>=${oldestNode}`);
  });
});
