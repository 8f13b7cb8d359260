import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readdir, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { invisible } from "../util/control-characters.ts";
import { maxProjectBytes } from "./project-file.ts";
import { readUpTo } from "../storage/replace-file.ts";
import { isPromptFile, isWithin } from "../util/file-name.ts";
import { shortened } from "../util/format-bytes.ts";
import { codeOf, isMissing } from "../util/values.ts";

/** The folder of a project that contains its settings. */
export const ollmName = ".ollm";
export const projectFileName = "project.yaml";
/** The folders in it that contain prompts. */
export const promptFolders = ["templates", "pipelines"] as const;
/** Templates beyond these are not read, and so never approved. */
const maxTemplates = 500;
const maxTemplateBytes = 256 * 1024;
/** At most this many files that can't be read are named. */
const maxUnread = 10;

/** `.ollm` of one project, read once: the same bytes are checked, shown, hashed and used. */
export interface OllmFolder {
  /** `.ollm/project.yaml`, absolute. */
  readonly file?: { readonly path: string; readonly text: string };
  /** `.ollm/templates`, absolute. */
  readonly templatesFolder?: string;
  readonly pipelinesFolder?: string;
  /** The files of both. */
  readonly templates: readonly {
    readonly path: string;
    readonly kind: (typeof promptFolders)[number];
    readonly name: string;
    readonly sha256: string;
  }[];
  /** sha256 (hex) of all names and content hashes; undefined when there is nothing to approve. */
  readonly digest?: string;
  /** What is not used, and why: one sentence each. */
  readonly notes: readonly string[];
}

/** Reads `.ollm` of `folder` (resolved), up to fixed limits and never through a link out of the project. Never throws. */
export async function readOllmFolder(folder: string): Promise<OllmFolder> {
  const own = path.join(folder, ollmName);
  const notes: string[] = [];
  let unread = 0;
  const nothing = (note?: string): OllmFolder => ({ templates: [], notes: note === undefined ? [] : [note] });
  const real = await realpath(own).catch(() => undefined);
  if (real === undefined) return nothing();
  if (!isWithin(folder, real)) return nothing(`${own} ${outside}; it is not used`);

  const file = path.join(own, projectFileName);
  const read = await readSmall(file, folder, maxProjectBytes);
  if ("problem" in read) notes.push(`${file} ${read.problem}; it is not used`);

  const templates = [];
  const folders: Partial<Record<`${(typeof promptFolders)[number]}Folder`, string>> = {};
  for (const kind of promptFolders) {
    const inside = path.join(own, kind);
    const found = await templateFiles(inside, folder);
    if ("problem" in found) notes.push(`${inside} ${found.problem}; it is not used`);
    if (!("names" in found)) continue;
    const { names } = found;
    folders[`${kind}Folder`] = inside;
    if (names.length > maxTemplates) {
      notes.push(`${inside} contains ${names.length} ${kind}; only the first ${maxTemplates} are used`);
    }
    for (const name of names.slice(0, maxTemplates)) {
      const template = path.join(inside, name);
      const content = await readSmall(template, folder, maxTemplateBytes);
      if ("text" in content) templates.push({ path: template, kind, name, sha256: content.sha256 });
      else if ("problem" in content) {
        unread += 1;
        if (unread <= maxUnread) notes.push(`${oneLine(template)} ${content.problem}; it is not used`);
      }
    }
  }
  if (unread > maxUnread) notes.push(`${unread - maxUnread} more files in ${own} are not used`);
  const project = "text" in read ? read : undefined;
  return {
    ...(project && { file: { path: file, text: project.text } }),
    ...folders,
    templates,
    ...((project || templates.length > 0) && { digest: digestOf(project?.sha256, templates) }),
    notes,
  };
}

/** A file of `.ollm` written by ollm; `file` is absolute. */
export interface WrittenFile {
  readonly file: string;
  readonly text: string;
}

/** Whether `after` equals `before` except for this file. */
export function differsOnlyBy({ file, text }: WrittenFile, before: OllmFolder, after: OllmFolder): boolean {
  const contents = ({ file: project, templates }: OllmFolder): ReadonlyMap<string, string> =>
    new Map([
      ...(project === undefined ? [] : [[project.path, sha256Of(project.text)] as const]),
      ...templates.map((template) => [template.path, template.sha256] as const),
    ]);
  const expected = new Map([...contents(before), [file, sha256Of(text)]]);
  const found = contents(after);
  return found.size === expected.size && [...expected].every(([each, sha256]) => found.get(each) === sha256);
}

/** A text that changes whenever the files that `readOllmFolder` reads do. */
export async function stampOfOllm(folder: string): Promise<string> {
  const own = path.join(folder, ollmName);
  const inside = promptFolders.map((kind) => path.join(own, kind));
  const files = await Promise.all(
    inside.map(async (each) =>
      (await readdir(each).catch(() => []))
        .filter(isPromptFile)
        .toSorted()
        .slice(0, maxTemplates + 1)
        .map((name) => path.join(each, name)),
    ),
  );
  const paths = [own, path.join(own, projectFileName), ...inside, ...files.flat()];
  const stamps = await Promise.all(
    paths.map(async (file) => {
      const found = await stat(file, { bigint: true }).catch(() => undefined);
      // Not a folder's times, which change with every file in it.
      if (found === undefined) return "-";
      return found.isDirectory() ? `${found.ino}` : `${found.mtimeNs} ${found.ctimeNs} ${found.size} ${found.ino}`;
    }),
  );
  return [...stamps, ...files.flat()].join("\n");
}

async function templateFiles(
  folder: string,
  project: string,
): Promise<{ readonly names: readonly string[] } | { readonly missing: true } | { readonly problem: string }> {
  try {
    const real = await realpath(folder);
    if (!isWithin(project, real)) return { problem: outside };
    return { names: (await readdir(real)).filter(isPromptFile).toSorted() };
  } catch (error) {
    return notRead(error);
  }
}

const notRead = (error: unknown): { readonly missing: true } | { readonly problem: string } =>
  isMissing(error) ? { missing: true } : { problem: `can't be read (${codeOf(error) ?? String(error)})` };

function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function digestOf(project: string | undefined, templates: OllmFolder["templates"]): string {
  const parts = templates.map(({ kind, name, sha256 }) => [`${kind}/${name}`, sha256]);
  const all = project === undefined ? parts : [[projectFileName, project], ...parts];
  return createHash("sha256").update(JSON.stringify(all)).digest("hex");
}

/** A problem of a file, which follows its name. */
const outside = "is a link out of the project";

/**
 * The text of a regular file of at most `maxBytes` inside `folder` (resolved), read once. Follows links inside the folder
 * only.
 */
export async function readSmall(
  file: string,
  folder: string,
  maxBytes: number,
): Promise<
  { readonly text: string; readonly sha256: string } | { readonly missing: true } | { readonly problem: string }
> {
  let handle: FileHandle | undefined;
  try {
    const real = await realpath(file);
    if (!isWithin(folder, real)) return { problem: outside };
    // Before opening: opening a device can have effects, and a FIFO would wait for a writer.
    if (!(await stat(real)).isFile()) return { problem: "is not a regular file" };
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);
    handle = await open(real, flags);
    if (!(await handle.stat()).isFile()) return { problem: "is not a regular file" };
    const content = await readUpTo(handle, maxBytes);
    if (content === undefined) return { problem: `is larger than ${maxBytes} bytes` };
    return { text: content.toString("utf8"), sha256: createHash("sha256").update(content).digest("hex") };
  } catch (error) {
    return notRead(error);
  } finally {
    await handle?.close();
  }
}

/** The text with U+FFFD for characters that move a cursor, change the writing direction or are invisible. */
export function oneLine(text: string): string {
  return text.replaceAll("\t", "    ").replaceAll(invisible, "\u{FFFD}");
}

/** A name from a project for use in a sentence: shortened, and quoted unless it is plain. */
export function quotedName(name: string): string {
  const short = shortened(name, 80);
  return /^[\w.:/@+-]+$/.test(short) ? short : JSON.stringify(oneLine(short));
}
