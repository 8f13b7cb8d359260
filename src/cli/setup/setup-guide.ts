import { readdirSync } from "node:fs";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { guideText } from "../../resources/guide.ts";
import { colourDiff, showDiff } from "./config-file.ts";
import type { Client, ClientTarget } from "./clients.ts";
import { type GuidePlan, guidePlaces, partOf, planAddGuide, withFoldedGuide } from "./guide-plan.ts";
import { allowedFolders, isFolder } from "./launch.ts";
import { type AddPlan, writeChange } from "./plan.ts";
import { type CommandIo, isYes } from "../terminal/io.ts";
import { createProgressLine } from "../terminal/progress-line.ts";
import { exitCodeOf, failureText, hanging } from "../terminal/terminal-text.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { withSteps } from "../../next-steps/render.ts";
import path from "node:path";
import { orUndefined } from "../../orchestrator/util/values.ts";
import { loadSettings } from "../../orchestrator/config/load.ts";
import { createEngineInstallation } from "../../orchestrator/engines/llama-cpp/install/installation.ts";
import { type EngineSize, readEngineSize } from "../../orchestrator/engines/llama-cpp/install/lock.ts";
import {
  type Backend,
  type Card,
  backendNames,
  cardFor,
  currentPlatform,
  lockName,
  requireSupported,
} from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { changeConfig } from "../../orchestrator/config/change.ts";
import { createLog } from "../../orchestrator/api/log.ts";

type Change = Extract<GuidePlan, { kind: "change" }>;

/** What is written if the answer is yes, or without a question. */
interface Offer {
  readonly changes: readonly Change[];
  readonly pastes: ReadonlyMap<Client, string>;
}

/**
 * Offers the guide to these clients, which have the entry. The default is no, as for every file that setup changes: an
 * assistant obeys these files in all projects. Returns the number of files that could not be written.
 */
export async function setupGuide(
  wish: {
    /** `--guide` and `--no-guide`; undefined without either. */
    readonly isWanted: boolean | undefined;
    /** A client is new: the question is due. */
    readonly mayAsk: boolean;
    /** With `--yes` a guide that setup has written is updated, and none is added. */
    readonly isUpdateAccepted: boolean;
    /** The command of the hook in a plugin; with `isPlugin` the plugin is written, too, else only updated. */
    readonly hook: string;
    readonly isPlugin: boolean;
    /** Only show what would be written. */
    readonly isOnlyPrinted: boolean;
    /** How this command is called. */
    readonly again: string;
  },
  targets: readonly ClientTarget[],
  io: CommandIo,
  now: () => Date,
): Promise<number> {
  if (wish.isWanted === false && !wish.isPlugin) return 0;
  const isShown = wish.isWanted === true || wish.isOnlyPrinted || wish.mayAsk;
  if (targets.length === 0) {
    if (isShown) io.stdout(showText("For another client, paste this guide into its instructions", "\n", io));
    return 0;
  }
  const { files, pastes } = await guidePlaces(targets, wish.hook, wish.isPlugin);
  const plans = await Promise.all(files.map(planAddGuide));
  const changes = plans.filter((plan) => plan.kind === "change");
  const offer = isShown ? { changes, pastes } : { changes: changes.filter((plan) => plan.isUpdate), pastes: new Map() };
  io.stdout(showOffer(offer, wish.isOnlyPrinted && wish.isWanted !== true, io));
  if (isShown) io.stdout(plans.map((plan) => showUnchanged(plan, io)).join(""));
  if (wish.isOnlyPrinted) return 0;

  const isAccepted = wish.isWanted === true || wish.isUpdateAccepted || (await isConfirmed(offer, io));
  const failures = isAccepted ? await writeAll(offer.changes, io, now()) : 0;
  const left = isAccepted ? changes.filter((plan) => !offer.changes.includes(plan)) : changes;
  const flag = wish.isPlugin ? "--plugin --yes" : "--guide";
  if (left.length > 0) io.stdout(`${hanging("", `${advertise(left)} ${wish.again} setup ${flag}`, io)}\n`);
  const refused = wish.isPlugin && !io.isTerminal ? left.length : 0;
  return failures + refused + plans.filter((plan) => plan.kind === "problem" && wish.isWanted === true).length;
}

async function isConfirmed({ changes }: Offer, io: CommandIo): Promise<boolean> {
  if (changes.length === 0 || !io.isTerminal) return false;
  const parts = [...new Set(changes.map(({ target }) => partOf(target.form)))].join(" and ");
  const what = changes.every((plan) => plan.isUpdate) ? `Update the ${parts} in` : `Write the ${parts} into`;
  const files = changes.length === 1 ? "this file" : `these ${changes.length} files`;
  return isYes(await io.ask(`${what} ${files}? [y/N] `));
}

function advertise(changes: readonly Change[]): string {
  return changes.every((plan) => plan.isUpdate)
    ? "The assistants' guide is out of date. To update it:"
    : "To tell these assistants when to use local models:";
}

/** Makes the changes; prints failures to stderr and returns their number. */
export async function writeAll(changes: readonly Change[], io: CommandIo, now: Date): Promise<number> {
  let failures = 0;
  for (const plan of changes) {
    const { client, file } = plan.target;
    try {
      const written = await writeChange<Change>(plan, async () => planAddGuide(plan.target), now);
      const backup = written?.backup === undefined ? "" : `  backup: ${written.backup}\n`;
      const done = `${client.name}: ${partOf(plan.target.form)} ${plan.isUpdate ? "updated" : "written"} in ${file}`;
      io.stdout(`${hanging("✓ ", done, io)}\n${backup}`);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      io.stderr(failureText("✗ ", `${client.name}: ${error.message}`, error, io));
      failures += 1;
    }
  }
  return failures;
}

/** The text once, then the place in each file. "" if there is nothing to write. */
function showOffer(
  { changes, pastes }: Offer,
  isOptional: boolean,
  io: Pick<CommandIo, "columns" | "hasColour">,
): string {
  const title = isOptional ? "Setup offers this guide, too, which tells" : "This guide tells";
  const isNew = pastes.size > 0 || changes.some(({ isUpdate, target }) => !isUpdate && partOf(target.form) === "guide");
  const files = changes.map(({ target, file, text, isUpdate }) => {
    const diff = isUpdate
      ? showDiff(target.file, file.text, text)
      : showDiff(target.file, withFoldedGuide(file.text), withFoldedGuide(text));
    return `${target.client.name}  ${target.file}\n${colourDiff(diff, io)}\n`;
  });
  const others = [...pastes].map(
    ([{ name }, where]) => `${hanging("", `${name}: paste the guide into ${where}.`, io)}\n`,
  );
  if (!isNew) return files.length > 0 ? `\n${files.join("")}` : "";
  return [
    showText(`${title} assistants when to use local models`, isOptional ? "" : "\n", io),
    ...files,
    ...others,
    others.length > 0 ? "\n" : "",
  ].join("");
}

function showText(title: string, before: "" | "\n", io: Pick<CommandIo, "columns">): string {
  return `${before}${hanging("", `${title}:`, io)}\n\n${guideText.replaceAll(/^(?=.)/gm, "  ")}\n`;
}

/** The line for a file that is not changed. "" for a change. */
export function showUnchanged(plan: GuidePlan, io: Pick<CommandIo, "columns">): string {
  const { client, file, form } = plan.target;
  const part = partOf(form);
  switch (plan.kind) {
    case "change":
      return "";
    case "same":
      return `${hanging("✓ ", `${client.name}: ${part} up to date in ${file}`, io)}\n`;
    case "left":
      return `${hanging("! ", `${client.name}: ${file} was edited by hand; ${part === "guide" ? "its guide is not changed" : "it is not changed"}`, io)}\n`;
    case "problem":
      return failureText("✗ ", `${client.name}: ${plan.message}; no ${part} written`, plan, {
        errorColumns: io.columns,
      });
  }
}

/**
 * The last step of setup. Nothing is downloaded without a flag or a yes, since the first model installs the engine anyway.
 * About a card it asks once: the answer is kept as the setting. Returns the exit code: 0 done or not wanted, 1 failed, 130
 * interrupted.
 */
export async function setupEngine(
  wish: {
    /** `--engine`, or what it names. */
    readonly given: boolean | Backend;
    readonly mayAsk: boolean;
    readonly mayAskOfCard: boolean;
    /** Only print what would be done. */
    readonly isOnlyPrinted: boolean;
  },
  engine: EmbeddedEngine,
  io: CommandIo,
): Promise<number> {
  const { given, mayAsk, mayAskOfCard, isOnlyPrinted } = wish;
  const isGiven = given !== false;
  if (!isGiven && !mayAsk) return 0;
  const card = typeof given === "string" ? undefined : await engine.card();
  const offered = card && (await engine.look(card.backend));
  const isOffered = mayAskOfCard && card !== undefined && offered?.kind === "possible";
  const takesCard = isOffered && isYes(await io.ask(cardQuestion(card, offered)));
  if (isOffered && !takesCard) await engine.choose("cpu");
  const named = takesCard ? card.backend : typeof given === "string" ? given : undefined;
  const state = await engine.look(named);
  if (card !== undefined && !isOffered && isGiven) {
    const text = `${card.name} is not used; ollm setup --engine ${card.backend} installs what it needs`;
    io.stdout(`${hanging("! ", text, io)}\n`);
  }
  if (state.kind === "impossible") {
    if (isGiven) io.stderr(failureText("✗ ", `Embedded engine: ${state.reason}`, {}, io));
    return isGiven ? 1 : 0;
  }
  if (state.kind === "installed") {
    if (named !== undefined && !isOnlyPrinted) await engine.choose(named);
    if (isGiven) io.stdout(`✓ Embedded engine: already installed${onBackend(named)}\n`);
    return 0;
  }
  if (isOnlyPrinted) {
    io.stdout(`Embedded engine: would be installed (${sizeOf(state)})\n`);
    return 0;
  }
  if (!isGiven && !takesCard) {
    const question = `Install the embedded engine now (${sizeOf(state)})? Otherwise the first model that needs it installs it. [y/N] `;
    if (!isYes(await io.ask(question))) return 0;
  }
  if (typeof given === "string" && given !== "cpu")
    io.stdout(`${hanging("", `${backendNames[given]}: ${sizeOf(state)}; ${licence}`, io)}\n`);
  const code = await install(engine, named, io);
  // A download that failed leaves the engine as it was.
  if (code === 0 && named !== undefined) await engine.choose(named);
  return code;
}

const licence = "MIT licence; CUDA's own libraries (CUDA 12 or 13) are NVIDIA's, and not part of it";

const sizeOf = ({ downloadBytes, installedBytes }: EngineSize): string =>
  `${formatBytes(downloadBytes)} to download, ${formatBytes(installedBytes)} on disk`;

const onBackend = (backend: Backend | undefined): string =>
  backend === undefined ? "" : `; it uses ${backendNames[backend]}`;

function cardQuestion({ name, backend }: Card, state: EngineSize): string {
  return `Use ${name} for the embedded engine, by ${backendNames[backend]} (${sizeOf(state)}; ${licence})? Not yet tested on real cards. [y/N] `;
}

async function install(engine: EmbeddedEngine, backend: Backend | undefined, io: CommandIo): Promise<number> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  const line = createProgressLine(io);
  try {
    await engine.install(line.show, interrupt.signal, backend);
    line.clear();
    const then = `Embedded engine: installed${onBackend(backend)}; get models with ollm pull or ask your assistant`;
    io.stdout(`${hanging("✓ ", then, io)}\n`);
    return 0;
  } catch (error) {
    line.clear();
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(failureText("✗ ", `Embedded engine: ${error.message}`, error, io));
    return exitCodeOf(error);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/** The next steps for the user; `again` is how this command is called. "" if ollm was added to no client. */
export function closing(
  plans: readonly AddPlan[],
  again: string,
  hasModel: boolean,
  io: Pick<CommandIo, "columns">,
): string {
  const clients = plans.flatMap((plan) =>
    plan.kind === "problem" ? [] : [{ name: plan.target.client.name, folders: allowedFolders({ ...plan.launch }) }],
  );
  if (clients.length === 0) return "";
  const folders = [...new Set(clients.flatMap((client) => client.folders))];
  const missing = folders.filter((folder) => !isFolder(folder));
  const without = new Set(clients.filter((client) => client.folders.length === 0).map(({ name }) => name));
  const whose = folders.length === 0 ? "" : ` in ${[...without].join(", ")}`;
  const lines = [
    ...(folders.length > 0 ? [`Files: tools may read and write in ${folders.join(", ")}.`] : []),
    ...(without.size > 0
      ? [
          `Files: no folder is allowed${whose}, only the project that an editor has open. To allow one: ${again} setup --root FOLDER`,
        ]
      : []),
    ...missing.map((folder) => `! ${folder} does not exist; its files can be used once it does.`),
    `${hasModel ? "Try" : "Once you have a model, try"}: "use a local model to ${taskFor(folders)}".`,
    `To undo: ${again} setup --undo`,
  ];
  return `\n${lines.map((line) => hanging("", line, io)).join("\n")}\n`;
}

/** What to ask an assistant for first: about a file that is there, if a folder is allowed. */
function taskFor(folders: readonly string[]): string {
  // A folder may not exist yet, or only clients may read it.
  const names = folders.flatMap((folder) => orUndefined(() => readdirSync(folder)) ?? []);
  const files = names.filter((name) => /^\w[\w.-]*\.(?:md|txt)$/i.test(name));
  const file = files.find((name) => /^(?:readme|notes)\./i.test(name)) ?? files[0];
  if (file !== undefined) return `summarise ${file}`;
  return folders.length > 0 ? "summarise FILE" : "draft a polite reply that declines a meeting";
}

/** The state of the embedded engine. */
type EngineState =
  | { readonly kind: "installed" }
  | { readonly kind: "possible"; readonly downloadBytes: number; readonly installedBytes: number }
  /** `reason`: no binaries for this system, or disabled. */
  | { readonly kind: "impossible"; readonly reason: string };

type EmbeddedEngine = ReturnType<typeof createEmbeddedEngine>;

/** The embedded engine of a home, for installing it without a model. */
export function createEmbeddedEngine(from: {
  readonly home: string;
  /** `dist/cli.mjs`; the lockfiles of the engine are in the same folder. */
  readonly script: string;
  /** A Node that can be started. */
  readonly node: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly say: (line: string) => void;
  /** Names of the graphics cards. */
  readonly cards: () => Promise<readonly string[]>;
}) {
  const { home, environment } = from;
  const lockFolder = path.join(path.dirname(from.script), "engine-lock");
  const settings = async () => (await loadSettings({ home, environment, flags: {} })).settings.providers.llamaCpp;
  const of = async (named?: Backend) => {
    const { enabled, backend = "cpu" } = await settings();
    const platform = { ...currentPlatform(named ?? backend), node: { execPath: from.node } };
    const installation = createEngineInstallation({
      enginesFolder: path.join(home, "engines"),
      lockFolder,
      platform,
      environment,
      log: createLog("warn", from.say),
      now: Date.now,
    });
    return { platform, installation, enabled };
  };
  return {
    /** Without `backend`: what the settings name. */
    async look(backend?: Backend): Promise<EngineState> {
      try {
        const { platform, installation, enabled } = await of(backend);
        if (await installation.isInstalled()) return { kind: "installed" };
        const name = requireSupported(platform);
        if (!enabled)
          return { kind: "impossible", reason: "the embedded engine is disabled (providers.llamaCpp.enabled)" };
        return { kind: "possible", ...readEngineSize(path.join(lockFolder, name)) };
      } catch (error) {
        if (!(error instanceof OrchestratorError)) throw error;
        return { kind: "impossible", reason: withSteps(error, commandSteps, ". ") };
      }
    },
    /** A card that the settings say nothing about. */
    async card(): Promise<Card | undefined> {
      // Where there are no binaries for one, none is looked for.
      if (lockName(currentPlatform("vulkan")) === undefined) return undefined;
      const kept = await settings().catch(() => undefined);
      if (kept === undefined || !kept.enabled || kept.backend !== undefined) return undefined;
      return cardFor(await from.cards(), currentPlatform(), environment);
    },
    /** Keeps the choice in the settings. */
    choose: async (backend: Backend): Promise<void> =>
      void (await changeConfig(home, "providers.llamaCpp.backend", backend)),
    /**
     * Downloads and tests the engine unless it is installed. Works without a daemon; waits if one is installing it at the
     * same time. Throws `OrchestratorError`, and `Cancelled` if `signal` aborts.
     */
    async install(
      report: (message: string, fraction: number | undefined) => void,
      signal: AbortSignal,
      backend?: Backend,
    ): Promise<void> {
      const { installation } = await of(backend);
      await installation.install(({ message, completedBytes, totalBytes }) => {
        const isKnown = completedBytes !== undefined && totalBytes !== undefined && totalBytes > 0;
        report(message, isKnown ? completedBytes / totalBytes : undefined);
      }, signal);
    },
  };
}
