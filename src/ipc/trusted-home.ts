import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidConfig } from "../orchestrator/api/errors.ts";
import { advice, type NextStep } from "../orchestrator/api/next-step.ts";
import { orUndefined } from "../orchestrator/util/values.ts";

/** The facts that decide about a file or folder. */
interface PathFacts {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits with the sticky bit. */
  readonly mode: number;
  readonly kind: "folder" | "link" | "other";
}

/** The current user and the file system; tests replace it. */
type HomeSystem = NonNullable<ReturnType<typeof realSystem>>;

interface TrustOptions {
  /** Checks every file that we created, as for a home that others can enter; otherwise only its own and those in `run/`. */
  readonly isWhole?: boolean;
  /** Closes our folders for other users (default); otherwise a home that others can write to is refused. */
  readonly closes?: boolean;
}

const writableByOthers = 0o022;
const anyRightOfOthers = 0o077;
const stickyBit = 0o1000;
const maxLinks = 40;
/** The folders that we create in a home. Others are not searched: a user's home folder may serve as ours. */
const ownFolders: readonly string[] = ["app", "engines", "jobs", "logs", "run", "templates"];
/** Nothing in it is run or read as settings, and an Ollama server's own folder may be mounted there. */
const dataFolder = "models";

/**
 * Throws `InvalidConfig` with the path and the command that corrects it, unless only this user (and root) could have
 * written to `home`. Called before anything in a home is read, run or connected to:
 *
 * 1. Every folder and link on the path must belong to this user or root and be writable by no other user, who could
 *    otherwise replace the home. Sticky folders (`/tmp`) are safe, and so is the user's own group.
 * 2. The home must belong to this user. Root's is accepted if others can't write to it: images contain read-only homes.
 * 3. A home of this user that others may enter is closed (0700) first, then searched for files of other users.
 *
 * A home that doesn't exist yet is checked as far as it exists. Windows has no such modes; the profile protects it.
 */
export function requireTrustedHome(home: string, options: TrustOptions = {}): void {
  const problem = homeProblem(home, options);
  if (problem !== undefined) throw problem;
}

/** Like `requireTrustedHome`, but returns the error. */
export function homeProblem(home: string, options: TrustOptions = {}): InvalidConfig | undefined {
  const system = realSystem();
  return system && judgeHome(home, options, system);
}

/** Like `homeProblem`, for any file system, whose folders it may close. */
export function judgeHome(home: string, options: TrustOptions, system: HomeSystem): InvalidConfig | undefined {
  const { passed, end } = walk(resolve(home), system);
  for (const step of passed) {
    const problem = pathProblem(step, home, system);
    if (problem !== undefined) return problem;
  }
  // A missing path, or one that isn't a folder: creating it fails, or it is checked again once it exists.
  if (end?.facts.kind !== "folder") return undefined;
  return ownerProblem(end, system) ?? contentProblem(end, options, system);
}

interface PathStep {
  readonly path: string;
  readonly facts: PathFacts;
}

/** Every folder and link on `path`, and its target: `end` is undefined where that doesn't exist. */
function walk(path: string, system: HomeSystem): { readonly passed: readonly PathStep[]; readonly end?: PathStep } {
  const passed: PathStep[] = [];
  let left = partsOf(path);
  let at: PathStep | undefined = stepAt("/", system);
  let links = 0;
  while (at !== undefined && left.length > 0) {
    passed.push(at);
    const [name = "", ...rest] = left;
    const next = stepAt(join(at.path, name), system);
    left = rest;
    if (next?.facts.kind !== "link") {
      at = next;
      continue;
    }
    passed.push(next);
    links += 1;
    const target = links > maxLinks ? undefined : system.readLink(next.path);
    if (target === undefined) return { passed };
    left = [...partsOf(target), ...left];
    if (target.startsWith("/")) at = stepAt("/", system);
  }
  return { passed, ...(at && { end: at }) };
}

function stepAt(path: string, system: HomeSystem): PathStep | undefined {
  const facts = system.look(path);
  return facts && { path, facts };
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "");
}

/** Rule 1. */
function pathProblem({ path, facts }: PathStep, home: string, system: HomeSystem): InvalidConfig | undefined {
  const { uid, gid, mode, kind } = facts;
  const elsewhere: NextStep = { step: "setHome", to: "a folder below your own home folder" };
  if (isForeign(uid, system)) {
    return new InvalidConfig(
      `${path} belongs to another user (uid ${uid}), who could replace ${home}; nothing in it is used`,
      { next: elsewhere },
    );
  }
  if (kind === "link" || (mode & stickyBit) !== 0) return undefined;
  // A group with the user's own id has no other members; the group of root (0) is trusted like root.
  const isOwnGroup = gid === 0 || (gid === system.gid && gid === system.uid);
  if ((mode & (isOwnGroup ? 0o002 : writableByOthers)) === 0) return undefined;
  return new InvalidConfig(`${path} can be written by other users (mode ${octal(mode)}), who could replace ${home}`, {
    next: [runCommand(`${shell(uid, system)}chmod ${isOwnGroup ? "o-w" : "go-w"} ${quoted(path)}`), elsewhere],
  });
}

/** Rule 2. */
function ownerProblem({ path, facts: { uid, mode } }: PathStep, system: HomeSystem): InvalidConfig | undefined {
  // Closing it would lock out all users.
  if (path === "/" || ((mode & stickyBit) !== 0 && (mode & writableByOthers) !== 0)) {
    return new InvalidConfig(`${path} is shared by all users (mode ${octal(mode)})`, {
      next: { step: "setHome", to: "a folder of its own" },
    });
  }
  if (uid === system.uid) return undefined;
  if (isForeign(uid, system)) {
    return new InvalidConfig(`${path} belongs to another user (uid ${uid}), so nothing in it is used`, {
      next: [ownHome, takeOver(path, system, "if you know everything in it")],
    });
  }
  if ((mode & writableByOthers) === 0) return undefined;
  return new InvalidConfig(`${path} belongs to root and can be written by other users (mode ${octal(mode)})`, {
    next: [runCommand(`sudo chown -R ${system.uid} ${quoted(path)}`), ownHome],
  });
}

/** Rule 3. */
function contentProblem(
  { path: home, facts }: PathStep,
  { isWhole = false, closes = true }: TrustOptions,
  system: HomeSystem,
): InvalidConfig | undefined {
  const isOpen = (facts.mode & anyRightOfOthers) !== 0 && facts.uid === system.uid;
  if (isOpen && !closes && (facts.mode & writableByOthers) !== 0) {
    return new InvalidConfig(`${home} can be written by other users (mode ${octal(facts.mode)})`, {
      next: runCommand(`chmod 700 ${quoted(home)}`),
    });
  }
  if (isOpen && closes) tryClosing(home, system);
  const isDeep = isWhole || isOpen;
  const own = [...(isDeep ? ownFolders : ["run"]), ...(isOpen ? [dataFolder] : [])];
  const waiting = [home, ...own.map((name) => join(home, name)).filter((path) => isSearched(path, system))];
  for (const folder of waiting) {
    for (const name of system.list(folder)) {
      const path = join(folder, name);
      const found = system.look(path);
      if (found === undefined || (!isOpen && path === join(home, dataFolder))) continue;
      if (isForeign(found.uid, system)) return foreignContent(home, path, found.uid, isOpen, system);
      if (found.kind === "folder") {
        // A process that has it open could continue to write there.
        if (closes && found.uid === system.uid && (found.mode & writableByOthers) !== 0) tryClosing(path, system);
        if (isDeep && folder !== home) waiting.push(path);
      } else if (found.kind === "link" && path === join(home, "run")) {
        const problem = judgeHome(path, { closes }, system);
        if (problem !== undefined) return problem;
      }
    }
  }
  return undefined;
}

/** The target of a link is the user's choice, except for the folder that our processes share. */
function isSearched(path: string, system: HomeSystem): boolean {
  const kind = system.look(path)?.kind;
  return kind === "folder" || (kind === "link" && path.endsWith("/run"));
}

function foreignContent(home: string, path: string, uid: number, wasOpen: boolean, system: HomeSystem): InvalidConfig {
  const how = wasOpen ? ", which others could enter until now" : "";
  return new InvalidConfig(`${path} belongs to another user (uid ${uid}), so nothing in ${home} is used${how}`, {
    next: [advice("delete it"), takeOver(path, system, "if you know what is in it")],
  });
}

/** Fails on a read-only disk or one without modes: others can't be kept out, and the content is searched. */
function tryClosing(folder: string, system: HomeSystem): void {
  try {
    system.close(folder);
  } catch {
    // The first write to it fails with the reason.
  }
}

function isForeign(uid: number, system: HomeSystem): boolean {
  return uid !== system.uid && uid !== 0 && uid !== system.unmappedRootUid;
}

const ownHome: NextStep = { step: "setHome", to: "a folder of your own" };

/** Makes everything below `path` this user's, on a condition. */
function takeOver(path: string, system: HomeSystem, condition: string): NextStep {
  return runCommand(`${shell(0, system)}chown -R ${system.uid} ${quoted(path)}`, condition);
}

function runCommand(command: string, condition?: string): NextStep {
  return advice(`${condition === undefined ? "" : `${condition}, `}run \`${command}\``);
}

/** The prefix of a command on a path of that user. */
function shell(owner: number, { uid }: HomeSystem): string {
  return uid === 0 || owner === uid ? "" : "sudo ";
}

function quoted(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(3, "0");
}

/** Undefined on Windows. */
function realSystem() {
  const uid = process.geteuid?.();
  const gid = process.getegid?.();
  if (process.platform === "win32" || uid === undefined || gid === undefined) return undefined;
  return {
    uid,
    gid,
    /** In a user namespace (rootless containers, sandboxes) root's files outside it show this owner. */
    unmappedRootUid: unmappedRoot(),
    /** Without following a link; undefined where nothing exists or is visible. */
    look(path: string): PathFacts | undefined {
      const stats = orUndefined(() => lstatSync(path));
      if (stats === undefined) return undefined;
      const kind = stats.isDirectory() ? "folder" : stats.isSymbolicLink() ? "link" : "other";
      return { uid: stats.uid, gid: stats.gid, mode: stats.mode & 0o7777, kind };
    },
    /** Undefined where it can't be read. */
    readLink: (path: string): string | undefined => orUndefined(() => readlinkSync(path)),
    list: (folder: string): readonly string[] => orUndefined(() => readdirSync(folder)) ?? [],
    /** Makes the folder accessible for its owner only. Throws where modes can't be changed. */
    close: (folder: string): void => chmodSync(folder, 0o700),
  };
}

/** Outside a user namespace the kernel's overflow id is an ordinary user; inside it means every user outside. */
function unmappedRoot(): number | undefined {
  return orUndefined(() => {
    if (lstatSync("/").uid === 0) return undefined;
    const isWholeMap = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
    return isWholeMap ? undefined : Number(readFileSync("/proc/sys/kernel/overflowuid", "utf8"));
  });
}
