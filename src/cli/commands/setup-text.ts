import { addEntry } from "../hosts/document.ts";
import { isFolder } from "../hosts/folders.ts";
import { allowedFolders, createLaunch, entryName, type Program } from "../hosts/launch.ts";
import { placeOf, type AddPlan } from "../hosts/plan.ts";
import { showDiff } from "../hosts/show-diff.ts";
import { hostTable, type HostFacts } from "../hosts/table.ts";

/** What set-up would do to one file, for a person to consent to. Ends with an empty line. */
export function describe(plan: AddPlan): string {
  const { host, file, isFound } = plan.target;
  const title = `${host.name}  ${file}\n`;
  if (plan.kind === "same") return `${title}  already set up\n\n`;
  if (plan.kind === "problem") {
    return `${title}  ✗ ${plan.message}; it is left as it is\n${plan.hint === undefined ? "" : `    ${plan.hint}\n`}\n`;
  }
  const note = isFound ? "" : `  ${host.name} was not found here; the file is written all the same\n`;
  return `${title}${note}${showDiff(file, plan.file.text, plan.text)}\n`;
}

/** What a person can do now. `again` is how this command is called. "" when no host has us. */
export function closing(plans: readonly AddPlan[], again: string): string {
  const launches = plans.flatMap((plan) => (plan.kind === "problem" ? [] : [plan.launch]));
  if (launches.length === 0) return "";
  const folders = [...new Set(launches.flatMap((launch) => allowedFolders({ ...launch })))];
  const missing = folders.filter((folder) => !isFolder(folder));
  const lines = [
    folders.length > 0
      ? `Files: tools may read and write in ${folders.join(", ")}.`
      : `Files: no folder is allowed. Models work on text they are given, and on the project that an editor has open; to allow one: ${again} setup --root DIR`,
    ...missing.map((folder) => `! ${folder} is not a folder now; its files can be used once it is.`),
    'Try: "use a local model to summarise notes.txt".',
    `To take it out again: ${again} setup --undo`,
  ];
  return `\n${lines.join("\n")}\n`;
}

/** Where hosts were looked for, and the entry to write by hand. */
export function nothingFound(facts: HostFacts, program: Program, roots: readonly string[], again: string): string {
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
    `To write it for one of the hosts above before it is installed: ${again} setup --client NAME`,
    "",
  ].join("\n");
}
