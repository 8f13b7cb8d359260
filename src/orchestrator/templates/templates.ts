import { nameProblem } from "../util/file-name.ts";
import { dirname, join } from "node:path";
import { InvalidRequest, UnknownTemplate, projectOf } from "../api/errors.ts";
import type {
  CreateTemplateRequest,
  SavedTemplate,
  Template,
  TemplateList,
  Templates,
} from "../api/facade-templates.ts";
import type { Emit } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { LRUCache } from "lru-cache";
import { createMutex } from "../util/joined-work.ts";
import { profileNames } from "../config/profiles.ts";
import { didYouMean } from "../util/nearest.ts";
import { openVariable } from "../util/placeholders.ts";
import { yamlOf } from "../util/parse-yaml.ts";
import { systemTimers } from "../util/timers.ts";
import { getOrInsert } from "../util/values.ts";
import { type FolderWatch, watchFolder } from "../util/watch-folder.ts";

import {
  type TemplateFolder,
  createTemplateFolder,
  removeTemplate,
  renameOrOverwrite,
  writeTemplate,
} from "./folder.ts";
import { type TemplateFile, builtInTemplates, parsePipeline, parseTemplate, pipelineText } from "./parse-file.ts";
import builtInPipelines from "./built-in-pipelines.json" with { type: "json" };
import { doubledHole, filesValue, fill, piecesOf, valuesOf } from "./render.ts";

/** So many folders, the most recently used, are watched: two of the user, which are read before any project's, and of projects. */
const maxFolders = 18;

interface OpenFolder {
  readonly files: TemplateFolder;
  readonly watch: FolderWatch;
}

/** Templates of the user, the project and ollm. Reads folders on use, and again when they change. */
export class CallerTemplates implements Templates {
  readonly #parts: ConstructorParameters<typeof CallerTemplates>[0];
  readonly #folders = new LRUCache<string, OpenFolder>({
    max: maxFolders,
    dispose: ({ watch }) => watch.close(),
  });
  readonly #write = createMutex();
  #builtIn: readonly Template[] | undefined;
  #isClosed = false;

  constructor(parts: {
    /** `OLLM_HOME/templates`. */
    readonly folder: string;
    readonly log: Log;
    readonly emit: Emit;
    /** Writes a file of a project on the user's behalf, keeping its approval. Absent: the project needs a new approval. */
    readonly writeForUser?: (
      project: string,
      write: () => Promise<{ readonly file: string; readonly text: string }>,
    ) => Promise<void>;
  }) {
    this.#parts = parts;
  }

  list(caller: CallerContext): Promise<TemplateList> {
    const { templatesFolder } = caller.project ?? {};
    return this.#list(caller, "templates", templatesFolder, (this.#builtIn ??= builtInTemplates()));
  }

  async pipelines(caller: CallerContext): Promise<TemplateList> {
    const builtIn = await Promise.all(
      builtInPipelines.map(async ({ name, ...pipeline }): Promise<Template> => {
        const { template } = pipelineText(name, await yamlOf(pipeline));
        return { ...template, source: "built-in" };
      }),
    );
    return this.#list(caller, "pipelines", caller.project?.pipelinesFolder, builtIn);
  }

  async #list(
    { project }: CallerContext,
    kind: "templates" | "pipelines",
    projectFolder: string | undefined,
    builtIn: readonly Template[],
  ): Promise<TemplateList> {
    const known = new Map<string, Template>(builtIn.map((template) => [template.name, template]));
    const problems: string[] = [];
    const add = async (path: string, source: "user" | "project", inside?: string): Promise<void> => {
      for (const entry of await this.#read(path, inside, kind === "templates" ? parseTemplate : parsePipeline)) {
        if ("problem" in entry) {
          problems.push(entry.problem);
          continue;
        }
        const { template, file, sha256 } = entry;
        if (source === "project" && !isApproved(project, file, sha256)) {
          problems.push(`${file} is not used: it has changed since the user approved it`);
          continue;
        }
        const hidden = known.get(template.name);
        known.set(template.name, { ...template, source, file, ...(hidden !== undefined && { hides: hidden.source }) });
      }
    };
    await add(kind === "templates" ? this.#parts.folder : join(dirname(this.#parts.folder), kind), "user");
    const waiting = waitingPrompts(project, kind, projectFolder);
    if (waiting !== undefined) problems.push(waiting);
    else if (projectFolder !== undefined) await add(projectFolder, "project", project?.folder);
    const templates = [...known.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return { templates, problems };
  }

  async get(caller: CallerContext, name: string): Promise<Template> {
    const { templates, problems } = await this.list(caller);
    const found =
      templates.find((template) => template.name === name) ??
      templates.find(({ aliases = [] }) => aliases.includes(name));
    if (found !== undefined) return found;
    const names = templates.map((template) => template.name);
    const broken = problems.find((problem) => /[^/\\]+(?=\.ya?ml\b)/i.exec(problem)?.[0] === name);
    // It may be one of the project's.
    const waiting = waitingPrompts(caller.project, "templates", caller.project?.templatesFolder);
    const why = broken ?? waiting;
    throw new UnknownTemplate(`there is no template ${JSON.stringify(name)}${why === undefined ? "" : `: ${why}`}`, {
      next: [
        ...(broken === undefined && waiting !== undefined ? [{ step: "approveProject" } as const] : []),
        ...didYouMean(name, names, 3, { step: "chooseOneOf", names }),
      ],
    });
  }

  render: Templates["render"] = async (caller, name, variables, files) => {
    const template = await this.get(caller, name);
    const fillable = openVariable(template.variables, variables);
    // Files are read last: other missing variables may have to be asked for first, which repeats all of this.
    const isFilled = fillable !== undefined && files !== undefined;
    const found = valuesOf(template, isFilled ? { ...variables, [fillable]: "" } : variables);
    if ("missing" in found) {
      const isOpen = found.missing.some((each) => each.name === fillable);
      return { missing: found.missing, template, ...(isOpen && fillable !== undefined && { fromFiles: fillable }) };
    }
    const pieces = piecesOf(template.template);
    const values = new Map(found.values);
    if (isFilled) values.set(fillable, filesValue(await files(), pieces, fillable));
    const valueOf = (each: string): string => values.get(each) ?? "";
    const text = fill(pieces, valueOf);
    const { system } = template;
    return {
      rendered: {
        template,
        text,
        ...(system !== undefined && { system: fill(piecesOf(system), valueOf) }),
        hasFiles: isFilled,
      },
    };
  };

  create(caller: CallerContext, request: CreateTemplateRequest): Promise<SavedTemplate> {
    return this.#write(() => this.#save(caller, request));
  }

  remove(caller: CallerContext, name: string): Promise<SavedTemplate> {
    return this.#write(async () => {
      const { file, ...template } = await this.get(caller, name);
      if (file === undefined) throw new InvalidRequest(`${template.name} is built in and can't be deleted`);
      if (template.source !== "user") {
        throw new InvalidRequest(`${template.name} is a template of the project, in ${file}`, {
          next: advice("delete the file in the project"),
        });
      }
      await removeTemplate(file);
      // This read publishes the change.
      await this.#read(this.#parts.folder);
      return { ...template, file };
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#folders.clear();
  }

  async #save(caller: CallerContext, request: CreateTemplateRequest): Promise<SavedTemplate> {
    const { name, scope = "user", mayOverwrite = false } = request;
    const wrongName = nameProblem(name);
    if (wrongName !== undefined) throw new InvalidRequest(`${JSON.stringify(name)} ${wrongName}`);
    const { profile } = request;
    const { writeForUser } = this.#parts;
    const profiles = profileNames(caller.settings.profiles);
    if (profile !== undefined && !profiles.includes(profile)) {
      throw new InvalidRequest(`there is no profile ${JSON.stringify(profile)}`, {
        next: didYouMean(profile, profiles, 1, { step: "chooseOneOf", names: profiles }),
      });
    }
    refuseDoubledBraces(request);
    const project = scope === "user" ? undefined : projectOf(caller);
    const inside = project?.folder;
    const path =
      project === undefined
        ? this.#parts.folder
        : (project.templatesFolder ?? join(project.folder, ".ollm", "templates"));
    const text = await yamlOf(fileOf(request));
    const parsed = await parseTemplate(text, name);
    if ("problem" in parsed) {
      throw new InvalidRequest(`the template ${parsed.problem}`, { next: { step: "correctArguments" } });
    }
    const own = (await this.#read(path, inside)).find(
      (entry) => "template" in entry && entry.template.name.toLowerCase() === name.toLowerCase(),
    );
    if (own !== undefined && !mayOverwrite) {
      throw new InvalidRequest(`there is already a template ${name}, in ${own.file}`, { next: renameOrOverwrite });
    }
    const file = own?.file ?? join(path, `${name}.yaml`);
    const writeIt = async () => {
      await writeTemplate(file, text, { mayOverwrite, inside });
      return { file, text };
    };
    if (inside === undefined || writeForUser === undefined) await writeIt();
    else await writeForUser(inside, writeIt);
    // This read publishes the change.
    await this.#read(path, inside);
    const { templates } = await this.list(caller);
    const stored = templates.find((template) => template.file === file);
    if (stored !== undefined) return { ...stored, file };
    // The caller's view of the project is older than the new template.
    const hidden = templates.find((template) => template.name === name && template.source !== scope);
    return { ...parsed.template, source: scope, file, ...(hidden !== undefined && { hides: hidden.source }) };
  }

  #changed(): void {
    if (!this.#isClosed) this.#parts.emit({ kind: "templates changed" });
  }

  #open(path: string, inside: string | undefined, parse: typeof parseTemplate): OpenFolder {
    return getOrInsert<string, OpenFolder>(this.#folders, path, () => {
      const files = createTemplateFolder(path, inside, parse);
      const watch = watchFolder({
        folder: path,
        log: this.#parts.log,
        timers: systemTimers,
        onChange: () => void files.read().then(({ isChanged }) => isChanged && this.#changed()),
      });
      return { files, watch };
    });
  }

  async #read(path: string, inside?: string, parse = parseTemplate) {
    const { files, watch } = this.#open(path, inside, parse);
    if (!this.#isClosed) await watch.adjust();
    const { entries, isChanged } = await files.read();
    // Where the system doesn't report changes, this read finds them.
    if (isChanged) this.#changed();
    return entries;
  }
}

/** Rejects `{{topic}}` in new templates, where a variable is meant; in existing files `{{` is a brace. */
function refuseDoubledBraces({ template, system = "" }: CreateTemplateRequest): void {
  for (const [part, text] of [
    ["template", template],
    ["system", system],
  ] as const) {
    const doubled = doubledHole(text);
    if (doubled === undefined) continue;
    const { written, name, line } = doubled;
    throw new InvalidRequest(`${written} in line ${line} of ${part} is not a variable`, {
      next: advice(
        `write {${name}} for a variable; for the literal text {${name}}, edit the template's file afterwards`,
      ),
    });
  }
}

/** The problem of a project's templates or pipelines that wait for approval. */
function waitingPrompts(project: CallerContext["project"], kind: string, folder: string | undefined) {
  if (folder === undefined || project?.isTrusted === true) return undefined;
  return `the ${kind} in ${folder} are not used until the user approves the project`;
}

/** The content of the template's file, without absent fields. */
function fileOf(request: CreateTemplateRequest): TemplateFile {
  const { name, description, template, system, model, profile, options, format } = request;
  const variables = request.variables?.map(({ name: variable = "", isRequired, default: fallback, ...rest }) => ({
    name: variable,
    required: isRequired,
    default: fallback,
    description: rest.description,
    enum: rest.enum && [...rest.enum],
    type: rest.type,
  }));
  const file = { name, description, system, model, profile, options, format, variables, template };
  return JSON.parse(JSON.stringify(file)) as TemplateFile;
}

/** Whether the user approved exactly these bytes. */
function isApproved(project: CallerContext["project"], file: string, sha256: string): boolean {
  return project?.templates?.some((approved) => approved.file === file && approved.sha256 === sha256) === true;
}
