import { OrchestratorError, undefinedIf } from "../../orchestrator/api/errors.ts";
import { type NextStep, advice } from "../../orchestrator/api/next-step.ts";
import {
  BrokenConfig,
  ChangedMeanwhile,
  type ConfigFile,
  assertWritable,
  backupsOf,
  bytesOf,
  readConfigFile,
  replaceConfigFile,
} from "./config-file.ts";
import type { ClientTarget } from "./clients.ts";
import { type EntryLocation, addEntry, changeEntry, hasContainer, readEntry, removeEntry } from "./document.ts";
import { type Launch, type Program, createLaunch, entryChanges, entryName, isOurEntry } from "./launch.ts";

/** What setup would change in one file. Planning writes nothing. */
export type AddPlan =
  | { readonly kind: "same"; readonly target: ClientTarget; readonly launch: Launch }
  | {
      readonly kind: "change";
      readonly target: ClientTarget;
      readonly launch: Launch;
      readonly file: ConfigFile;
      readonly text: string;
    }
  | Problem<ClientTarget>;

/** A file that setup writes for a client: its settings, or the guide. */
export type FileTarget = Pick<ClientTarget, "client" | "file">;

/** What removing an entry or a guide would change in one file. */
export type RemovePlan =
  | { readonly kind: "absent"; readonly target: FileTarget }
  | {
      readonly kind: "change";
      readonly target: FileTarget;
      readonly file: ConfigFile;
      readonly text: string;
      /** The new content; undefined removes the file, which setup created. */
      readonly bytes: Buffer | undefined;
      /** Backups that are not needed afterwards. */
      readonly obsolete: readonly string[];
      /** Folders that setup may have created; removed if they are empty then, the first one first. */
      readonly folders?: readonly string[];
      /** Plans it again, for a file that another program has written. */
      replan(): Promise<RemovePlan>;
    }
  | Problem;

export interface Problem<Target extends FileTarget = FileTarget> {
  readonly kind: "problem";
  readonly target: Target;
  /** Names the file and, if it can't be parsed, line and column. */
  readonly message: string;
  readonly next: readonly NextStep[];
}

export function entryLocation({ client }: ClientTarget): EntryLocation {
  return { format: client.format, container: client.container, name: entryName };
}

/** The ollm entry that a client has; undefined if it has none or its file can't be read, which planning reports. */
export async function currentEntry(target: ClientTarget): Promise<Readonly<Record<string, unknown>> | undefined> {
  const entry = await readConfigFile(target.file)
    .then(({ text }) => readEntry(text, entryLocation(target)))
    .catch(undefinedIf(OrchestratorError));
  return entry !== undefined && isOurEntry(entry) ? entry : undefined;
}

/** Plans to add or update the entry. `roots` are added to the folders of an existing entry. */
export async function planAdd(
  target: ClientTarget,
  program: Program,
  roots: readonly string[] | undefined,
): Promise<AddPlan> {
  return orProblem(target, async () => {
    const file = await readConfigFile(target.file);
    const location = entryLocation(target);
    const existing = readEntry(file.text, location);
    if (existing !== undefined && !isOurEntry(existing)) {
      return {
        kind: "problem",
        target,
        message: `${target.file}: the entry "${entryName}" starts another program`,
        next: [advice("rename that entry")],
      };
    }
    const launch = createLaunch(program, roots, existing);
    if (existing === undefined) {
      await assertWritable(file);
      return { kind: "change", target, launch, file, text: addEntry(file.text, location, target.client.entry(launch)) };
    }
    const changes = entryChanges(existing, launch, target.client.entry(launch));
    if (Object.keys(changes).length === 0) return { kind: "same", target, launch };
    await assertWritable(file);
    return { kind: "change", target, launch, file, text: changeEntry(file.text, location, changes) };
  });
}

/**
 * Plans to remove the entry. If only setup has changed the file, its earlier content is restored from the backup, byte for
 * byte; otherwise only the entry is removed.
 */
export async function planRemove(target: ClientTarget): Promise<RemovePlan> {
  return orProblem(target, async () => {
    const file = await readConfigFile(target.file);
    const location = entryLocation(target);
    // Without the name there is no entry, whether the file can be parsed or not.
    if (!file.text.includes(entryName)) return { kind: "absent", target };
    const entry = readEntry(file.text, location);
    if (entry === undefined || !isOurEntry(entry)) return { kind: "absent", target };
    await assertWritable(file);
    const replan = (): Promise<RemovePlan> => planRemove(target);
    const backups = await backupsOf(file);
    let hadContainer: boolean | undefined;
    for (const [index, name] of backups.entries()) {
      const before = await readBackup(name, location);
      if (before === undefined || before.hasEntry) continue;
      hadContainer ??= before.hasContainer;
      if (textWith(before.file.text, location, entry) !== file.text) continue;
      return {
        kind: "change",
        target,
        file,
        text: before.file.text,
        bytes: before.file.bytes,
        obsolete: backups.slice(0, index + 1),
        replan,
      };
    }
    if (backups.length === 0 && textWith("", location, entry) === file.text) {
      return { kind: "change", target, file, text: "", bytes: undefined, obsolete: [], replan };
    }
    const text = removeEntry(file.text, location, hadContainer === false);
    return { kind: "change", target, file, text, bytes: bytesOf(file, text), obsolete: [], replan };
  });
}

/** A change that was made, and the path of the backup; undefined if there was no file. */
export interface Written<Change> {
  readonly plan: Change;
  readonly backup: string | undefined;
}

/**
 * Writes a change. If the client has written its file in the meantime, the change is planned anew for the new content;
 * undefined if that needs none.
 */
export async function writeChange<
  Change extends { readonly kind: "change"; readonly file: ConfigFile; readonly text: string },
>(
  plan: Change,
  replan: () => Promise<Change | { readonly kind: "same" | "left" | "problem" }>,
  now: Date,
): Promise<Written<Change> | undefined> {
  try {
    return { plan, backup: await replaceConfigFile(plan.file, plan.text, now) };
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile)) throw error;
    const fresh = await replan();
    // The files of two clients are the same by a link, and the first client's was written.
    if (fresh.kind === "same") return undefined;
    if (fresh.kind !== "change") throw error;
    return { plan: fresh, backup: await replaceConfigFile(fresh.file, fresh.text, now) };
  }
}

/** Undefined for a backup that can't be read, as it was changed: it is not restored. */
async function readBackup(name: string, location: EntryLocation) {
  return readConfigFile(name)
    .then((file) => ({
      file,
      hasEntry: readEntry(file.text, location) !== undefined,
      hasContainer: hasContainer(file.text, location),
    }))
    .catch(undefinedIf(OrchestratorError));
}

function textWith(text: string, location: EntryLocation, entry: Readonly<Record<string, unknown>>): string | undefined {
  try {
    return addEntry(text, location, entry);
  } catch (error) {
    if (error instanceof OrchestratorError) return undefined;
    throw error;
  }
}

export async function orProblem<Plan, Target extends FileTarget>(
  target: Target,
  work: () => Promise<Plan>,
): Promise<Plan | Problem<Target>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RangeError) {
      return { kind: "problem", target, message: `${target.file} is nested too deeply`, next: [] };
    }
    if (!(error instanceof OrchestratorError)) throw error;
    const { message, next } = error;
    const where =
      error instanceof BrokenConfig ? `${target.file}:${error.position.line}:${error.position.column}: ` : "";
    return { kind: "problem", target, message: where + message, next };
  }
}
