import { realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { build } from "../../version.ts";
import { checkLaunch, type LaunchCheck } from "../hosts/check-launch.ts";
import { ChangedMeanwhile, replaceConfigFile, restoreConfigFile } from "../hosts/config-file.ts";
import { allTargets, findTargets, gatherFacts, type HostTarget } from "../hosts/discover.ts";
import { checkFolders } from "../hosts/folders.ts";
import { allowedFolders, createLaunch, entryName, type Launch, type Program } from "../hosts/launch.ts";
import { currentEntry, placeOf, planAdd, type AddPlan } from "../hosts/plan.ts";
import { copyProgram, isTransient, lastingNode, lastingScript } from "../hosts/program-files.ts";
import { isYes, removeEntries, removeEntryOf } from "../hosts/remove-entries.ts";
import { showDiff } from "../hosts/show-diff.ts";
import { hostTable } from "../hosts/table.ts";
import { addEntry, readEntry } from "../hosts/document.ts";
import type { CommandIo } from "./io.ts";

/** Of `ollm setup`, under the names of its flags. */
export interface SetupOptions {
  /** Hosts; without any, all that are found. */
  readonly client?: readonly string[] | undefined;
  /** Folders to allow. */
  readonly root?: readonly string[] | undefined;
  /** Shows what would be written. */
  readonly print?: boolean | undefined;
  /** Takes the entry out again. */
  readonly undo?: boolean | undefined;
  /** Asks nothing. */
  readonly yes?: boolean | undefined;
  /** Says how to install the embedded engine now. */
  readonly engine?: boolean | undefined;
}

/** What tests replace. */
export interface SetupWorld {
  now(): Date;
  /** Starts the entry as its host would. */
  check(launch: Launch): Promise<LaunchCheck>;
  /** Names the copy of the program that hosts start. */
  readonly build: string;
  /** Programs in these are gone tomorrow. */
  readonly temporaryFolders: readonly string[];
}

type Change = Extract<AddPlan, { kind: "change" }>;

function realWorld(io: CommandIo): SetupWorld {
  const folders = io.platform === "win32" ? [tmpdir()] : [tmpdir(), "/tmp", "/var/tmp"];
  return {
    now: () => new Date(),
    check: (launch) => checkLaunch(launch, io),
    build,
    temporaryFolders: [...folders, ...folders.flatMap(realFolder)],
  };
}

/**
 * `ollm setup`: writes our entry into the files of the hosts of this machine. Answers 0 when every host starts us, 1 when
 * one does not, 2 when somebody has to say something first. Throws `OrchestratorError` for wrong arguments.
 */
export async function setup(options: SetupOptions, io: CommandIo, world: SetupWorld = realWorld(io)): Promise<number> {
  const facts = gatherFacts(io);
  const clients = options.client ?? [];
  if (options.undo === true) {
    const targets = clients.length === 0 ? allTargets(facts) : findTargets(facts, clients);
    return removeEntries(targets, options, io);
  }
  const found = findTargets(facts, clients);
  const given = options.root === undefined ? undefined : checkFolders(options.root, io);
  const { program, copyFrom } = chooseProgram(io, world);
  const again = isTransient(realFolder(io.script)[0] ?? io.script, world.temporaryFolders) ? "npx -y ollm-mcp" : "ollm";
  if (found.length === 0) {
    io.stdout(nothingFound(facts, program, given ?? []));
    return options.print === true ? 0 : 1;
  }

  const isAsking = io.isTerminal && options.yes !== true && options.print !== true;
  // Nobody is asked twice: what is set up already only gets what is new.
  const isNew = isAsking && (await Promise.all(found.map(currentEntry))).includes(undefined);
  const targets = isNew && clients.length === 0 ? await pickHosts(found, io) : found;
  const roots = given ?? (isNew ? await askForFolders(io) : undefined);
  const plans = await Promise.all(targets.map((target) => planAdd(target, program, roots)));
  const changes = plans.filter((plan) => plan.kind === "change");
  for (const plan of plans) {
    // Told with what its check gives, unless there is none.
    if (plan.kind !== "same" || options.print === true) io.stdout(describe(plan));
  }
  const problems = plans.filter((plan) => plan.kind === "problem");
  if (options.print === true) return problems.length > 0 ? 1 : 0;

  if (changes.length > 0 && options.yes !== true) {
    if (!io.isTerminal) {
      io.stderr("Nothing was changed: nobody can answer here. Add --yes to write this.\n");
      return 2;
    }
    if (!isYes(await io.ask(`Write ${changes.length === 1 ? "this change" : "these changes"}? [y/N] `))) {
      io.stdout("Nothing was changed.\n");
      return problems.length > 0 ? 1 : 0;
    }
  }

  if (copyFrom !== undefined && problems.length < plans.length) {
    await copyProgram(copyFrom, program.script);
    io.stdout(
      `Copied the program to ${program.script}: where it runs now may be cleared. Set-up run again renews it.\n`,
    );
  }
  let failures = problems.length;
  const checked = { now: world.now, check: onceEach(world.check) };
  for (const plan of plans) {
    if (plan.kind === "problem") continue;
    if (!(await apply(plan, () => planAdd(plan.target, program, roots), checked, io))) failures += 1;
  }
  io.stdout(closing(plans, again, options.engine === true));
  return failures > 0 ? 1 : 0;
}

function chooseProgram(
  io: CommandIo,
  world: SetupWorld,
): { readonly program: Program; readonly copyFrom: string | undefined } {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  const isDefaultHome = home === resolveHome({}, io.userHome, io.workingDirectory);
  const { script, copyFrom } = lastingScript({ ...world, script: io.script, home });
  return { program: { node: lastingNode(io), script, ...(!isDefaultHome && { home }) }, copyFrom };
}

/** The hosts that somebody names by number or id; all of them without an answer. */
async function pickHosts(found: readonly HostTarget[], io: CommandIo): Promise<readonly HostTarget[]> {
  const hosts = [...new Map(found.map(({ host }) => [host.id, host])).values()];
  if (hosts.length < 2) return found;
  const list = hosts.map(({ name }, index) => `  ${index + 1}  ${name}`);
  io.stdout(`Found on this machine:\n${list.join("\n")}\n`);
  for (;;) {
    const answer = await io.ask("Which of them? (numbers with commas; empty for all) ");
    const words = answer.split(/[\s,]+/).filter((word) => word !== "");
    const picked = words.map((word) => hosts[Number(word) - 1]?.id ?? hosts.find(({ id }) => id === word)?.id);
    if (words.length === 0) return found;
    if (!picked.includes(undefined)) return found.filter(({ host }) => picked.includes(host.id));
    io.stderr(`Numbers from 1 to ${hosts.length}, please.\n`);
  }
}

/** Undefined keeps what entries allow already. */
async function askForFolders(io: CommandIo): Promise<readonly string[] | undefined> {
  for (;;) {
    const answer = await io.ask(
      "Folder whose files local models may read and write, for example ~/Documents (several with commas; empty for none): ",
    );
    if (answer === "") return undefined;
    try {
      return checkFolders([answer], io);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      io.stderr(`${error.message}; ${error.hint ?? ""}\n`);
    }
  }
}

function describe(plan: AddPlan): string {
  const { host, file, isFound } = plan.target;
  const title = `${host.name}  ${file}\n`;
  if (plan.kind === "same") return `${title}  already set up\n`;
  if (plan.kind === "problem") {
    return `${title}  ✗ ${plan.message}; it is left as it is\n${plan.hint === undefined ? "" : `    ${plan.hint}\n`}`;
  }
  const note = isFound ? "" : `  ${host.name} was not found here; the file is written all the same\n`;
  return title + note + showDiff(file, plan.file.text, plan.text);
}

/** Writes, starts the entry as the host would, and takes the change back when that fails. */
async function apply(
  plan: Exclude<AddPlan, { kind: "problem" }>,
  replan: () => Promise<AddPlan>,
  world: Pick<SetupWorld, "check" | "now">,
  io: CommandIo,
): Promise<boolean> {
  const { host, file } = plan.target;
  try {
    const written = plan.kind === "change" ? await write(plan, replan, world.now()) : undefined;
    const result = await world.check(plan.launch);
    if (!result.ok) {
      if (written !== undefined) await takeBack(written);
      const undone = written === undefined ? "" : "; the change was taken back";
      io.stderr(`✗ ${host.name}: started as it would start it, ollm does not answer${undone}\n  ${result.reason}\n`);
      return false;
    }
    const facts = `starts in ${result.tookMs} ms and offers ${result.tools.length} tools`;
    const kept = written?.backup === undefined ? "" : `  what was there before: ${written.backup}\n`;
    io.stdout(
      plan.kind === "same"
        ? `✓ ${host.name}: already set up in ${file}; ${facts}\n`
        : `✓ ${host.name}: set up; ${facts}\n${kept}  ${host.restart}\n`,
    );
    return true;
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(`✗ ${host.name}: ${error.message}\n${error.hint === undefined ? "" : `  ${error.hint}\n`}`);
    return false;
  }
}

interface Written {
  readonly plan: Change;
  readonly backup: string | undefined;
}

/** A host that is open writes its file now and then, while somebody reads a diff: then the entry goes into that. */
async function write(plan: Change, replan: () => Promise<AddPlan>, now: Date): Promise<Written | undefined> {
  try {
    return { plan, backup: await replaceConfigFile(plan.file, plan.text, now) };
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile)) throw error;
    const fresh = await replan();
    // Two hosts whose files are one by a link: the first has written it.
    if (fresh.kind === "same") return undefined;
    if (fresh.kind === "problem") throw error;
    return { plan: fresh, backup: await replaceConfigFile(fresh.file, fresh.text, now) };
  }
}

async function takeBack({ plan, backup }: Written): Promise<void> {
  try {
    await restoreConfigFile(plan.file, plan.text, backup);
  } catch (error) {
    const hadEntry = readEntry(plan.file.text, placeOf(plan.target)) !== undefined;
    if (!(error instanceof ChangedMeanwhile) || hadEntry) throw error;
    // Its host wrote on top of us: what it wrote stays, our entry goes.
    await removeEntryOf(plan.target);
  }
}

function closing(plans: readonly AddPlan[], again: string, wantsEngine: boolean): string {
  const launches = plans.flatMap((plan) => (plan.kind === "problem" ? [] : [plan.launch]));
  if (launches.length === 0) return "";
  const folders = [...new Set(launches.flatMap((launch) => allowedFolders({ ...launch })))];
  const lines = [
    folders.length > 0
      ? `Files: tools may read and write in ${folders.join(", ")}.`
      : `Files: no folder is allowed. Models work on text they are given, and on the project that an editor has open; to allow one: ${again} setup --root DIR`,
    'Try: "use a local model to summarise notes.txt".',
    // A tool that installs the engine alone does not exist: it comes with the first model.
    ...(wantsEngine
      ? [
          `Engine: it is installed (a 48 MB download) by the first call that needs it: ask your assistant for a model with pull_model and engine llama-cpp, or take one you have: ${again} import FILE NAME`,
        ]
      : []),
    `To take it out again: ${again} setup --undo`,
  ];
  return `\n${lines.join("\n")}\n`;
}

function nothingFound(facts: Parameters<typeof hostTable>[0], program: Program, roots: readonly string[]): string {
  const hosts = hostTable(facts);
  const launch = createLaunch(program, roots, undefined);
  const looked = hosts.flatMap(({ name, places }) => places.map(({ file }) => `  ${name}: ${file}`));
  const [first] = hosts;
  const entry =
    first === undefined
      ? ""
      : addEntry("", placeOf({ host: first, file: "", isFound: false }), first.entry(launch))
          .replaceAll(/^/gm, "  ")
          .trimEnd();
  return [
    "No host was found. Looked for",
    ...looked,
    `For another host, this is the entry, under the name ${entryName}:`,
    entry,
    "To write it for one of the hosts above before it is installed: ollm setup --client NAME",
    "",
  ].join("\n");
}

function onceEach(check: SetupWorld["check"]): SetupWorld["check"] {
  const results = new Map<string, Promise<LaunchCheck>>();
  return (launch) => {
    const key = JSON.stringify(launch);
    const known = results.get(key) ?? check(launch);
    results.set(key, known);
    return known;
  };
}

function realFolder(folder: string): readonly string[] {
  try {
    return [realpathSync.native(folder)];
  } catch {
    return [];
  }
}
