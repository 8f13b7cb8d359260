import { lstat, opendir, stat } from "node:fs/promises";
import path from "node:path";
import { LRUCache } from "lru-cache";
import type { Log } from "../api/log.ts";
import type { HideableTool } from "../api/facade-templates.ts";
import type { ProjectFile, ProjectKind } from "../api/types.ts";
import { needsNoApproval } from "../config/profiles.ts";
import { defined, fieldsIn, isRecord } from "../util/values.ts";
import type { Timers } from "../util/timers.ts";
import { type FolderWatch, watchFolder } from "../util/watch-folder.ts";
import {
  type OllmFolder,
  ollmName,
  promptFolders,
  quotedName,
  readOllmFolder,
  readSmall,
  stampOfOllm,
} from "./ollm-folder.ts";
import { type ReadProjectFile, readProjectFile } from "./project-file.ts";
import signTable from "./signs.json" with { type: "json" };

/** The contents of one folder, read once. */
export interface FolderState {
  /** Resolved. */
  readonly folder: string;
  readonly detected?: Detected;
  readonly ollm: OllmFolder;
  readonly read: ReadProjectFile;
  /** The tools that the project hides and that need an approval to be hidden. */
  readonly hidden: readonly string[];
  /** What the user must approve, in a few words. */
  readonly needed?: string;
}

/**
 * Reads a folder; `profiles` are the names of the built-in and the user's profiles, `tools` all tools. Never throws
 * for a folder that exists.
 */
export async function readFolder(
  folder: string,
  profiles: readonly string[],
  tools?: readonly HideableTool[],
): Promise<FolderState> {
  const [listing, ollm] = await Promise.all([listFolder(folder), readOllmFolder(folder)]);
  const detected = detect(listing);
  const { file } = ollm;
  const read =
    file === undefined
      ? { settings: {}, sources: {}, notes: [] }
      : await readProjectFile(
          file.path,
          file.text,
          profiles,
          tools?.map(({ name }) => name),
        );
  const hidden = hiddenTools(read.settings, tools);
  const needed = partsNeeding(read.settings, ollm.templates, hidden);
  return { folder, ollm, read, hidden, ...defined({ detected, needed }) };
}

function hiddenTools({ tools: lists = {} }: ProjectFile, tools: readonly HideableTool[] = []): readonly string[] {
  const { enabled: given, disabled = [] } = lists;
  const enabled = given?.some((name) => tools.some((tool) => tool.name === name)) === true ? given : undefined;
  return tools
    .filter(({ name, set }) => set === "needed" && (disabled.includes(name) || enabled?.includes(name) === false))
    .map(({ name }) => name);
}

/** What needs an approval, in a few words; undefined if nothing does. */
function partsNeeding(settings: ProjectFile, templates: OllmFolder["templates"], tools: readonly string[]) {
  const names = Object.keys(settings.profiles ?? {});
  const asked = askedProfile(settings);
  const parts = [
    ...(settings.systemPrompt === undefined ? [] : ["a system prompt"]),
    ...(settings.model === undefined ? [] : [`a model (${quotedName(settings.model)})`]),
    ...(asked === undefined || names.includes(asked) ? [] : [`a profile (${quotedName(asked)})`]),
    ...(names.length === 0 ? [] : [`profiles (${names.map((name) => quotedName(name)).join(", ")})`]),
    ...promptFolders.flatMap((of) => {
      const { length } = templates.filter(({ kind }) => kind === of);
      return length === 0 ? [] : [length === 1 ? `a ${of.slice(0, -1)}` : of];
    }),
  ];
  if (tools.length > 0) parts.push(`hidden tools (${tools.join(", ")})`);
  return parts.length === 0 ? undefined : parts.join(", ");
}

/** The default profile of the project if it needs an approval. */
export function askedProfile({ routing }: ProjectFile): string | undefined {
  const name = routing?.defaultProfile;
  return name === undefined || needsNoApproval(name) ? undefined : name;
}

/** A check costs more than the rest of a call's overhead. */
const freshMs = 1_000;
/** Far more projects than a user has open. */
const maxFolders = 64;

interface Known {
  readonly state: FolderState;
  readonly stamp: string;
  readonly seenAtMs: number;
}

/** `now` in milliseconds. `onTools` is called when a folder that hides tools is read, or one that hides them no more. */
export function createFolderStates(
  now: () => number,
  profiles: () => readonly string[],
  tools: readonly HideableTool[] | undefined,
  onTools: () => void,
) {
  const known = new LRUCache<string, Known>({ max: maxFolders });
  const looking = new Map<string, Promise<FolderState>>();

  async function look(folder: string, before: Known | undefined): Promise<Known> {
    const seenAtMs = now();
    // Before reading: a change during the read is found by the next check.
    const names = profiles();
    const stamp = `${await stampOf(folder)}\n${names.join(",")}`;
    if (before?.stamp === stamp) return { ...before, seenAtMs };
    const state = await readFolder(folder, names, tools);
    if ([before?.state, state].some((each) => each?.read.settings.tools !== undefined)) onTools();
    return { state, stamp, seenAtMs };
  }

  async function lookOnce(folder: string, before: Known | undefined): Promise<FolderState> {
    const started = look(folder, before).then((seen) => {
      // After `forget`, this state may be out of date.
      if (looking.get(folder) === started) known.set(folder, seen);
      return seen.state;
    });
    looking.set(folder, started);
    try {
      return await started;
    } finally {
      if (looking.get(folder) === started) looking.delete(folder);
    }
  }

  return {
    /** The same object until something in the folder changes; checks the folder at most once a second. */
    async of(folder: string): Promise<FolderState> {
      const before = known.peek(folder);
      if (before !== undefined && Math.abs(now() - before.seenAtMs) < freshMs) return before.state;
      return looking.get(folder) ?? lookOnce(folder, before);
    },
    /** Makes the next `of` read the folder again, even if a read is already running. */
    forget(folder: string) {
      known.delete(folder);
      looking.delete(folder);
    },
  };
}

/** New and deleted names change the folder's own time; contents matter only for `package.json`. */
async function stampOf(folder: string): Promise<string> {
  const paths = [folder, path.join(folder, "package.json")];
  const stamps = await Promise.all(
    paths.map((each) =>
      stat(each, { bigint: true }).then(
        ({ mtimeNs, ino }) => `${mtimeNs} ${ino}`,
        () => "-",
      ),
    ),
  );
  return [...stamps, await stampOfOllm(folder)].join("\n");
}

/** The most recently used projects are watched; changes of others are found by the next call. */
const maxWatches = 16;

/** Notices changes of project files between calls, where the system can watch folders. */
export function createProjectWatches(parts: {
  readonly onChange: (folder: string) => void;
  readonly timers: Timers;
  readonly log: Log;
}) {
  const { timers, log } = parts;
  const watches = new LRUCache<string, readonly FolderWatch[]>({
    max: maxWatches,
    dispose: (all) => all.forEach((watch) => watch.close()),
  });
  let isClosed = false;
  return {
    /** Starts calling `onChange` after changes in `.ollm` of `folder`. */
    watch(folder: string) {
      if (isClosed || watches.has(folder)) return;
      const own = path.join(folder, ollmName);
      const all = [own, ...promptFolders.map((each) => path.join(own, each))].map((each) =>
        watchFolder({ folder: each, onChange: () => parts.onChange(folder), timers, log }),
      );
      watches.set(folder, all);
      for (const watch of all) void watch.adjust();
    },
    close() {
      isClosed = true;
      watches.clear();
    },
  };
}

const maxPackageBytes = 1024 ** 2;

/** Enough to see what a folder is about; a folder may contain millions of files. */
const maxListed = 256;

/** The input of `detect`. Looks up each name, and lists a few files. Reads a `package.json` up to 1 MiB. */
export async function listFolder(folder: string): Promise<FolderListing> {
  const files = new Set<string>();
  const folders = new Set<string>();
  const [, ...sources] = await Promise.all([
    Promise.all(
      signNames.map(async (name) => {
        const found = await lstat(path.join(folder, name)).catch(() => undefined);
        // A link counts as a file; its target is not read.
        if (found?.isFile() === true || found?.isSymbolicLink() === true) files.add(name);
        if (found?.isDirectory() === true) folders.add(name);
      }),
    ),
    sourcesIn(folder),
    sourcesIn(path.join(folder, "src")),
  ]);
  const text = files.has("package.json") ? await packageText(folder) : undefined;
  return { files, folders, ...packageFacts(text), sources: sources.flat() };
}

/** The source files among the first names of a folder; none of one that can't be read, or that is a link. */
async function sourcesIn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  try {
    if (!(await lstat(folder)).isDirectory()) return found;
    let listed = 0;
    for await (const entry of await opendir(folder)) {
      const isSource = Object.values(sourcesOf).some((pattern) => pattern.test(entry.name));
      if (entry.isFile() && isSource) found.push(entry.name);
      listed += 1;
      if (listed === maxListed) break;
    }
  } catch {
    // It went away or may not be read: then it has no evidence.
  }
  return found.toSorted();
}

async function packageText(folder: string): Promise<string | undefined> {
  const read = await readSmall(path.join(folder, "package.json"), folder, maxPackageBytes);
  return "text" in read ? read.text : undefined;
}

/** Accepts workspaces as arrays, and as the object of older Yarn versions. Nothing of a file that is not JSON. */
function packageFacts(text: string | undefined): Pick<FolderListing, "hasWorkspaces" | "dependsOnTypeScript"> {
  const fields = fieldsIn(text ?? "");
  const { workspaces } = fields;
  const list = isRecord(workspaces) ? workspaces["packages"] : workspaces;
  return {
    hasWorkspaces: Array.isArray(list) && list.length > 0,
    dependsOnTypeScript: ["dependencies", "devDependencies", "peerDependencies"].some((key) => {
      const group = fields[key];
      return isRecord(group) && Object.hasOwn(group, "typescript");
    }),
  };
}

/** The input of detection: which of `signNames` the folder contains, what its `package.json` says, and source files. */
interface FolderListing {
  readonly files: ReadonlySet<string>;
  readonly folders: ReadonlySet<string>;
  /** `package.json` declares workspaces. */
  readonly hasWorkspaces: boolean;
  /** `package.json` depends on `typescript`. */
  readonly dependsOnTypeScript?: boolean;
  /** Names of source files, among the first of the folder and of `src`: `main.py`. */
  readonly sources?: readonly string[];
}

interface Detected {
  readonly kind: ProjectKind;
  /** The signs of that kind, strongest first: `workspaces in package.json`. */
  readonly evidence: readonly string[];
}

const signs = signTable as readonly { readonly kind: ProjectKind; readonly files: readonly string[] }[];

const docsFolders = ["docs", "doc"];

/** All file and folder names that are looked for: signs of a kind, and `package.json`, whose text may have one. */
const signNames: readonly string[] = ["package.json", ...signs.flatMap(({ files }) => files), ...docsFolders];

const sourcesOf = { typescript: /(?<!\.d)\.[cm]?tsx?$/, python: /\.py$/ } as const;

/**
 * The kind of a project, from the names in its folder. Of several signs, the first in this table decides:
 *
 * | order | sign                                                               | kind                |
 * |-------|--------------------------------------------------------------------|---------------------|
 * | 1     | `workspaces` in `package.json`, pnpm, lerna, turbo, nx, rush       | typescript-monorepo |
 * | 2     | `Cargo.toml`                                                       | rust                |
 * | 3     | `go.mod`, `go.work`                                                | go                  |
 * | 4     | `tsconfig.json`, `deno.json`                                       | typescript          |
 * | 5     | `pyproject.toml`, `setup.py`, `setup.cfg`, `requirements.txt`, ... | python              |
 * | 6     | `mkdocs.yml`, `docusaurus.config.*`, `book.toml`, `conf.py`        | documentation       |
 * | 7     | `typescript` among the dependencies of `package.json`              | typescript          |
 * | 8     | source files in the folder or in `src`, if most are of one kind    | typescript, python  |
 * | 9     | a folder `docs` and none of the above, and no `package.json`       | documentation       |
 *
 * A `package.json` alone says nothing: Python, Rust and documentation projects have one for their tools, and JavaScript is
 * not TypeScript. Undefined without any sign.
 */
export function detect(listing: FolderListing): Detected | undefined {
  const { files, folders, hasWorkspaces, dependsOnTypeScript = false, sources = [] } = listing;
  const found: { readonly kind: ProjectKind; readonly evidence: string }[] = hasWorkspaces
    ? [{ kind: "typescript-monorepo", evidence: "workspaces in package.json" }]
    : [];
  for (const { kind, files: names } of signs) {
    for (const name of names) if (files.has(name)) found.push({ kind, evidence: name });
  }
  if (dependsOnTypeScript) found.push({ kind: "typescript", evidence: "typescript in package.json" });
  const ofKind = Object.entries(sourcesOf).map(([kind, pattern]) => {
    const names = sources.filter((name) => pattern.test(name));
    return { kind: kind as keyof typeof sourcesOf, count: names.length, evidence: names[0] ?? "" };
  });
  const [most, next] = ofKind.toSorted((a, b) => b.count - a.count);
  if (most !== undefined && most.count > (next?.count ?? 0)) found.push({ kind: most.kind, evidence: most.evidence });
  if (!files.has("package.json")) {
    for (const name of docsFolders) if (folders.has(name)) found.push({ kind: "documentation", evidence: `${name}/` });
  }
  const [first] = found;
  if (first === undefined) return undefined;
  // In a monorepo, other signs of TypeScript support the same kind.
  const isOwn = (kind: ProjectKind): boolean =>
    kind === first.kind || (first.kind === "typescript-monorepo" && kind === "typescript");
  return { kind: first.kind, evidence: found.filter(({ kind }) => isOwn(kind)).map(({ evidence }) => evidence) };
}
