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

type Places = ReturnType<typeof placesOn>;

/** What most clients share. */
const usual = { format: "jsonc", container: "mcpServers", entry: plain } as const;

const clients: readonly (Omit<Client, "locations"> & { locations(places: Places): Client["locations"] })[] = [
  {
    ...usual,
    id: "claude-desktop",
    name: "Claude Desktop",
    format: "json",
    locations({ appData, claudePackages, inFolder, join, local, macApp }) {
      const guide: GuidePlace = { kind: "paste", where: '"Instructions for Claude" in its settings' };
      return [
        // A Windows app package has its own copy of %APPDATA%.
        ...claudePackages.map((name) => ({
          file: join(local, "Packages", name, "LocalCache", "Roaming", "Claude", "claude_desktop_config.json"),
          signs: [join(local, "Packages", name)],
          guide,
        })),
        inFolder(join(appData, "Claude"), "claude_desktop_config.json", guide, macApp("Claude")),
      ];
    },
    restart: "Quit Claude Desktop completely and start it again.",
  },
  {
    ...usual,
    id: "claude-code",
    name: "Claude Code",
    format: "json",
    locations({ inFolder, inHome, skill, variable }) {
      const folder = variable("CLAUDE_CONFIG_DIR");
      if (folder !== undefined) return [inFolder(folder, ".claude.json", skill(folder))];
      const file = inHome(".claude.json");
      return [{ file, signs: [file, inHome(".claude")], guide: skill(inHome(".claude")) }];
    },
    entry: typed,
    restart: "Start a new Claude Code session; /mcp lists the server.",
  },
  {
    ...usual,
    id: "cursor",
    name: "Cursor",
    locations: ({ inFolder, inHome, macApp, skill }) => [
      inFolder(inHome(".cursor"), "mcp.json", skill(inHome(".cursor")), macApp("Cursor")),
    ],
    restart: "Restart Cursor, or switch the server on in its MCP settings.",
  },
  {
    ...usual,
    id: "vscode",
    name: "VS Code",
    container: "servers",
    locations: ({ appData, inFolder, inHome, join, macApp }) =>
      ["", " - Insiders"].map((edition) => {
        // Shared by all profiles and by VS Code Insiders.
        const file = inHome(".copilot", "instructions", "ollm.instructions.md");
        const signs = macApp(`Visual Studio Code${edition}`);
        return inFolder(join(appData, `Code${edition}`, "User"), "mcp.json", { kind: "instructions", file }, signs);
      }),
    entry: typed,
    restart: 'Run "MCP: List Servers" in VS Code and start ollm; it asks once whether you trust it.',
  },
  {
    id: "codex",
    name: "Codex",
    format: "toml",
    container: "mcp_servers",
    locations({ inFolder, inHome, join, section, variable }) {
      const folder = variable("CODEX_HOME") ?? inHome(".codex");
      const guide = { ...section(folder, "AGENTS.md"), override: join(folder, "AGENTS.override.md") };
      return [inFolder(folder, "config.toml", guide)];
    },
    // The defaults of 10 s and 60 s are too short for a first start on a cold disk and for slow models.
    entry: ({ command, args, env }) => {
      return { command, args, startup_timeout_sec: 30, tool_timeout_sec: 600, ...defined({ env }) };
    },
    restart: "Start a new Codex session; /mcp lists the server.",
  },
  {
    // Without `source`, which older versions required and newer ones remove.
    ...usual,
    id: "zed",
    name: "Zed",
    container: "context_servers",
    locations({ configOf, inFolder, macApp, section }) {
      const folder = configOf("zed", "Zed");
      return [inFolder(folder, "settings.json", section(folder, "AGENTS.md"), macApp("Zed"))];
    },
    restart: "Zed reads it at once; its agent settings show the server.",
  },
  {
    ...usual,
    id: "windsurf",
    name: "Windsurf (Devin Desktop)",
    locations({ configOf, inFolder, inHome, join, macApp, section }) {
      const [devin, older] = [configOf("devin"), inHome(".codeium", "windsurf")];
      const rules = { ...section(join(older, "memories"), "global_rules.md"), maxCharacters: 6_000 };
      // The editor was renamed in 2026; older versions read the second file.
      return [
        inFolder(devin, "mcp_config.json", section(devin, "AGENTS.md")),
        inFolder(older, "mcp_config.json", rules, macApp("Windsurf")),
      ];
    },
    restart: "Restart it, or press Refresh in its MCP settings.",
  },
  {
    ...usual,
    id: "lm-studio",
    name: "LM Studio",
    locations({ inFolder, lmStudio, macApp }) {
      const guide: GuidePlace = { kind: "paste", where: "the system prompt of a chat or a preset" };
      return [inFolder(lmStudio, "mcp.json", guide, macApp("LM Studio"))];
    },
    restart: "LM Studio reads it at once; switch ollm on in the Program tab.",
  },
  {
    ...usual,
    id: "gemini",
    name: "Gemini CLI",
    locations: ({ inFolder, inHome, section }) => [
      inFolder(inHome(".gemini"), "settings.json", section(inHome(".gemini"), "GEMINI.md")),
    ],
    restart: "Start a new Gemini CLI session; /mcp lists the server.",
  },
];

/** Every client that setup supports, with its files on the given machine. Reads nothing. */
export function clientTable(facts: ClientFacts): readonly Client[] {
  const places = placesOn(facts);
  return clients.map((client) => ({ ...client, locations: client.locations(places) }));
}

/** The folders of a machine, and how paths are made of them. */
function placesOn({ platform, userHome, environment, ...facts }: ClientFacts) {
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
    claudePackages: isWindows ? (facts.claudePackages ?? []) : [],
    lmStudio: facts.lmStudioHome ?? inHome(".lmstudio"),
    local: variable("LOCALAPPDATA") ?? inHome("AppData", "Local"),
    /** The folder of a program that follows the XDG rules on Unix, including macOS. */
    configOf: (name: string, onWindows = name) => (isWindows ? join(roaming, onWindows) : join(dotConfig, name)),
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
    section: (folder: string, file: string) => ({ kind: "section" as const, file: join(folder, file) }),
  };
}
