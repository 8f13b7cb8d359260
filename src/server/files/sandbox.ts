/** Where a verifier runs: without network, and with a view of one folder and of the system's programs alone. */
import { realpath, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { isInside } from "../../orchestrator/util/file-name.ts";
import { canExecute, usualFolders } from "../../orchestrator/util/programs.ts";
import { runProgram } from "../../orchestrator/util/programs.ts";

/** A command in a sandbox. */
interface Sandboxed {
  readonly command: readonly string[];
  /** The only folder that it may change; `/work` in bubblewrap. Resolved. */
  readonly folder: string;
  /** What a package manager installed in this folder is seen there, too, and can't be changed. */
  readonly installedIn?: string | undefined;
  readonly homeDirectory: string;
  /** Seconds. */
  readonly timeout: number;
}

/** Kept of a command's output. */
const maxCharacters = 4_000;
/** Where the copy lies for a command in bubblewrap. */
const workFolder = "/work";
const systemFolders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
/** What programs need of `/etc` to start. */
const systemFiles = "alternatives ld.so.cache ld.so.conf ld.so.conf.d ssl/certs localtime nsswitch.conf";
/** What git ignores, and tests need. */
const installed = ["node_modules", ".venv", "venv", "vendor"];

const words = (text: string): readonly string[] => text.split(" ");

async function bubblewrap({ command, folder, installedIn, homeDirectory }: Sandboxed): Promise<readonly string[]> {
  const node = await nodeFolder(homeDirectory);
  const search = [...(node === undefined ? [] : [path.join(node, "bin")]), "/usr/local/bin", "/usr/bin", "/bin"];
  const readable = (installedIn === undefined ? [] : installed).map(async (name) => {
    const from = path.join(installedIn ?? "", name);
    const isFolder = (await realpath(from).catch(() => undefined)) === from && (await stat(from)).isDirectory();
    const isCopied = await stat(path.join(folder, name)).then(
      () => true,
      () => false,
    );
    return isFolder && !isCopied ? ["--ro-bind", from, `${workFolder}/${name}`] : [];
  });
  const variables = { PATH: search.join(":"), HOME: "/home", TMPDIR: "/tmp", LANG: "C.UTF-8", CI: "1", USER: "worker" };
  return [
    ...words("--unshare-all --die-with-parent --new-session --cap-drop ALL --clearenv"),
    ...[...systemFolders, ...words(systemFiles).map((name) => `/etc/${name}`)].flatMap((each) => [
      "--ro-bind-try",
      each,
      each,
    ]),
    ...(node === undefined ? [] : ["--ro-bind", node, node]),
    ...words("--proc /proc --dev /dev --tmpfs /tmp --tmpfs /home --bind"),
    folder,
    workFolder,
    ...(await Promise.all(readable)).flat(),
    "--chdir",
    workFolder,
    ...Object.entries(variables).flatMap(([name, value]) => ["--setenv", name, value]),
    "--",
    ...command,
  ];
}

/** The folder of a Node that is installed outside the system's folders, unless it would show more than that. */
async function nodeFolder(homeDirectory: string): Promise<string | undefined> {
  const real = await realpath(process.execPath);
  const folder = path.dirname(path.dirname(real));
  const isSystems = systemFolders.some((each) => isInside(each, real));
  const isBroad = path.basename(path.dirname(real)) !== "bin" || isInside(folder, homeDirectory);
  return isSystems || isBroad ? undefined : folder;
}

/** macOS: what it may not do. Its own folder is the last word. */
function seatbelt({ command, folder, homeDirectory }: Sandboxed): readonly string[] {
  const [own, home] = [folder, homeDirectory].map((each) => `(subpath ${JSON.stringify(each)})`);
  const profile = [
    "(version 1)(allow default)(deny network*)(deny file-write*)",
    `(deny file-read* ${home}(subpath "/Users")(subpath "/Volumes"))`,
    `(allow file-read* ${own})(allow file-write* ${own}(literal "/dev/null")(literal "/dev/tty"))`,
  ].join("");
  const variables = {
    PATH: [...usualFolders, "/bin"].join(":"),
    HOME: folder,
    TMPDIR: folder,
    LANG: "C.UTF-8",
    CI: "1",
  };
  const set = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return ["-p", profile, "/usr/bin/env", "-i", ...set, ...command];
}

/** Programs that have really run a command. */
const tried = new Set<string>();

/** Runs a command. Throws `InvalidRequest` where the machine has no sandbox, with what to install. */
export async function runSandboxed(asked: Sandboxed, signal: AbortSignal) {
  const off = "no command can be run as a check on this machine";
  const isLinux = process.platform === "linux";
  const name = isLinux ? "bwrap" : "sandbox-exec";
  // Never a search path, which may hold a project's programs.
  const folders = [process.env["OLLM_TEST_SANDBOX"] ?? [], ...usualFolders, "/bin"].flat();
  const program =
    isLinux || process.platform === "darwin"
      ? folders.map((each) => path.join(each, name)).find(canExecute)
      : undefined;
  if (program === undefined) {
    const why = isLinux ? "bubblewrap is not installed" : `${process.platform} has no sandbox that ollm knows`;
    const next = [
      ...(isLinux ? [advice("install bubblewrap (apt install bubblewrap, dnf install bubblewrap)")] : []),
      advice("use a worker with a schema, or none: its changes are unverified"),
    ];
    throw new InvalidRequest(`${off}: ${why}`, { next });
  }
  const run = async (given: Sandboxed) => {
    const { folder, timeout: timeoutSeconds } = given;
    const command = [program, ...(isLinux ? await bubblewrap(given) : seatbelt(given))];
    return runProgram({ command, folder, variables: {}, timeoutSeconds, maxCharacters, keeps: "last" }, signal);
  };
  if (!tried.has(program)) {
    const probe = {
      ...asked,
      command: ["true"],
      folder: await realpath(tmpdir()),
      installedIn: undefined,
      timeout: 10,
    };
    const { failure, how, output } = await run(probe);
    if (failure !== undefined || how !== undefined) {
      throw new InvalidRequest(`${off}: ${program} fails (${failure ?? how}): ${output.trim()}`, {
        next: advice(
          "allow user namespaces (sysctl kernel.unprivileged_userns_clone, or an AppArmor profile for bwrap)",
        ),
      });
    }
    tried.add(program);
  }
  const end = await run(asked);
  return { ...end, output: end.output.replaceAll(`${workFolder}/`, "").replaceAll(asked.folder, "").trim() };
}
