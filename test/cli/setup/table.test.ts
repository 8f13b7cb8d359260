import { describe, expect, test } from "vitest";
import { findTargets, clientTable, type Client, type ClientFacts } from "../../../src/cli/setup/clients.ts";
import { readEntry, addEntry } from "../../../src/cli/setup/document.ts";
import { entryName, readLaunch } from "../../../src/cli/setup/launch.ts";

const machines = {
  darwin: { platform: "darwin", userHome: "/Users/me", environment: { XDG_CONFIG_HOME: "/ignored/by/some" } },
  win32: {
    platform: "win32",
    userHome: "C:\\Users\\me",
    environment: { APPDATA: "C:\\Users\\me\\AppData\\Roaming", LOCALAPPDATA: "C:\\Users\\me\\AppData\\Local" },
  },
  linux: { platform: "linux", userHome: "/home/me", environment: {} },
} as const satisfies Record<string, ClientFacts>;

const files = {
  darwin: {
    "claude-desktop": ["/Users/me/Library/Application Support/Claude/claude_desktop_config.json"],
    "claude-code": ["/Users/me/.claude.json"],
    cursor: ["/Users/me/.cursor/mcp.json"],
    vscode: [
      "/Users/me/Library/Application Support/Code/User/mcp.json",
      "/Users/me/Library/Application Support/Code - Insiders/User/mcp.json",
    ],
    codex: ["/Users/me/.codex/config.toml"],
    zed: ["/Users/me/.config/zed/settings.json"],
    windsurf: ["/Users/me/.config/devin/mcp_config.json", "/Users/me/.codeium/windsurf/mcp_config.json"],
    "lm-studio": ["/Users/me/.lmstudio/mcp.json"],
    gemini: ["/Users/me/.gemini/settings.json"],
    opencode: ["/ignored/by/some/opencode/opencode.json", "/ignored/by/some/opencode/opencode.jsonc"],
    copilot: ["/Users/me/.copilot/mcp-config.json"],
    cline: [
      "/Users/me/.cline/data/settings/cline_mcp_settings.json",
      "/Users/me/Library/Application Support/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    ],
    qwen: ["/Users/me/.qwen/settings.json"],
    kiro: ["/Users/me/.kiro/settings/mcp.json"],
    goose: ["/ignored/by/some/goose/config.yaml"],
    junie: ["/Users/me/.junie/mcp/mcp.json"],
  },
  win32: {
    "claude-desktop": ["C:\\Users\\me\\AppData\\Roaming\\Claude\\claude_desktop_config.json"],
    "claude-code": ["C:\\Users\\me\\.claude.json"],
    cursor: ["C:\\Users\\me\\.cursor\\mcp.json"],
    vscode: [
      "C:\\Users\\me\\AppData\\Roaming\\Code\\User\\mcp.json",
      "C:\\Users\\me\\AppData\\Roaming\\Code - Insiders\\User\\mcp.json",
    ],
    codex: ["C:\\Users\\me\\.codex\\config.toml"],
    zed: ["C:\\Users\\me\\AppData\\Roaming\\Zed\\settings.json"],
    windsurf: [
      "C:\\Users\\me\\AppData\\Roaming\\devin\\mcp_config.json",
      "C:\\Users\\me\\.codeium\\windsurf\\mcp_config.json",
    ],
    "lm-studio": ["C:\\Users\\me\\.lmstudio\\mcp.json"],
    gemini: ["C:\\Users\\me\\.gemini\\settings.json"],
    opencode: ["C:\\Users\\me\\.config\\opencode\\opencode.json", "C:\\Users\\me\\.config\\opencode\\opencode.jsonc"],
    copilot: ["C:\\Users\\me\\.copilot\\mcp-config.json"],
    cline: [
      "C:\\Users\\me\\.cline\\data\\settings\\cline_mcp_settings.json",
      "C:\\Users\\me\\AppData\\Roaming\\Code\\User\\globalStorage\\saoudrizwan.claude-dev\\settings\\cline_mcp_settings.json",
    ],
    qwen: ["C:\\Users\\me\\.qwen\\settings.json"],
    kiro: ["C:\\Users\\me\\.kiro\\settings\\mcp.json"],
    goose: ["C:\\Users\\me\\AppData\\Roaming\\Block\\goose\\config\\config.yaml"],
    junie: ["C:\\Users\\me\\.junie\\mcp\\mcp.json"],
  },
  linux: {
    "claude-desktop": ["/home/me/.config/Claude/claude_desktop_config.json"],
    "claude-code": ["/home/me/.claude.json"],
    cursor: ["/home/me/.cursor/mcp.json"],
    vscode: ["/home/me/.config/Code/User/mcp.json", "/home/me/.config/Code - Insiders/User/mcp.json"],
    codex: ["/home/me/.codex/config.toml"],
    zed: ["/home/me/.config/zed/settings.json"],
    windsurf: ["/home/me/.config/devin/mcp_config.json", "/home/me/.codeium/windsurf/mcp_config.json"],
    "lm-studio": ["/home/me/.lmstudio/mcp.json"],
    gemini: ["/home/me/.gemini/settings.json"],
    opencode: ["/home/me/.config/opencode/opencode.json", "/home/me/.config/opencode/opencode.jsonc"],
    copilot: ["/home/me/.copilot/mcp-config.json"],
    cline: [
      "/home/me/.cline/data/settings/cline_mcp_settings.json",
      "/home/me/.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    ],
    qwen: ["/home/me/.qwen/settings.json"],
    kiro: ["/home/me/.kiro/settings/mcp.json"],
    goose: ["/home/me/.config/goose/config.yaml"],
    junie: ["/home/me/.junie/mcp/mcp.json"],
  },
} as const;

const platforms = ["darwin", "win32", "linux"] as const;
const ids = Object.keys(files.linux) as (keyof typeof files.linux)[];
const cases = platforms.flatMap((platform) => ids.map((id) => ({ platform, id })));

test("the table lists the clients of set-up and no others", () => {
  expect(clientTable(machines.linux).map(({ id }) => id)).toEqual(ids);
});

test.each(cases)("$id on $platform keeps its servers in the documented file", ({ platform, id }) => {
  const client = clientTable(machines[platform]).find((one) => one.id === id);
  expect(client?.locations.map(({ file }) => file)).toEqual(files[platform][id]);
});

/** Where the guide goes; without the clients that keep the text themselves. */
const guides = {
  darwin: {
    "claude-code": ["/Users/me/.claude/skills/ollm/SKILL.md"],
    cursor: ["/Users/me/.cursor/skills/ollm/SKILL.md"],
    vscode: ["/Users/me/.copilot/instructions/ollm.instructions.md"],
    codex: ["/Users/me/.codex/AGENTS.md"],
    zed: ["/Users/me/.config/zed/AGENTS.md"],
    windsurf: ["/Users/me/.config/devin/AGENTS.md", "/Users/me/.codeium/windsurf/memories/global_rules.md"],
    gemini: ["/Users/me/.gemini/GEMINI.md"],
    opencode: ["/ignored/by/some/opencode/AGENTS.md"],
    copilot: ["/Users/me/.copilot/copilot-instructions.md"],
    cline: ["/Users/me/.cline/rules/ollm.md"],
    qwen: ["/Users/me/.qwen/QWEN.md"],
    kiro: ["/Users/me/.kiro/steering/ollm.md"],
    goose: ["/ignored/by/some/goose/.goosehints"],
    junie: ["/Users/me/.junie/AGENTS.md"],
  },
  win32: {
    "claude-code": ["C:\\Users\\me\\.claude\\skills\\ollm\\SKILL.md"],
    cursor: ["C:\\Users\\me\\.cursor\\skills\\ollm\\SKILL.md"],
    vscode: ["C:\\Users\\me\\.copilot\\instructions\\ollm.instructions.md"],
    codex: ["C:\\Users\\me\\.codex\\AGENTS.md"],
    zed: ["C:\\Users\\me\\AppData\\Roaming\\Zed\\AGENTS.md"],
    windsurf: [
      "C:\\Users\\me\\AppData\\Roaming\\devin\\AGENTS.md",
      "C:\\Users\\me\\.codeium\\windsurf\\memories\\global_rules.md",
    ],
    gemini: ["C:\\Users\\me\\.gemini\\GEMINI.md"],
    opencode: ["C:\\Users\\me\\.config\\opencode\\AGENTS.md"],
    copilot: ["C:\\Users\\me\\.copilot\\copilot-instructions.md"],
    cline: ["C:\\Users\\me\\.cline\\rules\\ollm.md"],
    qwen: ["C:\\Users\\me\\.qwen\\QWEN.md"],
    kiro: ["C:\\Users\\me\\.kiro\\steering\\ollm.md"],
    goose: ["C:\\Users\\me\\AppData\\Roaming\\Block\\goose\\config\\.goosehints"],
    junie: ["C:\\Users\\me\\.junie\\AGENTS.md"],
  },
  linux: {
    "claude-code": ["/home/me/.claude/skills/ollm/SKILL.md"],
    cursor: ["/home/me/.cursor/skills/ollm/SKILL.md"],
    vscode: ["/home/me/.copilot/instructions/ollm.instructions.md"],
    codex: ["/home/me/.codex/AGENTS.md"],
    zed: ["/home/me/.config/zed/AGENTS.md"],
    windsurf: ["/home/me/.config/devin/AGENTS.md", "/home/me/.codeium/windsurf/memories/global_rules.md"],
    gemini: ["/home/me/.gemini/GEMINI.md"],
    opencode: ["/home/me/.config/opencode/AGENTS.md"],
    copilot: ["/home/me/.copilot/copilot-instructions.md"],
    cline: ["/home/me/.cline/rules/ollm.md"],
    qwen: ["/home/me/.qwen/QWEN.md"],
    kiro: ["/home/me/.kiro/steering/ollm.md"],
    goose: ["/home/me/.config/goose/.goosehints"],
    junie: ["/home/me/.junie/AGENTS.md"],
  },
};

const guideFilesOf = ({ locations }: Client): readonly string[] => [
  ...new Set(locations.flatMap(({ guide }) => (guide.kind === "paste" ? [] : [guide.file]))),
];

test.each(platforms)("the guide goes to the documented file of each client on %s", (platform) => {
  const found = clientTable(machines[platform]).map((client) => [client.id, guideFilesOf(client)] as const);
  expect(Object.fromEntries(found.filter(([, names]) => names.length > 0))).toEqual(guides[platform]);
});

test.each(cases)("$id on $platform is found by a sign of it, and not without", ({ platform, id }) => {
  const facts = machines[platform];
  const client = clientTable(facts).find((one) => one.id === id);
  for (const { file, signs } of client?.locations ?? []) {
    for (const sign of signs) {
      const found = findTargets(facts, [], (path) => path === sign).filter((target) => target.client.id === id);
      expect(found.map((target) => target.file)).toEqual([file]);
    }
  }
  expect(findTargets(facts, [], () => false)).toEqual([]);
  // Named outright it is set up all the same, in the file of a new installation.
  expect(findTargets(facts, [id], () => false)).toMatchObject([{ file: files[platform][id][0], isFound: false }]);
});

const launch = { command: "/usr/bin/node", args: ["/o/cli.mjs"], env: { OLLM_HOME: "/data" } };
const plain = { command: "/usr/bin/node", args: ["/o/cli.mjs"], env: { OLLM_HOME: "/data" } };

test.each([
  ["claude-desktop", "mcpServers", plain],
  ["claude-code", "mcpServers", { type: "stdio", ...plain }],
  ["cursor", "mcpServers", plain],
  ["vscode", "servers", { type: "stdio", ...plain }],
  ["codex", "mcp_servers", { ...plain, startup_timeout_sec: 30, tool_timeout_sec: 600 }],
  ["zed", "context_servers", plain],
  ["windsurf", "mcpServers", plain],
  ["lm-studio", "mcpServers", plain],
  ["gemini", "mcpServers", plain],
  [
    "opencode",
    "mcp",
    {
      type: "local",
      command: ["/usr/bin/node", "/o/cli.mjs"],
      enabled: true,
      timeout: 60_000,
      environment: { OLLM_HOME: "/data" },
    },
  ],
  ["copilot", "mcpServers", { type: "local", ...plain, tools: ["*"] }],
  ["cline", "mcpServers", plain],
  ["qwen", "mcpServers", plain],
  ["kiro", "mcpServers", plain],
  [
    "goose",
    "extensions",
    {
      type: "stdio",
      name: "ollm",
      enabled: true,
      cmd: "/usr/bin/node",
      args: ["/o/cli.mjs"],
      envs: { OLLM_HOME: "/data" },
      timeout: 600,
    },
  ],
  ["junie", "mcpServers", plain],
])("%s reads %s with an entry of its own shape", (id, container, entry) => {
  const client = clientTable(machines.linux).find((one) => one.id === id);
  if (client === undefined) throw new Error(id);
  expect(client.container).toBe(container);
  expect(client.entry(launch)).toEqual(entry);
  for (const key of ["env", "environment", "envs"])
    expect(client.entry({ command: "n", args: [] })).not.toHaveProperty(key);
  expect(readLaunch(client.entry(launch))).toEqual(launch);
  const location = { format: client.format, container, name: entryName };
  expect(readEntry(addEntry("", location, client.entry(launch)), location)).toEqual(entry);
});

describe("where a machine differs", () => {
  const fileOf = (facts: ClientFacts, id: string) =>
    clientTable(facts).find((client) => client.id === id)?.locations[0]?.file;

  test("variables of the clients move their files", () => {
    const environment = {
      CODEX_HOME: "/c",
      CLAUDE_CONFIG_DIR: "/d",
      XDG_CONFIG_HOME: "/x",
      COPILOT_HOME: "/p",
      CLINE_DATA_DIR: "/l",
    };
    const facts = { ...machines.linux, environment };
    const moved = clientTable(facts).flatMap(guideFilesOf);
    expect(moved).toEqual(
      expect.arrayContaining(["/c/AGENTS.md", "/d/skills/ollm/SKILL.md", "/x/zed/AGENTS.md", "/x/devin/AGENTS.md"]),
    );
    expect(fileOf(facts, "codex")).toBe("/c/config.toml");
    expect(fileOf(facts, "claude-code")).toBe("/d/.claude.json");
    expect(fileOf(facts, "claude-desktop")).toBe("/x/Claude/claude_desktop_config.json");
    expect(fileOf(facts, "vscode")).toBe("/x/Code/User/mcp.json");
    expect(fileOf(facts, "zed")).toBe("/x/zed/settings.json");
    expect(fileOf(facts, "opencode")).toBe("/x/opencode/opencode.json");
    expect(fileOf(facts, "goose")).toBe("/x/goose/config.yaml");
    expect(fileOf(facts, "copilot")).toBe("/p/mcp-config.json");
    expect(fileOf(facts, "cline")).toBe("/l/settings/cline_mcp_settings.json");
  });

  test("opencode's file with comments is preferred where it is", () => {
    const folder = "/home/me/.config/opencode";
    const found = findTargets(machines.linux, [], (path) => [folder, `${folder}/opencode.jsonc`].includes(path));
    expect(found.map(({ file }) => file)).toEqual([`${folder}/opencode.jsonc`]);
  });

  test("the folder of VS Code's guide is no sign of Copilot CLI", () => {
    expect(findTargets(machines.linux, [], (path) => path === "/home/me/.copilot")).toEqual([]);
  });

  test("an empty variable is none", () => {
    expect(fileOf({ ...machines.linux, environment: { CODEX_HOME: "" } }, "codex")).toBe(files.linux.codex[0]);
  });

  test("a moved LM Studio is followed", () => {
    expect(fileOf({ ...machines.linux, lmStudioHome: "/home/me/.cache/lm-studio" }, "lm-studio")).toBe(
      "/home/me/.cache/lm-studio/mcp.json",
    );
  });

  test("Claude Desktop as a Windows package reads a file inside the package; both are set up where both are", () => {
    const facts = { ...machines.win32, claudePackages: ["Claude_pzs8sxrjxfjjc"] };
    const inside =
      "C:\\Users\\me\\AppData\\Local\\Packages\\Claude_pzs8sxrjxfjjc\\LocalCache\\Roaming\\Claude\\claude_desktop_config.json";
    expect(fileOf(facts, "claude-desktop")).toBe(inside);
    const all = findTargets(facts, ["claude-desktop"], () => true).map(({ file }) => file);
    expect(all).toEqual([inside, files.win32["claude-desktop"][0]]);
  });

  test("Windows without its variables falls back to the profile's folders", () => {
    expect(fileOf({ ...machines.win32, environment: {} }, "claude-desktop")).toBe(files.win32["claude-desktop"][0]);
  });
});

test("an unknown client is refused with the nearest name", () => {
  expect(() => findTargets(machines.linux, ["claud-desktop"])).toThrow(
    expect.objectContaining({
      next: [
        { step: "didYouMean", names: ["claude-desktop"] },
        { step: "chooseOneOf", names: expect.arrayContaining(["claude-desktop", "gemini"]) },
      ],
    }),
  );
  expect(() => findTargets(machines.linux, ["xyz"])).toThrow(
    expect.objectContaining({
      next: [{ step: "chooseOneOf", names: expect.arrayContaining(["claude-desktop", "gemini"]) }],
    }),
  );
});
