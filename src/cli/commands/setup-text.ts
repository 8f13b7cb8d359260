import { hanging, hintLine } from "../terminal/terminal-text.ts";
import { addEntry } from "../setup/document.ts";
import { isFolder } from "../setup/folders.ts";
import { allowedFolders, createLaunch, entryName, type Program } from "../setup/launch.ts";
import { entryLocation, type AddPlan } from "../setup/plan.ts";
import { colourDiff, showDiff } from "../setup/show-diff.ts";
import { clientTable, type ClientFacts } from "../setup/table.ts";
import type { CommandIo } from "../terminal/io.ts";

/** What setup would change in one file, to be confirmed. Ends with an empty line. */
export function describe(plan: AddPlan, io: Pick<CommandIo, "hasColour">): string {
  const { client, file, isFound } = plan.target;
  const title = `${client.name}  ${file}\n`;
  if (plan.kind === "same") return `${title}  already set up\n\n`;
  if (plan.kind === "problem") {
    return `${title}  ✗ ${plan.message}; not changed\n${hintLine(plan).replace(/^/, "  ")}\n`;
  }
  const note = isFound ? "" : `  ${client.name} was not found; creating it anyway\n`;
  return `${title}${note}${colourDiff(showDiff(file, plan.file.text, plan.text), io)}\n`;
}

/** The next steps for the user; `again` is how this command is called. "" if ollm was added to no client. */
export function closing(plans: readonly AddPlan[], again: string, io: Pick<CommandIo, "columns">): string {
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
    'Try: "use a local model to summarise notes.txt".',
    `To undo: ${again} setup --undo`,
  ];
  return `\n${lines.map((line) => hanging("", line, io)).join("\n")}\n`;
}

/** Says that the program of a printed entry may be deleted. */
export function temporaryNote(again: string, io: Pick<CommandIo, "columns">): string {
  const text = `this copy of the program may be deleted (npx cache or temporary folder); \`${again} setup\` makes a lasting one`;
  return `${hanging("! ", text, io)}\n`;
}

/** The files that were looked for, and the entry to add by hand. */
export function nothingFound(facts: ClientFacts, program: Program, roots: readonly string[], again: string): string {
  const clients = clientTable(facts);
  const launch = createLaunch(program, roots, undefined);
  const looked = clients.flatMap(({ name, locations }) => locations.map(({ file }) => `  ${name}: ${file}`));
  const [first] = clients;
  const entry =
    first === undefined
      ? ""
      : addEntry("", entryLocation({ client: first, file: "", isFound: false }), first.entry(launch))
          .replaceAll(/^/gm, "  ")
          .trimEnd();
  return [
    "No client was found. Looked for:",
    ...looked,
    `For another client, add this entry "${entryName}":`,
    entry,
    `To add it for one of the clients above anyway: ${again} setup --client NAME`,
    "",
  ].join("\n");
}
