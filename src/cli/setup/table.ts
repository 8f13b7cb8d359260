import path from "node:path";
import type { ConfigFormat } from "./document.ts";
import type { Launch } from "./launch.ts";

/** The facts about a machine that determine where clients store their files. */
export interface ClientFacts {
  readonly platform: NodeJS.Platform;
  readonly userHome: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The content of `~/.lmstudio-home-pointer`, since LM Studio can be moved. */
  readonly lmStudioHome?: string;
  /** Names of the folders in `%LOCALAPPDATA%\Packages` that belong to Claude Desktop as a Windows app package. */
  readonly claudePackages?: readonly string[];
}

/** A file from which a client reads its servers. */
export interface ConfigLocation {
  readonly file: string;
  /** If any of these paths exists, the client is installed and reads `file`. */
  readonly signs: readonly string[];
}

/** A program that starts MCP servers, and the format of its settings. */
export interface Client {
  /** The name for `--client`. */
  readonly id: string;
  readonly name: string;
  readonly format: ConfigFormat;
  /** Key of the object (TOML: table) with one entry for each server. */
  readonly container: string;
  /** Several if installations differ; the first is that of a new installation. */
  readonly locations: readonly ConfigLocation[];
  /** The entry in the client's format. */
  entry(launch: Launch): Readonly<Record<string, unknown>>;
  /** How to make it read its file again. */
  readonly restart: string;
  /** Documentation of the file and its format. */
  readonly source: string;
}

const plain = ({ command, args, env }: Launch): Readonly<Record<string, unknown>> => ({
  command,
  args,
  ...(env !== undefined && { env }),
});
const typed = (launch: Launch): Readonly<Record<string, unknown>> => ({ type: "stdio", ...plain(launch) });

/** Every client that setup supports, with its files on the given machine. Reads nothing. */
export function clientTable(facts: ClientFacts): readonly Client[] {
  const { platform, userHome, environment } = facts;
  const { join } = platform === "win32" ? path.win32 : path.posix;
  const isMac = platform === "darwin";
  const isWindows = platform === "win32";
  const variable = (name: string): string | undefined => {
    const value = environment[name];
    return value === undefined || value.trim() === "" ? undefined : value;
  };
  const inHome = (...parts: readonly string[]): string => join(userHome, ...parts);
  const roaming = variable("APPDATA") ?? inHome("AppData", "Roaming");
  const local = variable("LOCALAPPDATA") ?? inHome("AppData", "Local");
  /** For programs that follow the XDG rules on Unix, including macOS. */
  const dotConfig = (isMac ? undefined : variable("XDG_CONFIG_HOME")) ?? inHome(".config");
  /** Electron's `appData`. */
  const appData = isWindows ? roaming : isMac ? inHome("Library", "Application Support") : dotConfig;
  const macApp = (name: string): readonly string[] => (isMac ? [`/Applications/${name}.app`] : []);
  const inFolder = (folder: string, file: string, signs: readonly string[] = []): ConfigLocation => ({
    file: join(folder, file),
    signs: [folder, ...signs],
  });

  const claudeConfig = variable("CLAUDE_CONFIG_DIR");
  const codex = variable("CODEX_HOME") ?? inHome(".codex");
  const devin = isWindows ? join(roaming, "devin") : join(dotConfig, "devin");
  const lmStudio = facts.lmStudioHome ?? inHome(".lmstudio");

  return [
    {
      id: "claude-desktop",
      name: "Claude Desktop",
      format: "json",
      container: "mcpServers",
      locations: [
        // A Windows app package has its own copy of %APPDATA%.
        ...(isWindows ? (facts.claudePackages ?? []) : []).map((name) => ({
          file: join(local, "Packages", name, "LocalCache", "Roaming", "Claude", "claude_desktop_config.json"),
          signs: [join(local, "Packages", name)],
        })),
        inFolder(join(appData, "Claude"), "claude_desktop_config.json", macApp("Claude")),
      ],
      entry: plain,
      restart: "Quit Claude Desktop completely and start it again.",
      source:
        "https://modelcontextprotocol.io/quickstart/user; packaged on Windows: https://github.com/anthropics/claude-code/issues/26073",
    },
    {
      id: "claude-code",
      name: "Claude Code",
      format: "json",
      container: "mcpServers",
      locations: [
        claudeConfig === undefined
          ? { file: inHome(".claude.json"), signs: [inHome(".claude.json"), inHome(".claude")] }
          : inFolder(claudeConfig, ".claude.json"),
      ],
      entry: typed,
      restart: "Start a new Claude Code session; /mcp lists the server.",
      source:
        "https://code.claude.com/docs/en/mcp (user scope); https://github.com/anthropics/claude-code/issues/4193, /48448",
    },
    {
      id: "cursor",
      name: "Cursor",
      format: "jsonc",
      container: "mcpServers",
      locations: [inFolder(inHome(".cursor"), "mcp.json", macApp("Cursor"))],
      entry: plain,
      restart: "Restart Cursor, or switch the server on in its MCP settings.",
      source: "https://cursor.com/docs/mcp",
    },
    {
      id: "vscode",
      name: "VS Code",
      format: "jsonc",
      container: "servers",
      locations: [
        inFolder(join(appData, "Code", "User"), "mcp.json", macApp("Visual Studio Code")),
        inFolder(join(appData, "Code - Insiders", "User"), "mcp.json", macApp("Visual Studio Code - Insiders")),
      ],
      entry: typed,
      restart: 'Run "MCP: List Servers" in VS Code and start ollm; it asks once whether you trust it.',
      source: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
    },
    {
      id: "codex",
      name: "Codex",
      format: "toml",
      container: "mcp_servers",
      locations: [inFolder(codex, "config.toml")],
      // The defaults of 10 s and 60 s are too short for a first start on a cold disk and for slow models.
      entry: ({ command, args, env }) => ({
        command,
        args,
        startup_timeout_sec: 30,
        tool_timeout_sec: 600,
        ...(env !== undefined && { env }),
      }),
      restart: "Start a new Codex session; /mcp lists the server.",
      source: "https://developers.openai.com/codex/mcp, https://developers.openai.com/codex/config-reference",
    },
    {
      id: "zed",
      name: "Zed",
      format: "jsonc",
      container: "context_servers",
      locations: [inFolder(isWindows ? join(roaming, "Zed") : join(dotConfig, "zed"), "settings.json", macApp("Zed"))],
      // Without `source`, which older versions required and newer ones remove.
      entry: plain,
      restart: "Zed reads it at once; its agent settings show the server.",
      source: "https://zed.dev/docs/ai/mcp, https://zed.dev/docs/configuring-zed",
    },
    {
      id: "windsurf",
      name: "Windsurf (Devin Desktop)",
      format: "jsonc",
      container: "mcpServers",
      locations: [
        // The editor was renamed in 2026; older versions read the second file.
        inFolder(devin, "mcp_config.json"),
        inFolder(inHome(".codeium", "windsurf"), "mcp_config.json", macApp("Windsurf")),
      ],
      entry: plain,
      restart: "Restart it, or press Refresh in its MCP settings.",
      source:
        "https://docs.devin.ai/cli/extensibility/mcp/configuration, https://docs.windsurf.com/windsurf/cascade/mcp",
    },
    {
      id: "lm-studio",
      name: "LM Studio",
      format: "jsonc",
      container: "mcpServers",
      locations: [inFolder(lmStudio, "mcp.json", macApp("LM Studio"))],
      entry: plain,
      restart: "LM Studio reads it at once; switch ollm on in the Program tab.",
      source: "https://lmstudio.ai/docs/app/mcp",
    },
    {
      id: "gemini",
      name: "Gemini CLI",
      format: "jsonc",
      container: "mcpServers",
      locations: [inFolder(inHome(".gemini"), "settings.json")],
      entry: plain,
      restart: "Start a new Gemini CLI session; /mcp lists the server.",
      source: "https://geminicli.com/docs/tools/mcp-server",
    },
  ];
}
