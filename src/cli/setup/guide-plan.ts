import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type ConfigFile, assertWritable, backupsOf, bytesOf, newlineOf, readConfigFile } from "./config-file.ts";
/**
 * Sub-agents by profile: the model of each is `ollm/PROFILE`. None runs commands where its tools can be chosen: a small
 * model obeys what it reads. A description without ": " needs no quotes in YAML.
 */
import agents from "./agents.json" with { type: "json" };
import { guideText, skill } from "../../resources/guide.ts";
import { type ClientTarget, type Client, type ClientFacts, clientTable } from "./clients.ts";
import { type FileTarget, type Problem, type RemovePlan, orProblem } from "./plan.ts";

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

/**
 * Where the guide of these clients goes: files to write, and for other clients what completes "paste it into". With `hook`,
 * the command of a hook, the plugin, too: its files that are there, or with `isWhole` all.
 */
export async function guidePlaces(
  targets: readonly ClientTarget[],
  hook?: string,
  isWhole = false,
): Promise<{
  readonly files: readonly GuideTarget[];
  readonly pastes: ReadonlyMap<Client, string>;
}> {
  const files: GuideTarget[] = [];
  const pastes = new Map<Client, string>();
  for (const { client, file } of targets) {
    const location = client.locations.find((each) => each.file === file);
    const guide = location?.guide;
    if (location !== undefined && hook !== undefined)
      files.push(...pluginFiles(client, location, hook).filter((each) => isWhole || existsSync(each.file)));
    if (guide?.kind === "paste") pastes.set(client, guide.where);
    else if (guide !== undefined) files.push(...(await fileInUse(guideFiles(client, guide))));
  }
  return { files: onceEachFile(files), pastes };
}

/** Every existing file that may contain a guide; with `ids`, those of these clients. */
export function existingGuides(facts: ClientFacts, ids: readonly string[]): readonly GuideTarget[] {
  const clients = clientTable(facts).filter(({ id }) => ids.length === 0 || ids.includes(id));
  // The folder of a skill is empty, and goes, when the plugin's files in it are gone.
  const files = clients.flatMap((client) =>
    client.locations.flatMap((location) => [
      ...pluginFiles(client, location, ""),
      ...guideFiles(client, location.guide),
    ]),
  );
  return onceEachFile(files).filter(({ file }) => existsSync(file));
}

/** The files of all agents that `ollm agents install` writes for Claude Code and Codex, whether they exist or not. */
export function agentFiles(facts: ClientFacts): readonly GuideTarget[] {
  const names = Object.keys(agents) as readonly (keyof typeof agents)[];
  const forms = { "claude-code": ["agent", "md"], codex: ["role", "toml"] } as const;
  return clientTable(facts).flatMap((client) => {
    if (client.id !== "claude-code" && client.id !== "codex") return [];
    const [kind, ending] = forms[client.id];
    return client.locations.flatMap(({ file, guide }) => {
      const folder = guide.kind === "skill" ? path.dirname(path.dirname(path.dirname(guide.file))) : path.dirname(file);
      return names.map((name): GuideTarget => {
        return { client, file: path.join(folder, "agents", `ollm-${name}.${ending}`), form: `${kind} ${name}` };
      });
    });
  });
}

/**
 * Claude Code loads a skill's folder with a manifest as a plugin, hooks included; Codex has a file of hooks. Nothing
 * is written for other clients.
 */
function pluginFiles(
  client: Client,
  { file, guide }: Client["locations"][number],
  hook: string,
): readonly GuideTarget[] {
  const form = `hook ${hook}` as const;
  if (client.id === "codex") return [{ client, file: path.join(path.dirname(file), "hooks.json"), form }];
  if (client.id !== "claude-code" || guide.kind !== "skill") return [];
  const folder = path.dirname(guide.file);
  return [
    { client, file: path.join(folder, "hooks", "hooks.json"), form },
    { client, file: path.join(folder, ".claude-plugin", "plugin.json"), form: "plugin" },
  ];
}

/** What messages call the text of this form. */
export function partOf(form: GuideForm): "agent" | "guide" | "plugin" {
  return isPlugin(form) ? "plugin" : isAgent(form) ? "agent" : "guide";
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
      throw new InvalidRequest(`${target.file}: the ${partOf(form)} was edited`, { next: advice("remove it by hand") });
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
async function readBackup(name: string, form: GuideForm) {
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
function guideFiles(client: Client, guide: Client["locations"][number]["guide"]): readonly GuideTarget[] {
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

/**
 * The form of the guide in a file: the whole file, as a skill, as instructions or as a rule, or a section of it. An agent's
 * file is shown, marked and removed in the same way.
 */
type GuideForm = "skill" | "instructions" | "rule" | "section" | PluginForm | AgentForm;
type PluginForm = "plugin" | `hook ${string}`;
type AgentForm = `${"agent" | "role"} ${keyof typeof agents}`;

const heads = {
  skill: skill.head,
  instructions: `---
applyTo: "**"
---
`,
  rule: "",
  section: "",
};

const markStart = "<!-- ollm guide ";
/** Codex's files are TOML. */
const markOf = (form: GuideForm): string =>
  isPlugin(form) ? '"ollm guide ' : form.startsWith("role ") ? "# ollm guide " : markStart;
const sectionEnd = "<!-- end of ollm guide -->";
const checksumInMark = /((?:<!--|#|") ?ollm guide )[0-9a-f]{8}(?=:)/;

/** The guide in a form, with `\n`; a section has no line break at its end. */
export function guideIn(form: GuideForm): string {
  const text = withMark(form);
  return text.replace(checksumInMark, `$1${checksum(text)}`);
}

/** The text with a checksum of zeros. */
function withMark(form: GuideForm): string {
  if (isPlugin(form)) return `${JSON.stringify(pluginFile(form), undefined, 2)}\n`;
  const { head, undo, body } = partsOf(form);
  const mark = `${markOf(form)}00000000: ${undo} removes it`;
  return `${head}${mark}${mark.startsWith("#") ? "" : " -->"}\n${body}`;
}

function pluginFile(form: PluginForm): object {
  const description =
    "ollm guide 00000000: ollm setup --undo removes it. With a large file or diff that is read, it says in one line what a local model would save, or refuses the read (OLLM_HOOK=refuse); it refuses agents of ollm in sessions without their models. OLLM_HOOK=off turns it off.";
  if (form === "plugin") return { name: "ollm", description };
  const run = { type: "command", command: form.slice("hook ".length), timeout: 5 };
  return { description, hooks: { PreToolUse: [{ matcher: "Read|Bash|Agent|Task", hooks: [run] }] } };
}

function partsOf(form: Exclude<GuideForm, PluginForm>) {
  if (!isAgent(form)) {
    return { head: heads[form], undo: "ollm setup --undo", body: guideText + (form === "section" ? sectionEnd : "") };
  }
  const [kind, name] = form.split(" ") as ["agent" | "role", keyof typeof agents];
  const { description, tools, text } = agents[name];
  const undo = "ollm agents remove";
  const head = `---\nname: ollm-${name}\ndescription: ${description}\ntools: ${tools}\nmodel: ollm/${name}\n---\n`;
  if (kind === "agent") return { head, undo, body: text };
  const role = { name: `ollm-${name}`, description, model: `ollm/${name}`, model_reasoning_effort: "none" };
  const lines = Object.entries(role).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  return { head: "", undo, body: `${lines.join("")}developer_instructions = """\n${text}"""\n` };
}

function isPlugin(form: GuideForm): form is PluginForm {
  return form === "plugin" || form.startsWith("hook ");
}

function isAgent(form: GuideForm): form is AgentForm {
  return /^(agent|role) /.test(form);
}

/**
 * The state of the guide in a file's text; "" is that of an absent file. `older`: as an earlier version of setup wrote it.
 * `changed`: edited since. `foreign`: another file of that name.
 */
export function guideState(text: string, form: GuideForm) {
  const found = find(text, form);
  if (typeof found === "string") return found;
  const guide = withNewlines(text.slice(found.start, found.end), "\n");
  if (checksumInMark.exec(guide)?.[0] !== markOf(form) + checksum(guide)) return "changed";
  return guide === guideIn(form) ? "current" : "older";
}

/** The text with the current guide; an older one is replaced. For the states `absent` and `older`. */
export function withGuide(text: string, form: GuideForm): string {
  const found = find(text, form);
  const newline = newlineOf(typeof found === "object" ? text.slice(found.start, found.end) : text);
  const guide = withNewlines(guideIn(form), newline);
  if (typeof found === "object") return text.slice(0, found.start) + guide + text.slice(found.end);
  if (form !== "section") return guide;
  // A text without a line break at its end keeps none, which tells `withoutGuide` what to restore.
  if (text === "") return guide + newline;
  return text.endsWith("\n") ? text + newline + guide + newline : text + newline + newline + guide;
}

/** The text as it was before `withGuide`, byte for byte. For the states `current` and `older`. */
export function withoutGuide(text: string, form: GuideForm): string {
  const found = find(text, form);
  if (typeof found === "string") return text;
  const newline = newlineOf(text.slice(found.start, found.end));
  const before = text.slice(0, found.start);
  const after = text.slice(found.end);
  if (after === "") return withoutEnd(withoutEnd(before, newline), newline);
  return withoutEnd(before, newline) + (after.startsWith(newline) ? after.slice(newline.length) : after);
}

/** A file's text for a diff: with one line in place of the guide's lines, and with a line break at its end. */
export function withFoldedGuide(text: string): string {
  const line = `… (the guide, ${guideText.trimEnd().split("\n").length} lines)\n`;
  const folded = text.replace(guideText, line).replace(withNewlines(guideText, "\r\n"), line);
  return folded === "" || folded.endsWith("\n") ? folded : folded + newlineOf(folded);
}

function find(
  text: string,
  form: GuideForm,
): "absent" | "changed" | "foreign" | { readonly start: number; readonly end: number } {
  if (form !== "section") {
    if (text === "") return "absent";
    return text.includes(markOf(form)) ? { start: 0, end: text.length } : "foreign";
  }
  const starts = text.split(markStart).length - 1;
  const ends = text.split(sectionEnd).length - 1;
  if (starts === 0 && ends === 0) return "absent";
  const start = text.indexOf(markStart);
  const end = text.indexOf(sectionEnd) + sectionEnd.length;
  return starts === 1 && ends === 1 && start < end ? { start, end } : "changed";
}

/** The checksum of a guide with `\n`, whatever checksum its mark has. */
function checksum(guide: string): string {
  return createHash("sha256").update(guide.replace(checksumInMark, "$1")).digest("hex").slice(0, 8);
}

function withNewlines(text: string, newline: string): string {
  return text.replaceAll(/\r?\n/g, newline);
}

function withoutEnd(text: string, end: string): string {
  return text.endsWith(end) ? text.slice(0, -end.length) : text;
}
