import { addEntry, readEntry } from "./document.ts";
import { checkFolders, createLaunch, entryName, type Launch, type Program } from "./launch.ts";
import { clientTable, type ClientFacts, type ClientTarget, allTargets, findTargets, gatherFacts } from "./clients.ts";
import { colourDiff, showDiff, ChangedMeanwhile, restoreConfigFile } from "./config-file.ts";
import { realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { build } from "../../ipc/version.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { type Backend, backendNames } from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import { checkLaunch } from "./check-clients.ts";
import { createEmbeddedEngine, closing, setupEngine, setupGuide } from "./setup-guide.ts";
import { existingGuides, partOf } from "./guide-plan.ts";
import { type AddPlan, type Written, currentEntry, entryLocation, planAdd, writeChange } from "./plan.ts";
import { copyProgram, howToCall, lastingNode, lastingScript, mentionedCopies, tidyCopies } from "./program-files.ts";
import { removeEntries, removeEntryOf } from "./uninstall.ts";
import { type CommandIo, homeOf, whyNotChange, type Options } from "../terminal/io.ts";
import { offerFirstModel } from "../terminal/offer-pull.ts";
import { whileWaiting } from "../terminal/progress-line.ts";
import { withSession } from "../terminal/session.ts";
import { orUndefined, getOrInsert } from "../../orchestrator/util/values.ts";
import { failureText, hanging } from "../terminal/terminal-text.ts";

/**
 * The flags of `ollm setup`. `client`: all that are found if empty. `guide`: write it without asking, or don't; `plugin`:
 * offer the plugin, too. With `undo` only these, or all but the guide.
 */
interface SetupOptions extends Options<{
  switch: "print" | "undo" | "yes" | "guide" | "plugin";
  list: "client" | "root";
}> {
  /** Install the embedded engine, too, without asking; what it computes with, else as the settings say. */
  readonly engine?: boolean | string | undefined;
}

type SetupWorld = ReturnType<typeof realWorld>;

type Change = Extract<AddPlan, { kind: "change" }>;

/** The parts that tests replace. */
function realWorld(io: CommandIo) {
  return {
    now: () => new Date(),
    /** Starts an entry as its client would. */
    check: (launch: Launch) => checkLaunch(launch, io),
    /** Version and build; names the copy of the program that clients start. */
    build,
    engine: ({ node }: Program, home: string) =>
      createEmbeddedEngine({
        home,
        node,
        script: io.script,
        environment: io.environment,
        say: (line) => io.stderr(`${line}\n`),
        cards: cardNames,
      }),
    /** Offers a first model; asks only if `mayAsk`. `program` is how ollm is called. Resolves to whether there is one. */
    firstModel: (asks: Parameters<typeof suggestFirstModel>[0]) => suggestFirstModel(asks, io),
    /** Programs in these folders may be deleted soon. */
    temporaryFolders: (io.platform === "win32" ? [tmpdir()] : [tmpdir(), "/tmp", "/var/tmp"]) as readonly string[],
  };
}

/** What `--engine` names; true without a name. Throws `InvalidRequest`. */
function engineNamed(given: boolean | string = false): boolean | Backend {
  if (typeof given === "boolean") return given;
  const names = Object.keys(backendNames);
  if (!names.includes(given)) {
    throw new InvalidRequest(`--engine ${given} is unknown`, { next: { step: "chooseOneOf", names } });
  }
  return given as Backend;
}

const [cardLooks, cardLookMs] = [8, 250];

/** Cards of all makers. Those of others than NVIDIA are found in the background, within some seconds. */
async function cardNames(): Promise<readonly string[]> {
  const { createSystemProbe } = await import("../../orchestrator/memory/measure/system-probe.ts");
  const probe = createSystemProbe();
  for (let looks = 1; ; looks += 1) {
    const { gpus } = await probe.sample(0);
    if (gpus.length > 0 || looks === cardLooks) return gpus.map(({ name }) => name);
    await pause(cardLookMs);
  }
}

/**
 * `ollm setup`: adds the entry of ollm to the files of the clients on this machine. Returns 0 if every client can start
 * it, 1 if one can't, 2 if a question can't be asked. Throws `OrchestratorError` for invalid arguments.
 */
export async function setup(options: SetupOptions, io: CommandIo, world: SetupWorld = realWorld(io)): Promise<number> {
  const facts = gatherFacts(io);
  const isPlugin = options.plugin === true;
  const clients = options.client ?? (isPlugin ? ["claude-code", "codex"] : []);
  const wanted = engineNamed(options.engine);
  if (options.undo === true) return undoSetup(facts, clients, options, io);
  const found = findTargets(facts, clients).filter(({ isFound }) => isFound || options.client !== undefined);
  const given = options.root === undefined ? undefined : checkFolders(options.root, io);
  const { home, program, copyFrom, risk, isTemporary } = chooseProgram(options.print === true, io, world);
  const again = howToCall(orUndefined(() => realpathSync.native(io.script)) ?? io.script);
  const isAsking = io.isTerminal && options.yes !== true && options.print !== true;
  const addEngine = (mayAsk: boolean): Promise<number> => {
    const wish = { given: wanted, mayAsk, mayAskOfCard: isAsking, isOnlyPrinted: options.print === true };
    return setupEngine(wish, world.engine(program, home), io);
  };
  const makeCopy = (): void => {
    if (copyFrom === undefined) return;
    copyProgram(copyFrom, program.script);
    const why = `because this one is in ${risk ?? "a folder"} and may be deleted; run setup again to update the copy.`;
    io.stdout(`${hanging("", `Copied the program to ${program.script}, ${why}`, io)}\n`);
  };
  const note = isTemporary ? temporaryNote(again, risk ?? "a folder", io) : "";
  const addGuide = (to: readonly ClientTarget[], mayAsk: boolean): Promise<number> => {
    const asked = { isWanted: options.guide, mayAsk: mayAsk || isPlugin, isUpdateAccepted: options.yes === true };
    const quoted = (word: string): string => `"${word.replaceAll(/[$`"]/g, "\\$&")}"`;
    const ofHome = program.home === undefined ? "" : ` ${quoted(program.home)}`;
    const hook = `${quoted(program.node)} ${quoted(program.script)} hook${ofHome}`;
    return setupGuide({ ...asked, hook, isPlugin, isOnlyPrinted: options.print === true, again }, to, io, world.now);
  };
  if (found.length === 0) {
    if (options.print !== true) makeCopy();
    io.stdout(nothingFound(facts, program, given ?? [], again));
    io.stdout(note);
    await addGuide([], false);
    const engineCode = await addEngine(false);
    return engineCode === 0 && options.print !== true ? 1 : engineCode;
  }

  // A client that has the entry is updated without questions.
  const isNew = isAsking && (await Promise.all(found.map(currentEntry))).includes(undefined);
  const targets = isNew && clients.length === 0 ? await pickClients(found, io) : found;
  const roots = given ?? (isNew ? await askForFolders(io) : undefined);
  const plans = await Promise.all(targets.map((target) => planAdd(target, program, roots)));
  const changes = plans.filter((plan) => plan.kind === "change");
  for (const plan of plans) {
    // An unchanged client is reported with the result of its check.
    if (plan.kind !== "same" || options.print === true) io.stdout(describe(plan, io));
  }
  const problems = plans.filter((plan) => plan.kind === "problem");
  if (options.print === true) {
    io.stdout(note === "" ? "" : `${note}\n`);
    await addGuide(targets, false);
    await addEngine(false);
    return problems.length > 0 ? 1 : 0;
  }

  if (changes.length > 0) {
    const question = `Make ${changes.length === 1 ? "this change" : "these changes"}?`;
    const asked = { yes: options.yes, purpose: "make these changes", question, refused: problems.length > 0 ? 1 : 0 };
    const refusal = await whyNotChange(asked, io);
    if (refusal !== undefined) return refusal;
  }

  const written = () => [...allTargets(facts), ...existingGuides(facts, [])].map(({ file }) => file);
  const usedSoFar = await mentionedCopies(home, written());
  if (problems.length < plans.length) makeCopy();
  let failures = problems.length;
  const check = onceEach(world.check);
  const checked = {
    now: world.now,
    check: (launch: Launch) => whileWaiting("starting ollm as the client would ...", io, () => check(launch)),
  };
  const ready: ClientTarget[] = [];
  for (const plan of plans) {
    if (plan.kind === "problem") continue;
    if (await apply(plan, () => planAdd(plan.target, program, roots), checked, io)) ready.push(plan.target);
    else failures += 1;
  }
  const kept = [usedSoFar, await mentionedCopies(home, written()), [path.basename(path.dirname(program.script))]];
  await tidyCopies(home, new Set(kept.flatMap((names) => [...names])), world.now().getTime());
  if (ready.length > 0) failures += await addGuide(ready, isNew);
  const engineCode = await addEngine(isNew);
  const hasModel = ready.length > 0 && (await world.firstModel({ mayAsk: isAsking, program: again }));
  io.stdout(closing(plans, again, hasModel, io));
  return engineCode === 0 && failures > 0 ? 1 : engineCode;
}

/** `ollm setup --undo`: removes entries and guides. Returns what `removeEntries` does. */
function undoSetup(
  facts: ClientFacts,
  clients: readonly string[],
  options: SetupOptions,
  io: CommandIo,
): Promise<number> {
  if (engineNamed(options.engine) !== false) {
    throw new InvalidRequest("--undo and --engine contradict each other", {
      next: { step: "omitArgument", argument: "engine" },
    });
  }
  const targets = clients.length === 0 ? allTargets(facts) : findTargets(facts, clients);
  const only: string[] = (["guide", "plugin"] as const).filter((part) => options[part] === true);
  const entries = only.length > 0 ? [] : targets;
  const guides = existingGuides(facts, clients).filter(({ form }) => {
    const part = partOf(form);
    return only.length > 0 ? only.includes(part) : options.guide !== false || part === "plugin";
  });
  return removeEntries({ entries, guides }, options, io);
}

/**
 * The program that entries start. A printed entry names one that exists: the running script until it is copied.
 * `isTemporary`: the entry names a script that may be deleted; `risk` says why: `a temporary folder`.
 */
function chooseProgram(isOnlyPrinted: boolean, io: CommandIo, world: SetupWorld) {
  const home = homeOf(io);
  const isDefaultHome = home === resolveHome({}, io.userHome, io.workingDirectory);
  const { script, copyFrom, risk } = lastingScript({ ...world, script: io.script, home });
  const isTemporary = isOnlyPrinted && copyFrom !== undefined;
  const named = isTemporary ? io.script : script;
  return {
    home,
    program: { node: lastingNode(io), script: named, ...(!isDefaultHome && { home }) } satisfies Program,
    copyFrom,
    risk,
    isTemporary,
  };
}

/**
 * Suggests a first model if none is installed, and pulls it after a yes. Returns whether there is a model. A failure is
 * reported, and does not make setup fail: the clients are set up.
 */
async function suggestFirstModel(
  asks: { readonly mayAsk: boolean; readonly program: string },
  io: CommandIo,
): Promise<boolean> {
  let hasModel = false;
  await withSession(io, {}, async (session) => {
    const { structured } = await session.call("list_models", { limit: 1 });
    if (structured.models.length === 0) io.stdout("\n");
    hasModel = await offerFirstModel(structured, session, asks);
  });
  return hasModel;
}

/** Asks which clients to set up; an empty answer means all. */
async function pickClients(found: readonly ClientTarget[], io: CommandIo): Promise<readonly ClientTarget[]> {
  const clients = [...new Map(found.map(({ client }) => [client.id, client])).values()];
  if (clients.length < 2) return found;
  const list = clients.map(({ name }, index) => `  ${index + 1}  ${name}`);
  io.stdout(`Found on this machine:\n${list.join("\n")}\n`);
  for (;;) {
    const answer = await io.ask("Which of them? (comma-separated numbers; empty: all) ");
    const words = answer.split(/[\s,]+/).filter((word) => word !== "");
    const picked = words.map((word) => clients[Number(word) - 1]?.id ?? clients.find(({ id }) => id === word)?.id);
    if (words.length === 0) return found;
    if (!picked.includes(undefined)) return found.filter(({ client }) => picked.includes(client.id));
    io.stderr(`Enter numbers from 1 to ${clients.length}.\n`);
  }
}

/** Asks for the folders to allow; undefined keeps those of existing entries. */
async function askForFolders(io: CommandIo): Promise<readonly string[] | undefined> {
  for (;;) {
    const answer = await io.ask(
      "Folder whose files local models may read and write, for example ~/Documents (comma-separated; empty: none): ",
    );
    if (answer === "") return undefined;
    try {
      return checkFolders([answer], io);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      io.stderr(failureText("", error.message, error, io));
    }
  }
}

/** Makes the change, starts the entry as the client would, and undoes the change if that fails. */
async function apply(
  plan: Exclude<AddPlan, { kind: "problem" }>,
  replan: () => Promise<AddPlan>,
  world: Pick<SetupWorld, "check" | "now">,
  io: CommandIo,
): Promise<boolean> {
  const { client, file } = plan.target;
  try {
    const written = plan.kind === "change" ? await writeChange<Change>(plan, replan, world.now()) : undefined;
    const result = await world.check(plan.launch);
    if (!result.ok) {
      if (written !== undefined) await undo(written);
      const undone = written === undefined ? "" : "; the change was undone";
      const fact = `${client.name}: ollm does not respond when started from this entry${undone}`;
      io.stderr(failureText("✗ ", fact, {}, io) + failureText("  ", result.reason, {}, io));
      return false;
    }
    const facts = `starts in ${result.tookMs} ms and offers ${counted(result.tools.length, "tool")}`;
    const kept = written?.backup === undefined ? "" : `  backup: ${written.backup}\n`;
    io.stdout(
      plan.kind === "same"
        ? `${hanging("✓ ", `${client.name}: already set up in ${file}; ${facts}`, io)}\n`
        : `${hanging("✓ ", `${client.name}: set up; ${facts}`, io)}\n${kept}${hanging("  ", client.restart, io)}\n`,
    );
    return true;
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(failureText("✗ ", `${client.name}: ${error.message}`, error, io));
    return false;
  }
}

async function undo({ plan, backup }: Written<Change>): Promise<void> {
  try {
    await restoreConfigFile(plan.file, plan.text, backup);
  } catch (error) {
    const hadEntry = readEntry(plan.file.text, entryLocation(plan.target)) !== undefined;
    if (!(error instanceof ChangedMeanwhile) || hadEntry) throw error;
    // The client has written its file since: only the entry is removed.
    await removeEntryOf(plan.target);
  }
}

function onceEach(check: SetupWorld["check"]): SetupWorld["check"] {
  const results = new Map<string, ReturnType<SetupWorld["check"]>>();
  return (launch) => {
    const key = JSON.stringify(launch);
    return getOrInsert(results, key, () => check(launch));
  };
}

/** What setup would change in one file, to be confirmed. Ends with an empty line. */
function describe(plan: AddPlan, io: Pick<CommandIo, "hasColour" | "columns">): string {
  const { client, file, isFound } = plan.target;
  const title = `${client.name}  ${file}\n`;
  if (plan.kind === "same") return `${title}  already set up\n\n`;
  if (plan.kind === "problem") {
    return `${title}${failureText("  ✗ ", `${plan.message}; not changed`, plan, { errorColumns: io.columns })}\n`;
  }
  const note = isFound ? "" : `${hanging("  ", `${client.name} was not found; creating it anyway`, io)}\n`;
  return `${title}${note}${colourDiff(showDiff(file, plan.file.text, plan.text), io)}\n`;
}

/** Says that the program of a printed entry may be deleted. */
function temporaryNote(again: string, risk: string, io: Pick<CommandIo, "columns">): string {
  const text = `this copy of the program is in ${risk} and may be deleted; \`${again} setup\` makes a lasting one`;
  return `${hanging("! ", text, io)}\n`;
}

/** The files that were looked for, and the entry to add by hand. */
function nothingFound(facts: ClientFacts, program: Program, roots: readonly string[], again: string): string {
  const clients = clientTable(facts);
  const launch = createLaunch(program, roots, undefined);
  const looked = clients.flatMap(({ name, locations }) => locations.map(({ file }) => `  ${name}: ${file}`));
  const example = clients.slice(0, 1).map((client) => {
    const entry = addEntry("", entryLocation({ client, file: "", isFound: false }), client.entry(launch));
    return entry.replaceAll(/^/gm, "  ").trimEnd();
  });
  return [
    "No client was found. Looked for:",
    ...looked,
    `For another client, add this entry "${entryName}":`,
    ...example,
    `To add it for one of the clients above anyway: ${again} setup --client NAME`,
    "",
  ].join("\n");
}
