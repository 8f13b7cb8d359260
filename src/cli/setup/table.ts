import path from "node:path";
import type { ConfigFormat } from "./document.ts";
import type { Launch } from "./launch.ts";
import { defined } from "../../orchestrator/util/defined.ts";

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

/**
 * Where a client reads instructions for every session. `skill` (Agent Skills) and `instructions` (VS Code) are files of
 * our own, `section` is a part of the user's own file, and with `paste` the client keeps the text itself.
 */
export type GuidePlace =
  | { readonly kind: "skill" | "instructions"; readonly file: string }
  | {
      readonly kind: "section";
      readonly file: string;
      /** A file that the client reads instead, if it has text. */
      readonly override?: string;
      /** The client ignores the rest of a longer file. */
      readonly maxCharacters?: number;
    }
  /** `where` completes "paste it into". */
  | { readonly kind: "paste"; readonly where: string };

/** A program that starts MCP servers, and the format of its settings. `docs/clients.md` has the source of each. */
export interface Client {
  /** The name for `--client`. */
  readonly id: string;
  readonly name: string;
  readonly format: ConfigFormat;
  /** Key of the object (TOML: table) with one entry for each server. */
  readonly container: string;
  /** The files of its servers: several if installations differ; the first is that of a new installation. */
  readonly locations: readonly {
    readonly file: string;
    /** If any of these paths exists, the client is installed and reads `file`. */
    readonly signs: readonly string[];
    readonly guide: GuidePlace;
  }[];
  /** The entry in the client's format. */
  entry(launch: Launch): Readonly<Record<string, unknown>>;
  /** How to make it read its file again. */
  readonly restart: string;
}

const plain = ({ command, args, env }: Launch): Readonly<Record<string, unknown>> => ({
  command,
  args,
  ...defined({ env }),
});
const typed = (launch: Launch): Readonly<Record<string, unknown>> => ({ type: "stdio", ...plain(launch) });

/** Every client that setup supports, with its files on the given machine. Reads nothing. */
export function clientTable(facts: ClientFacts): readonly Client[] {
  const places = placesOn(facts);
  return [claudeDesktop, claudeCode, cursor, vsCode, codex, zed, windsurf, lmStudio, gemini].map((client) =>
    client(places),
  );
}

type Places = ReturnType<typeof placesOn>;

/** The folders of a machine, and how paths are made of them. */
function placesOn(facts: ClientFacts) {
  const { platform, userHome, environment } = facts;
  const { join } = platform === "win32" ? path.win32 : path.posix;
  const isMac = platform === "darwin";
  const isWindows = platform === "win32";
  /** Undefined if the variable is not set or empty. */
  const variable = (name: string): string | undefined => {
    const value = environment[name];
    return value === undefined || value.trim() === "" ? undefined : value;
  };
  const inHome = (...parts: readonly string[]): string => join(userHome, ...parts);
  const roaming = variable("APPDATA") ?? inHome("AppData", "Roaming");
  const dotConfig = (isMac ? undefined : variable("XDG_CONFIG_HOME")) ?? inHome(".config");
  return {
    facts,
    isWindows,
    roaming,
    local: variable("LOCALAPPDATA") ?? inHome("AppData", "Local"),
    /** For programs that follow the XDG rules on Unix, including macOS. */
    dotConfig,
    /** Electron's `appData`. */
    appData: isWindows ? roaming : isMac ? inHome("Library", "Application Support") : dotConfig,
    join,
    inHome,
    variable,
    macApp: (name: string) => (isMac ? [`/Applications/${name}.app`] : []),
    inFolder: (folder: string, file: string, guide: GuidePlace, signs: readonly string[] = []) => ({
      file: join(folder, file),
      signs: [folder, ...signs],
      guide,
    }),
    // The name of the folder has to be that in the skill's front matter.
    skill: (folder: string): GuidePlace => ({ kind: "skill", file: join(folder, "skills", "ollm", "SKILL.md") }),
    section: (folder: string, file: string): GuidePlace => ({ kind: "section", file: join(folder, file) }),
  };
}

function claudeDesktop({ appData, facts, inFolder, isWindows, join, local, macApp }: Places): Client {
  const settings: GuidePlace = { kind: "paste", where: '"Instructions for Claude" in its settings' };
  return {
    id: "claude-desktop",
    name: "Claude Desktop",
    format: "json",
    container: "mcpServers",
    locations: [
      // A Windows app package has its own copy of %APPDATA%.
      ...(isWindows ? (facts.claudePackages ?? []) : []).map((name) => ({
        file: join(local, "Packages", name, "LocalCache", "Roaming", "Claude", "claude_desktop_config.json"),
        signs: [join(local, "Packages", name)],
        guide: settings,
      })),
      inFolder(join(appData, "Claude"), "claude_desktop_config.json", settings, macApp("Claude")),
    ],
    entry: plain,
    restart: "Quit Claude Desktop completely and start it again.",
  };
}

function claudeCode({ inFolder, inHome, skill, variable }: Places): Client {
  const claudeConfig = variable("CLAUDE_CONFIG_DIR");
  return {
    id: "claude-code",
    name: "Claude Code",
    format: "json",
    container: "mcpServers",
    locations: [
      claudeConfig === undefined
        ? {
            file: inHome(".claude.json"),
            signs: [inHome(".claude.json"), inHome(".claude")],
            guide: skill(inHome(".claude")),
          }
        : inFolder(claudeConfig, ".claude.json", skill(claudeConfig)),
    ],
    entry: typed,
    restart: "Start a new Claude Code session; /mcp lists the server.",
  };
}

function cursor({ inFolder, inHome, macApp, skill }: Places): Client {
  return {
    id: "cursor",
    name: "Cursor",
    format: "jsonc",
    container: "mcpServers",
    locations: [inFolder(inHome(".cursor"), "mcp.json", skill(inHome(".cursor")), macApp("Cursor"))],
    entry: plain,
    restart: "Restart Cursor, or switch the server on in its MCP settings.",
  };
}

function vsCode({ appData, inFolder, inHome, join, macApp }: Places): Client {
  // Shared by all profiles and by VS Code Insiders.
  const copilot: GuidePlace = {
    kind: "instructions",
    file: inHome(".copilot", "instructions", "ollm.instructions.md"),
  };
  return {
    id: "vscode",
    name: "VS Code",
    format: "jsonc",
    container: "servers",
    locations: [
      inFolder(join(appData, "Code", "User"), "mcp.json", copilot, macApp("Visual Studio Code")),
      inFolder(join(appData, "Code - Insiders", "User"), "mcp.json", copilot, macApp("Visual Studio Code - Insiders")),
    ],
    entry: typed,
    restart: 'Run "MCP: List Servers" in VS Code and start ollm; it asks once whether you trust it.',
  };
}

function codex({ inFolder, inHome, join, variable }: Places): Client {
  const folder = variable("CODEX_HOME") ?? inHome(".codex");
  return {
    id: "codex",
    name: "Codex",
    format: "toml",
    container: "mcp_servers",
    locations: [
      inFolder(folder, "config.toml", {
        kind: "section",
        file: join(folder, "AGENTS.md"),
        override: join(folder, "AGENTS.override.md"),
      }),
    ],
    // The defaults of 10 s and 60 s are too short for a first start on a cold disk and for slow models.
    entry: ({ command, args, env }) => ({
      command,
      args,
      startup_timeout_sec: 30,
      tool_timeout_sec: 600,
      ...defined({ env }),
    }),
    restart: "Start a new Codex session; /mcp lists the server.",
  };
}

function zed({ dotConfig, inFolder, isWindows, join, macApp, roaming, section }: Places): Client {
  const folder = isWindows ? join(roaming, "Zed") : join(dotConfig, "zed");
  return {
    id: "zed",
    name: "Zed",
    format: "jsonc",
    container: "context_servers",
    locations: [inFolder(folder, "settings.json", section(folder, "AGENTS.md"), macApp("Zed"))],
    // Without `source`, which older versions required and newer ones remove.
    entry: plain,
    restart: "Zed reads it at once; its agent settings show the server.",
  };
}

function windsurf({ dotConfig, inFolder, inHome, isWindows, join, macApp, roaming, section }: Places): Client {
  const devin = isWindows ? join(roaming, "devin") : join(dotConfig, "devin");
  const older = inHome(".codeium", "windsurf");
  return {
    id: "windsurf",
    name: "Windsurf (Devin Desktop)",
    format: "jsonc",
    container: "mcpServers",
    locations: [
      // The editor was renamed in 2026; older versions read the second file.
      inFolder(devin, "mcp_config.json", section(devin, "AGENTS.md")),
      inFolder(
        older,
        "mcp_config.json",
        { kind: "section", file: join(older, "memories", "global_rules.md"), maxCharacters: 6_000 },
        macApp("Windsurf"),
      ),
    ],
    entry: plain,
    restart: "Restart it, or press Refresh in its MCP settings.",
  };
}

function lmStudio({ facts, inFolder, inHome, macApp }: Places): Client {
  const folder = facts.lmStudioHome ?? inHome(".lmstudio");
  return {
    id: "lm-studio",
    name: "LM Studio",
    format: "jsonc",
    container: "mcpServers",
    locations: [
      inFolder(
        folder,
        "mcp.json",
        { kind: "paste", where: "the system prompt of a chat or a preset" },
        macApp("LM Studio"),
      ),
    ],
    entry: plain,
    restart: "LM Studio reads it at once; switch ollm on in the Program tab.",
  };
}

function gemini({ inFolder, inHome, section }: Places): Client {
  const folder = inHome(".gemini");
  return {
    id: "gemini",
    name: "Gemini CLI",
    format: "jsonc",
    container: "mcpServers",
    locations: [inFolder(folder, "settings.json", section(folder, "GEMINI.md"))],
    entry: plain,
    restart: "Start a new Gemini CLI session; /mcp lists the server.",
  };
}
