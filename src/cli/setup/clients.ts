import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { defined, orUndefined } from "../../orchestrator/util/values.ts";
import { didYouMean } from "../../orchestrator/util/nearest.ts";
import type { EntryLocation } from "./document.ts";
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

/**
 * Where a client reads instructions for every session. `skill` (Agent Skills), `instructions` (Copilot) and `rule` are
 * files of our own, `section` is a part of the user's own file, and with `paste` the client keeps the text itself.
 */
type GuidePlace =
  | { readonly kind: "skill" | "instructions" | "rule"; readonly file: string }
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
  readonly format: EntryLocation["format"];
  /** Key of the object (TOML: table) with one entry for each server. */
  readonly container: string;
  /** The files of its servers: several if installations differ; the first is that of a new installation. */
  readonly locations: readonly {
    readonly file: string;
    /** If any of these paths exists, the client is installed and reads `file`. */
    readonly signs: readonly string[];
    /** A file that the client prefers, if it exists. */
    readonly unless?: string;
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

const table: readonly (Omit<Client, "locations" | "restart"> & {
  locations(places: Places): Client["locations"];
  readonly restart?: string;
})[] = [
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
  },
  {
    // Without `source`, which older versions required and newer ones remove.
    ...usual,
    id: "zed",
    name: "Zed",
    container: "context_servers",
    locations: ({ configOf, inFolder, macApp }) => [
      inFolder(configOf("zed", "Zed"), "settings.json", "AGENTS.md", macApp("Zed")),
    ],
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
        inFolder(devin, "mcp_config.json", "AGENTS.md"),
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
    locations: ({ inFolder, inHome }) => [inFolder(inHome(".gemini"), "settings.json", "GEMINI.md")],
  },
  {
    // Version 1; version 2 has its servers in `mcp.servers`. `timeout` is for every request, by default 5 s.
    ...usual,
    id: "opencode",
    name: "opencode",
    container: "mcp",
    locations({ inFolder, xdg }) {
      const other = inFolder(xdg("opencode"), "opencode.jsonc", "AGENTS.md");
      const first = inFolder(xdg("opencode"), "opencode.json", "AGENTS.md");
      return [
        { ...first, unless: other.file },
        { ...other, signs: [other.file] },
      ];
    },
    entry: ({ command, args, env }) => {
      const environment = defined({ environment: env });
      return { type: "local", command: [command, ...args], enabled: true, timeout: 60_000, ...environment };
    },
    restart: "Start a new opencode session; opencode mcp list shows the server.",
  },
  {
    ...usual,
    id: "copilot",
    name: "Copilot CLI",
    locations({ inFolder, inHome, join, variable }) {
      const folder = variable("COPILOT_HOME") ?? inHome(".copilot");
      const location = inFolder(folder, "mcp-config.json", "copilot-instructions.md");
      // VS Code's guide is in the same folder.
      return [{ ...location, signs: ["config.json", "settings.json"].map((name) => join(folder, name)) }];
    },
    entry: (launch) => ({ type: "local", ...plain(launch), tools: ["*"] }),
  },
  {
    ...usual,
    id: "cline",
    name: "Cline",
    locations({ appData, inFolder, inHome, join, variable }) {
      const guide: GuidePlace = { kind: "rule", file: inHome(".cline", "rules", "ollm.md") };
      const name = "cline_mcp_settings.json";
      const data = variable("CLINE_DATA_DIR") ?? inHome(".cline", "data");
      const extension = join(appData, "Code", "User", "globalStorage", "saoudrizwan.claude-dev");
      // Older versions of the extension read the second file.
      return [
        inFolder(join(data, "settings"), name, guide, [inHome(".cline")]),
        inFolder(join(extension, "settings"), name, { kind: "paste", where: "a global rule of its extension" }),
      ];
    },
    restart: "Start a new Cline session, or press Restart Server in the extension.",
  },
  {
    ...usual,
    id: "qwen",
    name: "Qwen Code",
    locations: ({ inFolder, inHome }) => [inFolder(inHome(".qwen"), "settings.json", "QWEN.md")],
  },
  {
    ...usual,
    id: "kiro",
    name: "Kiro",
    locations({ inFolder, inHome, macApp }) {
      const guide: GuidePlace = { kind: "rule", file: inHome(".kiro", "steering", "ollm.md") };
      return [inFolder(inHome(".kiro", "settings"), "mcp.json", guide, [inHome(".kiro"), ...macApp("Kiro")])];
    },
    restart: "Kiro reads it at once; its panel of MCP servers shows the server.",
  },
  {
    id: "goose",
    name: "Goose",
    format: "yaml",
    container: "extensions",
    locations: ({ inFolder, macApp, roaming, xdg, join }) => [
      inFolder(xdg("goose", join(roaming, "Block", "goose", "config")), "config.yaml", ".goosehints", macApp("Goose")),
    ],
    entry: ({ command, args, env }) => {
      const start = { cmd: command, args, ...defined({ envs: env }) };
      return { type: "stdio", name: "ollm", enabled: true, ...start, timeout: 600 };
    },
    restart: "Start a new Goose session; goose info -v shows the extension.",
  },
  {
    ...usual,
    id: "junie",
    name: "JetBrains Junie",
    locations({ inFolder, inHome, section }) {
      const guide = section(inHome(".junie"), "AGENTS.md");
      return [inFolder(inHome(".junie", "mcp"), "mcp.json", guide, [inHome(".junie")])];
    },
    restart: "Junie reads it at once; its MCP settings show the server.",
  },
];

/** Every client that setup supports, with its files on the given machine. Reads nothing. */
export function clientTable(facts: ClientFacts): readonly Client[] {
  const places = placesOn(facts);
  return table.map((client) => ({
    restart: `Start a new ${client.name} session; /mcp lists the server.`,
    ...client,
    locations: client.locations(places),
  }));
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
  const section = (folder: string, file: string) => ({ kind: "section" as const, file: join(folder, file) });
  const roaming = variable("APPDATA") ?? inHome("AppData", "Roaming");
  const dotConfig = (isMac ? undefined : variable("XDG_CONFIG_HOME")) ?? inHome(".config");
  return {
    claudePackages: isWindows ? (facts.claudePackages ?? []) : [],
    lmStudio: facts.lmStudioHome ?? inHome(".lmstudio"),
    local: variable("LOCALAPPDATA") ?? inHome("AppData", "Local"),
    roaming,
    /** The folder of a program in `~/.config` on Unix, including macOS. */
    configOf: (name: string, onWindows = name) => (isWindows ? join(roaming, onWindows) : join(dotConfig, name)),
    /** The folder of a program that follows the XDG rules on all Unix systems, or everywhere. */
    xdg: (name: string, onWindows?: string) =>
      (isWindows ? onWindows : undefined) ?? join(variable("XDG_CONFIG_HOME") ?? inHome(".config"), name),
    /** Electron's `appData`. */
    appData: isWindows ? roaming : isMac ? inHome("Library", "Application Support") : dotConfig,
    join,
    inHome,
    variable,
    macApp: (name: string) => (isMac ? [`/Applications/${name}.app`] : []),
    /** `guide` may name a file of the folder that gets a section. */
    inFolder: (folder: string, file: string, guide: GuidePlace | string, signs: readonly string[] = []) => ({
      file: join(folder, file),
      signs: [folder, ...signs],
      guide: typeof guide === "string" ? section(folder, guide) : guide,
    }),
    // The name of the folder has to be that in the skill's front matter.
    skill: (folder: string): GuidePlace => ({ kind: "skill", file: join(folder, "skills", "ollm", "SKILL.md") }),
    section,
  };
}

/** A client's settings file. */
export interface ClientTarget {
  readonly client: Client;
  readonly file: string;
  /** Whether the client seems to be installed. */
  readonly isFound: boolean;
}

/** Collects the facts about this machine that the table of clients needs. */
export function gatherFacts(machine: Pick<ClientFacts, "platform" | "userHome" | "environment">): ClientFacts {
  const { platform, userHome, environment } = machine;
  // Absent if LM Studio has never been started.
  const pointer = orUndefined(() => readFileSync(path.join(userHome, ".lmstudio-home-pointer"), "utf8"));
  const lmStudioHome = pointer?.split(/\r?\n/)[0]?.trim() ?? "";
  const local = environment["LOCALAPPDATA"] ?? path.join(userHome, "AppData", "Local");
  const packages = platform === "win32" ? orUndefined(() => readdirSync(path.join(local, "Packages"))) : undefined;
  return {
    platform,
    userHome,
    environment,
    claudePackages: packages?.filter((name) => /^Claude_/i.test(name)) ?? [],
    ...(path.isAbsolute(lmStudioHome) && existsSync(lmStudioHome) && { lmStudioHome }),
  };
}

/**
 * The files of the installed clients; with `ids`, those of these clients, installed or not (a client that is not found may
 * be portable or installed later). Throws `InvalidRequest` for an unknown client.
 */
export function findTargets(
  facts: ClientFacts,
  ids: readonly string[],
  exists: (path: string) => boolean = existsSync,
): readonly ClientTarget[] {
  const clients = clientTable(facts);
  const known = clients.map(({ id }) => id);
  for (const client of ids) {
    if (known.includes(client)) continue;
    throw new InvalidRequest(`unknown client "${client}"`, {
      next: [...didYouMean(client, known, 1), { step: "chooseOneOf", names: known }],
    });
  }
  return clients
    .filter(({ id }) => ids.length === 0 || ids.includes(id))
    .flatMap((client) => {
      const found = client.locations
        .filter(({ signs, unless }) => signs.some(exists) && (unless === undefined || !exists(unless)))
        .map(({ file }) => ({ client, file, isFound: true }));
      const [first] = client.locations;
      if (found.length > 0 || first === undefined || ids.length === 0) return found;
      return [{ client, file: first.file, isFound: false }];
    });
}

/** Every existing settings file that may contain an ollm entry. */
export function allTargets(facts: ClientFacts): readonly ClientTarget[] {
  return clientTable(facts).flatMap((client) =>
    client.locations.filter(({ file }) => existsSync(file)).map(({ file }) => ({ client, file, isFound: true })),
  );
}
