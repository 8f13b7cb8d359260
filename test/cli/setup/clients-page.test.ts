import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Client, type ClientFacts, clientTable } from "../../../src/cli/setup/clients.ts";

/** Where the files are documented, and where the guide's place is, with the month in which that was read. */
const sources: Readonly<Record<string, { readonly files: string; readonly guide: string }>> = {
  "claude-desktop": {
    files:
      "https://modelcontextprotocol.io/quickstart/user; packaged on Windows: https://github.com/anthropics/claude-code/issues/26073",
    guide: "https://support.claude.com/en/articles/10185728 (2026-11)",
  },
  "claude-code": {
    files:
      "https://code.claude.com/docs/en/mcp (user scope); https://github.com/anthropics/claude-code/issues/4193, /48448",
    guide: "https://code.claude.com/docs/en/skills (personal skills, 2026-11)",
  },
  cursor: {
    files: "https://cursor.com/docs/mcp",
    guide: "https://cursor.com/docs/context/skills (2026-11; Cursor 2.4 and later)",
  },
  vscode: {
    files: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
    guide: "https://code.visualstudio.com/docs/agent-customization/custom-instructions (2026-07)",
  },
  codex: {
    files: "https://developers.openai.com/codex/mcp, https://developers.openai.com/codex/config-reference",
    guide: "https://developers.openai.com/codex/guides/agents-md (2026-11)",
  },
  zed: {
    files: "https://zed.dev/docs/ai/mcp, https://zed.dev/docs/configuring-zed",
    guide: "https://zed.dev/docs/ai/instructions (2026-11; Zed since May 2026)",
  },
  windsurf: {
    files: "https://docs.devin.ai/cli/extensibility/mcp/configuration, https://docs.windsurf.com/windsurf/cascade/mcp",
    guide: "https://docs.devin.ai/cli/extensibility/rules, https://docs.devin.ai/desktop/cascade/memories (2026-11)",
  },
  "lm-studio": {
    files: "https://lmstudio.ai/docs/app/mcp",
    guide: "https://lmstudio.ai/docs/app/presets (2026-11)",
  },
  gemini: {
    files: "https://geminicli.com/docs/tools/mcp-server",
    guide: "https://geminicli.com/docs/cli/gemini-md (2026-11)",
  },
  opencode: {
    files:
      "https://opencode.ai/v1/docs/mcp-servers, https://opencode.ai/v1/docs/config; `timeout`: https://opencode.ai/config.json.",
    guide: "https://opencode.ai/docs/rules (2026-11)",
  },
  copilot: {
    files:
      "https://docs.github.com/en/copilot/how-tos/copilot-cli/customize-copilot/add-mcp-servers; the folder: https://docs.github.com/en/copilot/reference/copilot-cli-reference/cli-config-dir-reference",
    guide: "https://docs.github.com/en/copilot/how-tos/copilot-cli/customize-copilot/add-custom-instructions (2026-11)",
  },
  cline: {
    files: "https://docs.cline.bot/getting-started/config, https://docs.cline.bot/mcp/mcp-overview",
    guide: "https://docs.cline.bot/customization/cline-rules (2026-11)",
  },
  qwen: {
    files: "https://qwenlm.github.io/qwen-code-docs/en/users/features/mcp",
    guide: "https://qwenlm.github.io/qwen-code-docs/en/users/features/memory (2026-11)",
  },
  kiro: {
    files: "https://kiro.dev/docs/mcp/configuration, https://kiro.dev/docs/cli/mcp/configuration",
    guide: "https://kiro.dev/docs/cli/steering (2026-11)",
  },
  goose: {
    files: "https://block.github.io/goose/docs/guides/config-files",
    guide: "https://block.github.io/goose/docs/guides/using-goosehints (2026-11; with its extension Developer)",
  },
  junie: {
    files:
      "https://junie.jetbrains.com/docs/junie-cli-mcp-configuration.html, https://www.jetbrains.com/help/junie/model-context-protocol-mcp.html",
    guide: "https://junie.jetbrains.com/docs/guidelines-and-memory.html (2026-11)",
  },
};

const machines: readonly ClientFacts[] = [
  { platform: "darwin", userHome: "~", environment: {} },
  {
    platform: "win32",
    userHome: "%USERPROFILE%",
    environment: { APPDATA: "%APPDATA%", LOCALAPPDATA: "%LOCALAPPDATA%" },
    claudePackages: ["Claude_*"],
  },
  { platform: "linux", userHome: "~", environment: {} },
];
const tables = machines.map(clientTable);
const clients = tables.at(-1) ?? [];

const code = (text: string): string => `\`${text}\``;
const either = (texts: readonly string[]): string => [...new Set(texts)].map(code).join(" or ");

/** As oxfmt writes a table. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

const filesTable = table(
  ["client (`--client`)", "macOS", "Windows", "Linux", "entry in"],
  clients.map(({ id, name, container, format }, index) => [
    `${name} (${code(id)})`,
    ...tables.map((each) => either(each[index]?.locations.map(({ file }) => file) ?? [])),
    `${code(container)}, ${format}`,
  ]),
);

const guideFiles = (client: Client | undefined): readonly string[] =>
  (client?.locations ?? []).flatMap(({ guide }) => (guide.kind === "paste" ? [] : [guide.file]));

function guideRow({ id, name, locations }: Client, index: number): readonly string[] {
  const guide = locations[0]?.guide;
  const source = sources[id]?.guide ?? "";
  if (guide?.kind === "paste") return [name, "paste into", guide.where, source];
  const written = tables.map((each) =>
    either(
      guideFiles(each[index]).map((file) =>
        file.startsWith("%USERPROFILE%") ? file.replace("%USERPROFILE%", "~").replaceAll("\\", "/") : file,
      ),
    ),
  );
  return [name, guide?.kind ?? "", [...new Set(written)].join("; Windows: "), source];
}
const guideTable = table(["client", "as", "where", "source"], clients.map(guideRow));

/** Rows of docs/assistants.md, by title, with the cell of each assistant. */
const opened = readFileSync(new URL("../../../docs/assistants.md", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) => line.split("|").map((cell) => cell.trim()));
const shown = {
  "its name": "its name in `ollm stats`",
  "server's instructions": "instructions in its context",
  "what its model gets of a result": "a result, as its model gets it",
  progress: "progress lines",
  forms: "a form accepted",
} as const;
const habits = clients.flatMap(({ name }) => {
  const at = opened[0]?.indexOf(name) ?? -1;
  if (at === -1) return [];
  const cell = (title: string): string =>
    opened
      .find((row) => row[1] === title)
      ?.[at]?.replace(/^✓ deleted/, "shown")
      .replace(/^✓ /, "") ?? "";
  return [[name, ...Object.values(shown).map(cell)]];
});
const habitsTable = table(["client", ...Object.keys(shown)], habits);

const sourceList = clients.map(({ id, name }) => `- ${name}: ${sources[id]?.files ?? ""}`).join("\n");

test("every client has its sources", () => {
  expect(Object.keys(sources)).toEqual(clients.map(({ id }) => id));
  for (const { files, guide } of Object.values(sources)) {
    expect(files).toMatch(/^https:\/\//);
    // With when that was read.
    expect(guide).toMatch(/^https:\/\/[^|]+\([^|]*20\d\d[^|]*\)$/);
  }
});

test("docs/clients.md has the tables of the clients (vitest -u writes them)", async () => {
  const page = readFileSync(new URL("../../../docs/clients.md", import.meta.url), "utf8");
  const parts = [filesTable, guideTable, habitsTable, sourceList];
  const heads = ["| client (`--client`)", "| client ", "| client ", "- Claude Desktop: "];
  let rest = page;
  let written = "";
  for (const [index, part] of parts.entries()) {
    const start = rest.indexOf(`\n${heads[index]}`) + 1;
    const end = rest.indexOf("\n\n", start);
    expect(start).toBeGreaterThan(0);
    written += rest.slice(0, start) + part;
    rest = end === -1 ? "\n" : rest.slice(end);
  }
  await expect(written + rest).toMatchFileSnapshot("../../../docs/clients.md");
});
