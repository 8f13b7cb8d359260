import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { isTooBroad } from "../../orchestrator/util/file-name.ts";
import { didYouMean } from "../../orchestrator/util/nearest.ts";
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

/**
 * Where a client reads instructions for every session. `skill` (Agent Skills) and `instructions` (VS Code) are files of
 * our own, `section` is a part of the user's own file, and with `paste` the client keeps the text itself.
 */
type GuidePlace =
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

const table: readonly (Omit<Client, "locations"> & { locations(places: Places): Client["locations"] })[] = [
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
  return table.map((client) => ({ ...client, locations: client.locations(places) }));
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
  const lmStudioHome = readLine(path.join(userHome, ".lmstudio-home-pointer"));
  const local = environment["LOCALAPPDATA"] ?? path.join(userHome, "AppData", "Local");
  const claudePackages =
    platform === "win32" ? listFolder(path.join(local, "Packages")).filter((name) => /^Claude_/i.test(name)) : [];
  return {
    platform,
    userHome,
    environment,
    claudePackages,
    ...(lmStudioHome !== undefined && path.isAbsolute(lmStudioHome) && existsSync(lmStudioHome) && { lmStudioHome }),
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
        .filter(({ signs }) => signs.some((sign) => exists(sign)))
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

function readLine(file: string): string | undefined {
  try {
    const line = readFileSync(file, "utf8").split(/\r?\n/)[0]?.trim();
    return line === "" ? undefined : line;
  } catch {
    // LM Studio has never been started.
    return undefined;
  }
}

function listFolder(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // No app packages.
    return [];
  }
}

const existing = advice("name an existing folder");

/**
 * Returns the absolute paths of folders, without duplicates; each text may contain several, separated by commas. Throws
 * `InvalidRequest` for an empty text, a path that is not a folder, and a home folder or drive, since allowing that by
 * mistake would expose every private file in it.
 */
export function checkFolders(
  given: readonly string[],
  machine: { readonly userHome: string; readonly workingDirectory: string },
): readonly string[] {
  if (given.some((text) => text.trim() === "")) {
    throw new InvalidRequest("a folder's name is empty: an unset variable?", { next: existing });
  }
  const names = given
    .flatMap((text) => (isFolder(absolute(text, machine)) ? [text] : text.split(",")))
    .map((text) => text.trim())
    .filter((text) => text !== "");
  const folders = names.map((name) => {
    const folder = absolute(name, machine);
    if (!isFolder(folder)) throw new InvalidRequest(`${name} is not a folder`, { next: existing });
    if (isTooBroad(folder, machine.userHome)) {
      throw new InvalidRequest(`${name} is a whole home folder or drive, which is too much to allow`, {
        next: advice("name a folder inside it, such as ~/Documents"),
      });
    }
    return folder;
  });
  return [...new Set(folders)];
}

function absolute(name: string, machine: { readonly userHome: string; readonly workingDirectory: string }): string {
  return path.resolve(machine.workingDirectory, expandHome(name.trim(), machine.userHome));
}

/** Whether a folder exists; follows links. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}
