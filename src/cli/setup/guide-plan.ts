import { existsSync } from "node:fs";
import path from "node:path";
import { advice } from "../../orchestrator/api/next-step.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { assertWritable, backupsOf, bytesOf, readConfigFile, type ConfigFile } from "./config-file.ts";
import type { ClientTarget } from "./discover.ts";
import { guideState, withGuide, withoutGuide, type GuideForm } from "./guide-text.ts";
import { orProblem, type FileTarget, type Problem, type RemovePlan } from "./plan.ts";
import { clientTable, type Client, type ClientFacts, type GuidePlace } from "./table.ts";

/** A file in which a client reads the guide. */
export interface GuideTarget extends FileTarget {
  readonly form: GuideForm;
  /** The client ignores the rest of a longer file. */
  readonly maxCharacters?: number | undefined;
}

/** What setup would change in one file. Planning writes nothing. */
export type GuidePlan =
  | { readonly kind: "same"; readonly target: GuideTarget }
  /** The user has edited the guide, or has a file of that name. */
  | { readonly kind: "left"; readonly target: GuideTarget }
  | {
      readonly kind: "change";
      readonly target: GuideTarget;
      readonly file: ConfigFile;
      readonly text: string;
      /** Replaces a guide that setup has written. */
      readonly isUpdate: boolean;
    }
  | Problem<GuideTarget>;

/** Where the guide of these clients goes: files to write, and for other clients what completes "paste it into". */
export async function guidePlaces(targets: readonly ClientTarget[]): Promise<{
  readonly files: readonly GuideTarget[];
  readonly pastes: ReadonlyMap<Client, string>;
}> {
  const files: GuideTarget[] = [];
  const pastes = new Map<Client, string>();
  for (const { client, file } of targets) {
    const guide = client.locations.find((location) => location.file === file)?.guide;
    if (guide?.kind === "paste") pastes.set(client, guide.where);
    else if (guide !== undefined) files.push(...(await fileInUse(guideFiles(client, guide))));
  }
  return { files: onceEachFile(files), pastes };
}

/** Every existing file that may contain a guide; with `ids`, those of these clients. */
export function existingGuides(
  facts: ClientFacts,
  ids: readonly string[],
  exists: (path: string) => boolean = existsSync,
): readonly GuideTarget[] {
  const clients = clientTable(facts).filter(({ id }) => ids.length === 0 || ids.includes(id));
  const files = clients.flatMap((client) => client.locations.flatMap(({ guide }) => guideFiles(client, guide)));
  return onceEachFile(files).filter(({ file }) => exists(file));
}

/** Plans to add or update the guide. */
export async function planAddGuide(target: GuideTarget): Promise<GuidePlan> {
  return orProblem(target, async (): Promise<GuidePlan> => {
    const file = await readConfigFile(target.file);
    const state = guideState(file.text, target.form);
    if (state === "current") return { kind: "same", target };
    if (state === "changed" || state === "foreign") return { kind: "left", target };
    await assertWritable(file);
    const text = withGuide(file.text, target.form);
    const { maxCharacters = Number.POSITIVE_INFINITY } = target;
    if (text.length > maxCharacters) {
      const read = `${target.client.name} reads only ${maxCharacters}`;
      throw new InvalidRequest(`${target.file} would have ${text.length} characters, and ${read}`, {
        next: advice("shorten that file"),
      });
    }
    return { kind: "change", target, file, text, isUpdate: state === "older" };
  });
}

/** Plans to remove the guide. All other bytes of the file are kept, and a file that setup created is removed. */
export async function planRemoveGuide(target: GuideTarget): Promise<RemovePlan> {
  return orProblem(target, async (): Promise<RemovePlan> => {
    const { form } = target;
    const file = await readConfigFile(target.file);
    const state = guideState(file.text, form);
    if (state === "absent" || state === "foreign") return { kind: "absent", target };
    if (state === "changed") {
      throw new InvalidRequest(`${target.file}: the guide was edited`, { next: advice("remove it by hand") });
    }
    await assertWritable(file);
    const text = withoutGuide(file.text, form);
    const backups = await Promise.all((await backupsOf(file)).map((name) => readBackup(name, form)));
    const same = backups.flatMap((backup) => (backup?.without === text ? [backup] : []));
    const wasThere = text !== "" || same.some(({ isAbsent }) => isAbsent);
    return {
      kind: "change",
      target,
      file,
      text,
      bytes: wasThere ? bytesOf(file, text) : undefined,
      obsolete: same.map(({ name }) => name),
      folders: wasThere ? [] : ownFolders(target),
      replan: () => planRemoveGuide(target),
    };
  });
}

/** The folders of a guide's file, up to one by which its client is found. */
function ownFolders({ client, file }: GuideTarget): readonly string[] {
  const signs = client.locations.flatMap((location) => location.signs);
  const folder = path.dirname(file);
  const parents = [folder, path.dirname(folder)];
  const sign = parents.findIndex((parent) => signs.includes(parent));
  return sign === -1 ? parents : parents.slice(0, sign);
}

/** A backup without the guide; undefined if it can't be read or its guide was edited. */
async function readBackup(
  name: string,
  form: GuideForm,
): Promise<{ readonly name: string; readonly without: string; readonly isAbsent: boolean } | undefined> {
  const text = await readConfigFile(name).then(
    (file) => file.text,
    () => undefined,
  );
  const state = text === undefined ? "changed" : guideState(text, form);
  if (text === undefined || state === "changed") return undefined;
  const isAbsent = state === "absent" || state === "foreign";
  return { name, without: isAbsent ? text : withoutGuide(text, form), isAbsent };
}

/** In the order in which the client looks for them. */
function guideFiles(client: Client, guide: GuidePlace): readonly GuideTarget[] {
  if (guide.kind === "paste") return [];
  if (guide.kind !== "section") return [{ client, file: guide.file, form: guide.kind }];
  const { file, override, maxCharacters } = guide;
  const names = override === undefined ? [file] : [override, file];
  return names.map((name) => ({ client, file: name, form: "section", maxCharacters }));
}

/** The first file with text, which is the only one that the client reads; the last one if none has any. */
async function fileInUse(targets: readonly GuideTarget[]): Promise<readonly GuideTarget[]> {
  for (const target of targets.slice(0, -1)) {
    // A file that can't be read counts, and planning reports it.
    const text = await readConfigFile(target.file).then(
      (file) => file.text,
      () => "unreadable",
    );
    if (text.trim() !== "") return [target];
  }
  return targets.slice(-1);
}

function onceEachFile(targets: readonly GuideTarget[]): readonly GuideTarget[] {
  return targets.filter((target, index) => targets.findIndex(({ file }) => file === target.file) === index);
}
