import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { findTargets, clientTable, type Client, type ClientFacts } from "../../../src/cli/setup/clients.ts";
import { readEntry, addEntry } from "../../../src/cli/setup/document.ts";
import { entryName } from "../../../src/cli/setup/launch.ts";

const machines = {
  darwin: { platform: "darwin", userHome: "/Users/me", environment: { XDG_CONFIG_HOME: "/ignored/on/macos" } },
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
  },
  linux: {
    "claude-code": ["/home/me/.claude/skills/ollm/SKILL.md"],
    cursor: ["/home/me/.cursor/skills/ollm/SKILL.md"],
    vscode: ["/home/me/.copilot/instructions/ollm.instructions.md"],
    codex: ["/home/me/.codex/AGENTS.md"],
    zed: ["/home/me/.config/zed/AGENTS.md"],
    windsurf: ["/home/me/.config/devin/AGENTS.md", "/home/me/.codeium/windsurf/memories/global_rules.md"],
    gemini: ["/home/me/.gemini/GEMINI.md"],
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
])("%s reads %s with an entry of its own shape", (id, container, entry) => {
  const client = clientTable(machines.linux).find((one) => one.id === id);
  if (client === undefined) throw new Error(id);
  expect(client.container).toBe(container);
  expect(client.entry(launch)).toEqual(entry);
  expect(client.entry({ command: "n", args: [] })).not.toHaveProperty("env");
  const location = { format: client.format, container, name: entryName };
  expect(readEntry(addEntry("", location, client.entry(launch)), location)).toEqual(entry);
});

describe("where a machine differs", () => {
  const fileOf = (facts: ClientFacts, id: string) =>
    clientTable(facts).find((client) => client.id === id)?.locations[0]?.file;

  test("variables of the clients move their files", () => {
    const environment = { CODEX_HOME: "/c", CLAUDE_CONFIG_DIR: "/d", XDG_CONFIG_HOME: "/x" };
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

describe("docs/clients.md", () => {
  const page = readFileSync(new URL("../../../docs/clients.md", import.meta.url), "utf8");
  const withNames = [
    clientTable({ platform: "darwin", userHome: "~", environment: {} }),
    clientTable({
      platform: "win32",
      userHome: "%USERPROFILE%",
      environment: { APPDATA: "%APPDATA%", LOCALAPPDATA: "%LOCALAPPDATA%" },
      claudePackages: ["Claude_*"],
    }),
    clientTable({ platform: "linux", userHome: "~", environment: {} }),
  ];
  const rows = page.split("\n").map((line) => line.replaceAll(/ +/g, " "));

  test.each(ids)("has the files and the source of %s", (id) => {
    const index = ids.indexOf(id);
    const client = clientTable(machines.linux)[index];
    if (client === undefined) throw new Error(id);
    const cells = withNames.map((clients) => clients[index]?.locations.map(({ file }) => `\`${file}\``).join(" or "));
    expect(rows).toContain(
      `| ${client.name} (\`${client.id}\`) | ${cells.join(" | ")} | \`${client.container}\`, ${client.format} |`,
    );
    expect(page).toContain(`- ${client.name}: https://`);
  });

  test.each(ids)("says where the guide of %s goes", (id) => {
    const index = ids.indexOf(id);
    const client = clientTable(machines.linux)[index];
    const guide = client?.locations[0]?.guide;
    const written = withNames.map((clients) =>
      clients
        .slice(index, index + 1)
        .flatMap(guideFilesOf)
        .map((file) =>
          file.startsWith("%USERPROFILE%") ? file.replace("%USERPROFILE%", "~").replaceAll("\\", "/") : file,
        )
        .map((file) => `\`${file}\``)
        .join(" or "),
    );
    const place =
      guide?.kind === "paste"
        ? `paste into | ${guide.where}`
        : `${guide?.kind} | ${[...new Set(written)].join("; Windows: ")}`;
    const found = rows.find((row) => row.startsWith(`| ${client?.name} | ${place} | `));
    // Ends with its source, and when that was read.
    expect(found).toMatch(/ \| https:\/\/[^|]+\([^|]*20\d\d[^|]*\) \|$/);
  });
});
