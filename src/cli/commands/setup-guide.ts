import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { guidePlaces, planAddGuide, type GuidePlan } from "../setup/guide-plan.ts";
import { guideText, withFoldedGuide } from "../setup/guide-text.ts";
import { writeChange } from "../setup/plan.ts";
import type { ClientTarget } from "../setup/discover.ts";
import { isYes } from "../setup/remove-entries.ts";
import { colourDiff, showDiff } from "../setup/show-diff.ts";
import type { Client } from "../setup/table.ts";
import { hanging, hintLine } from "../terminal/terminal-text.ts";
import type { CommandIo } from "../terminal/io.ts";

/** Whether to write the delegation guide: by a flag, or after asking. */
export interface GuideWish {
  /** `--guide` and `--no-guide`; undefined without either. */
  readonly isWanted: boolean | undefined;
  /** A client is new: the question is due. */
  readonly mayAsk: boolean;
  /** With `--yes` a guide that setup has written is updated, and none is added. */
  readonly isUpdateAccepted: boolean;
  /** Only show what would be written. */
  readonly isOnlyPrinted: boolean;
  /** How this command is called. */
  readonly again: string;
}

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
  wish: GuideWish,
  targets: readonly ClientTarget[],
  io: CommandIo,
  now: () => Date,
): Promise<number> {
  if (wish.isWanted === false) return 0;
  const isShown = wish.isWanted === true || wish.isOnlyPrinted || wish.mayAsk;
  if (targets.length === 0) {
    if (isShown) io.stdout(showText("For another client, paste this guide into its instructions", "\n", io));
    return 0;
  }
  const { files, pastes } = await guidePlaces(targets);
  const plans = await Promise.all(files.map(planAddGuide));
  const changes = plans.filter((plan) => plan.kind === "change");
  const offer = isShown ? { changes, pastes } : { changes: changes.filter((plan) => plan.isUpdate), pastes: new Map() };
  io.stdout(showOffer(offer, wish.isOnlyPrinted && wish.isWanted !== true, io));
  if (isShown) io.stdout(plans.map((plan) => showUnchanged(plan, io)).join(""));
  if (wish.isOnlyPrinted) return 0;

  const isAccepted = wish.isWanted === true || wish.isUpdateAccepted || (await isConfirmed(offer, io));
  const failures = isAccepted ? await writeAll(offer.changes, io, now()) : 0;
  const left = isAccepted ? changes.filter((plan) => !offer.changes.includes(plan)) : changes;
  if (left.length > 0) io.stdout(`${hanging("", `${advertise(left)} ${wish.again} setup --guide`, io)}\n`);
  return failures + plans.filter((plan) => plan.kind === "problem" && wish.isWanted === true).length;
}

async function isConfirmed({ changes }: Offer, io: CommandIo): Promise<boolean> {
  if (changes.length === 0 || !io.isTerminal) return false;
  const what = changes.every((plan) => plan.isUpdate) ? "Update the guide in" : "Write the guide into";
  const files = changes.length === 1 ? "this file" : `these ${changes.length} files`;
  return isYes(await io.ask(`${what} ${files}? [y/N] `));
}

function advertise(changes: readonly Change[]): string {
  return changes.every((plan) => plan.isUpdate)
    ? "The assistants' guide is out of date. To update it:"
    : "To tell these assistants when to use local models:";
}

/** Makes the changes; prints failures to stderr and returns their number. */
async function writeAll(changes: readonly Change[], io: CommandIo, now: Date): Promise<number> {
  let failures = 0;
  for (const plan of changes) {
    const { client, file } = plan.target;
    try {
      const written = await writeChange<Change>(plan, async () => planAddGuide(plan.target), now);
      const backup = written?.backup === undefined ? "" : `  backup: ${written.backup}\n`;
      const done = `${client.name}: guide ${plan.isUpdate ? "updated" : "written"} in ${file}`;
      io.stdout(`${hanging("✓ ", done, io)}\n${backup}`);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      io.stderr(`✗ ${client.name}: ${error.message}\n${hintLine(error, undefined, io)}`);
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
  const isNew = pastes.size > 0 || changes.some((plan) => !plan.isUpdate);
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
function showUnchanged(plan: GuidePlan, io: Pick<CommandIo, "columns">): string {
  const { client, file } = plan.target;
  switch (plan.kind) {
    case "change":
      return "";
    case "same":
      return `${hanging("✓ ", `${client.name}: guide up to date in ${file}`, io)}\n`;
    case "left":
      return `${hanging("! ", `${client.name}: ${file} was edited by hand; its guide is not changed`, io)}\n`;
    case "problem":
      return `${hanging("✗ ", `${client.name}: ${plan.message}; no guide written`, io)}\n${hintLine(plan)}`;
  }
}
