import { hintLine } from "../terminal-text.ts";
import { realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/errors.ts";
import { build } from "../../version.ts";
import { checkLaunch, type LaunchCheck } from "../setup/check-launch.ts";
import { ChangedMeanwhile, replaceConfigFile, restoreConfigFile } from "../setup/config-file.ts";
import { allTargets, findTargets, gatherFacts, type ClientTarget } from "../setup/discover.ts";
import { checkFolders } from "../setup/folders.ts";
import { readEntry } from "../setup/document.ts";
import type { Launch, Program } from "../setup/launch.ts";
import { currentEntry, entryLocation, planAdd, type AddPlan } from "../setup/plan.ts";
import { copyProgram, howToCall, lastingNode, lastingScript } from "../setup/program-files.ts";
import { isYes, removeEntries, removeEntryOf } from "../setup/remove-entries.ts";
import { mentionedCopies, tidyCopies } from "../setup/tidy-copies.ts";
import { createEmbeddedEngine, type EmbeddedEngine } from "../engine/embedded-engine.ts";
import { type CommandIo, homeOf } from "./io.ts";
import { setupEngine } from "./setup-engine.ts";
import { closing, describe, nothingFound } from "./setup-text.ts";

/** Of `ollm setup`, under the names of its flags. */
export interface SetupOptions {
  /** Clients; without any, all that are found. */
  readonly client?: readonly string[] | undefined;
  /** Folders to allow. */
  readonly root?: readonly string[] | undefined;
  /** Shows what would be written. */
  readonly print?: boolean | undefined;
  /** Takes the entry out again. */
  readonly undo?: boolean | undefined;
  /** Asks nothing. */
  readonly yes?: boolean | undefined;
  /** Installs the embedded engine as well, without asking. */
  readonly engine?: boolean | undefined;
}

/** What tests replace. */
export interface SetupWorld {
  now(): Date;
  /** Starts the entry as its client would. */
  check(launch: Launch): Promise<LaunchCheck>;
  /** Names the copy of the program that clients start. */
  readonly build: string;
  engine(program: Program, home: string): EmbeddedEngine;
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
    engine: ({ node }, home) =>
      createEmbeddedEngine({
        home,
        node,
        script: io.script,
        environment: io.environment,
        say: (line) => io.stderr(`${line}\n`),
      }),
    temporaryFolders: [...folders, ...folders.flatMap(realFolder)],
  };
}

/**
 * `ollm setup`: writes our entry into the files of the clients of this machine. Answers 0 when every client starts us, 1 when
 * one does not, 2 when somebody has to say something first. Throws `OrchestratorError` for wrong arguments.
 */
export async function setup(options: SetupOptions, io: CommandIo, world: SetupWorld = realWorld(io)): Promise<number> {
  const facts = gatherFacts(io);
  const clients = options.client ?? [];
  if (options.undo === true) {
    if (options.engine === true) {
      throw new InvalidRequest("--undo and --engine contradict each other", {
        next: { step: "omitArgument", argument: "engine" },
      });
    }
    const targets = clients.length === 0 ? allTargets(facts) : findTargets(facts, clients);
    return removeEntries(targets, options, io);
  }
  const found = findTargets(facts, clients);
  const given = options.root === undefined ? undefined : checkFolders(options.root, io);
  const { home, program, copyFrom } = chooseProgram(io, world);
  const again = howToCall(realFolder(io.script)[0] ?? io.script);
  const addEngine = (mayAsk: boolean): Promise<number> => {
    const wish = { isGiven: options.engine === true, mayAsk, isOnlyPrinted: options.print === true };
    return setupEngine(wish, world.engine(program, home), io);
  };
  if (found.length === 0) {
    io.stdout(nothingFound(facts, program, given ?? [], again));
    const engineCode = await addEngine(false);
    return engineCode === 0 && options.print !== true ? 1 : engineCode;
  }

  const isAsking = io.isTerminal && options.yes !== true && options.print !== true;
  // Nobody is asked twice: what is set up already only gets what is new.
  const isNew = isAsking && (await Promise.all(found.map(currentEntry))).includes(undefined);
  const targets = isNew && clients.length === 0 ? await pickClients(found, io) : found;
  const roots = given ?? (isNew ? await askForFolders(io) : undefined);
  const plans = await Promise.all(targets.map((target) => planAdd(target, program, roots)));
  const changes = plans.filter((plan) => plan.kind === "change");
  for (const plan of plans) {
    // Told with what its check gives, unless there is none.
    if (plan.kind !== "same" || options.print === true) io.stdout(describe(plan));
  }
  const problems = plans.filter((plan) => plan.kind === "problem");
  if (options.print === true) {
    await addEngine(false);
    return problems.length > 0 ? 1 : 0;
  }

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

  const usedSoFar = await mentionedCopies(home, allTargets(facts));
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
  const kept = [
    usedSoFar,
    await mentionedCopies(home, allTargets(facts)),
    [path.basename(path.dirname(program.script))],
  ];
  await tidyCopies(home, new Set(kept.flatMap((names) => [...names])), world.now().getTime());
  const engineCode = await addEngine(isNew);
  io.stdout(closing(plans, again));
  return engineCode === 0 && failures > 0 ? 1 : engineCode;
}

function chooseProgram(
  io: CommandIo,
  world: SetupWorld,
): { readonly home: string; readonly program: Program; readonly copyFrom: string | undefined } {
  const home = homeOf(io);
  const isDefaultHome = home === resolveHome({}, io.userHome, io.workingDirectory);
  const { script, copyFrom } = lastingScript({ ...world, script: io.script, home });
  return { home, program: { node: lastingNode(io), script, ...(!isDefaultHome && { home }) }, copyFrom };
}

/** The clients that somebody names by number or id; all of them without an answer. */
async function pickClients(found: readonly ClientTarget[], io: CommandIo): Promise<readonly ClientTarget[]> {
  const clients = [...new Map(found.map(({ client }) => [client.id, client])).values()];
  if (clients.length < 2) return found;
  const list = clients.map(({ name }, index) => `  ${index + 1}  ${name}`);
  io.stdout(`Found on this machine:\n${list.join("\n")}\n`);
  for (;;) {
    const answer = await io.ask("Which of them? (numbers with commas; empty for all) ");
    const words = answer.split(/[\s,]+/).filter((word) => word !== "");
    const picked = words.map((word) => clients[Number(word) - 1]?.id ?? clients.find(({ id }) => id === word)?.id);
    if (words.length === 0) return found;
    if (!picked.includes(undefined)) return found.filter(({ client }) => picked.includes(client.id));
    io.stderr(`Numbers from 1 to ${clients.length}, please.\n`);
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
      io.stderr(`${error.message}\n${hintLine(error)}`);
    }
  }
}

/** Writes, starts the entry as the client would, and takes the change back when that fails. */
async function apply(
  plan: Exclude<AddPlan, { kind: "problem" }>,
  replan: () => Promise<AddPlan>,
  world: Pick<SetupWorld, "check" | "now">,
  io: CommandIo,
): Promise<boolean> {
  const { client, file } = plan.target;
  try {
    const written = plan.kind === "change" ? await write(plan, replan, world.now()) : undefined;
    const result = await world.check(plan.launch);
    if (!result.ok) {
      if (written !== undefined) await takeBack(written);
      const undone = written === undefined ? "" : "; the change was taken back";
      io.stderr(`✗ ${client.name}: started as it would start it, ollm does not answer${undone}\n  ${result.reason}\n`);
      return false;
    }
    const facts = `starts in ${result.tookMs} ms and offers ${result.tools.length} tools`;
    const kept = written?.backup === undefined ? "" : `  what was there before: ${written.backup}\n`;
    io.stdout(
      plan.kind === "same"
        ? `✓ ${client.name}: already set up in ${file}; ${facts}\n`
        : `✓ ${client.name}: set up; ${facts}\n${kept}  ${client.restart}\n`,
    );
    return true;
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(`✗ ${client.name}: ${error.message}\n${hintLine(error)}`);
    return false;
  }
}

interface Written {
  readonly plan: Change;
  readonly backup: string | undefined;
}

/** A client that is open writes its file now and then, while somebody reads a diff: then the entry goes into that. */
async function write(plan: Change, replan: () => Promise<AddPlan>, now: Date): Promise<Written | undefined> {
  try {
    return { plan, backup: await replaceConfigFile(plan.file, plan.text, now) };
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile)) throw error;
    const fresh = await replan();
    // Two clients whose files are one by a link: the first has written it.
    if (fresh.kind === "same") return undefined;
    if (fresh.kind === "problem") throw error;
    return { plan: fresh, backup: await replaceConfigFile(fresh.file, fresh.text, now) };
  }
}

async function takeBack({ plan, backup }: Written): Promise<void> {
  try {
    await restoreConfigFile(plan.file, plan.text, backup);
  } catch (error) {
    const hadEntry = readEntry(plan.file.text, entryLocation(plan.target)) !== undefined;
    if (!(error instanceof ChangedMeanwhile) || hadEntry) throw error;
    // Its client wrote on top of us: what it wrote stays, our entry goes.
    await removeEntryOf(plan.target);
  }
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
