import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidConfig } from "../orchestrator/errors.ts";
import { advice, type NextStep } from "../orchestrator/next-step.ts";

/** What decides about a file or folder. */
export interface PathFacts {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits with the sticky bit. */
  readonly mode: number;
  readonly kind: "folder" | "link" | "other";
}

/** The user that asks, and how the file system is reached; tests hand in their own. */
export interface HomeSystem {
  readonly uid: number;
  readonly gid: number;
  /** In a user namespace (containers without root, sandboxes) root's files outside show this owner. */
  readonly unmappedRootUid: number | undefined;
  /** Without following a link; undefined where there is nothing, or nothing that we may see. */
  look(path: string): PathFacts | undefined;
  /** Undefined where it can't be read. */
  readLink(path: string): string | undefined;
  list(folder: string): readonly string[];
  /** Throws where modes can't be changed. */
  close(folder: string): void;
}

export interface TrustOptions {
  /** Looks at every file of ours; else at the home's own and those of `run/`, and at all only if others could get in. */
  readonly isWhole?: boolean;
  /** Takes other users' rights away from folders of our own (default); without, such a home counts as refused. */
  readonly closes?: boolean;
}

const writableByOthers = 0o022;
const anyRightOfOthers = 0o077;
const stickyBit = 0o1000;
const maxLinks = 40;
/** What we make in a home; nothing else is searched, in case a user's whole home folder serves as ours. */
const ownFolders: readonly string[] = ["app", "engines", "jobs", "logs", "run", "templates"];
/** Nothing in it is run or obeyed, and an Ollama server's own may be mounted there. */
const dataFolder = "models";

/**
 * Throws `InvalidConfig` that names the path and the command that mends it, unless only this user (and root) could have
 * put anything into `home`. Called before anything in a home is read, run or connected to:
 *
 * 1. Every folder and link on the way must belong to us or root, and be writable by no one else: another user could put
 *    another folder in the home's place. Sticky folders (`/tmp`) are safe, and so is a group of our own.
 * 2. The home is ours. Root's will do if others can't write to it: images bring read-only homes along.
 * 3. A home of ours that others may enter is closed (0700) first, then searched for files of other users.
 *
 * A home that isn't there yet is trusted as far as it exists. Windows has no such modes; the profile protects it there.
 */
export function requireTrustedHome(home: string, options: TrustOptions = {}): void {
  const problem = homeProblem(home, options);
  if (problem !== undefined) throw problem;
}

/** The same as a value. */
export function homeProblem(home: string, options: TrustOptions = {}): InvalidConfig | undefined {
  const system = realSystem();
  return system && judgeHome(home, options, system);
}

/** The same for any file system, whose folders it may close. */
export function judgeHome(home: string, options: TrustOptions, system: HomeSystem): InvalidConfig | undefined {
  const { passed, end } = walk(resolve(home), system);
  for (const step of passed) {
    const problem = pathProblem(step, home, system);
    if (problem !== undefined) return problem;
  }
  // What isn't there, is no folder or can't be seen can't be used either: making it fails, or it is looked at again.
  if (end?.facts.kind !== "folder") return undefined;
  return ownerProblem(end, system) ?? contentProblem(end, options, system);
}

interface PathStep {
  readonly path: string;
  readonly facts: PathFacts;
}

/** Every folder and link that leads to `path`, and what it leads to: `end` is undefined where that isn't there. */
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

/** 1. */
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
  // A group with the user's own number has no other member; that of root (0) has root's trust.
  const isOwnGroup = gid === 0 || (gid === system.gid && gid === system.uid);
  if ((mode & (isOwnGroup ? 0o002 : writableByOthers)) === 0) return undefined;
  return new InvalidConfig(`${path} can be written by other users (mode ${octal(mode)}), who could replace ${home}`, {
    next: [runCommand(`${shell(uid, system)}chmod ${isOwnGroup ? "o-w" : "go-w"} ${quoted(path)}`), elsewhere],
  });
}

/** 2. */
function ownerProblem({ path, facts: { uid, mode } }: PathStep, system: HomeSystem): InvalidConfig | undefined {
  // Closing it would shut all users out.
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

/** 3. */
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
        // One that is in it already could go on writing there.
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

/** What a link of ours leads to is the user's choice, but for where our processes meet. */
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

/** A read-only disk, or one without modes, keeps them: others can't be kept out then, and what is there is searched. */
function tryClosing(folder: string, system: HomeSystem): void {
  try {
    system.close(folder);
  } catch {
    // The first write there fails with the reason.
  }
}

function isForeign(uid: number, system: HomeSystem): boolean {
  return uid !== system.uid && uid !== 0 && uid !== system.unmappedRootUid;
}

const ownHome: NextStep = { step: "setHome", to: "a folder of your own" };

/** Makes all below `path` this user's, on a condition. */
function takeOver(path: string, system: HomeSystem, condition: string): NextStep {
  return runCommand(`${shell(0, system)}chown -R ${system.uid} ${quoted(path)}`, condition);
}

function runCommand(command: string, condition?: string): NextStep {
  return advice(`${condition === undefined ? "" : `${condition}, `}run \`${command}\``);
}

/** What a command on a path of that owner has to begin with. */
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
function realSystem(): HomeSystem | undefined {
  const uid = process.geteuid?.();
  const gid = process.getegid?.();
  if (process.platform === "win32" || uid === undefined || gid === undefined) return undefined;
  return {
    uid,
    gid,
    unmappedRootUid: unmappedRoot(),
    look(path) {
      try {
        const stats = lstatSync(path);
        const kind = stats.isDirectory() ? "folder" : stats.isSymbolicLink() ? "link" : "other";
        return { uid: stats.uid, gid: stats.gid, mode: stats.mode & 0o7777, kind };
      } catch {
        return undefined;
      }
    },
    readLink(path) {
      try {
        return readlinkSync(path);
      } catch {
        return undefined;
      }
    },
    list(folder) {
      try {
        return readdirSync(folder);
      } catch {
        return [];
      }
    },
    close: (folder) => chmodSync(folder, 0o700),
  };
}

/** The kernel's overflow id stands for all users outside a user namespace, root among them; elsewhere it is a user. */
function unmappedRoot(): number | undefined {
  try {
    if (lstatSync("/").uid === 0) return undefined;
    const isWholeMap = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
    return isWholeMap ? undefined : Number(readFileSync("/proc/sys/kernel/overflowuid", "utf8"));
  } catch {
    return undefined;
  }
}
