import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { CallerProject } from "../orchestrator/api/types.ts";
import { approvalIn, projectApproval } from "../orchestrator/api/facade-templates.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { type ToolContext, defineTool } from "./definition.ts";
import { notesFor } from "./render.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";

export const projectProfile = defineTool({
  name: "project_profile",
  title: "Project",
  description:
    "Project settings for local models (.ollm/project.yaml). show: those in force; detect: a folder's kind; init writes the file; use applies it, or a profile for this session.",
  effect: "write",
  input: z.strictObject({
    action: z.enum(["detect", "use", "init", "show"]),
    profile: z.string().optional().describe("Such as rust or code, or none."),
    folder: z.string().optional(),
  }),
  output: z.object({
    folder: z.string(),
    kind: z.string().optional(),
    evidence: z.array(z.string()).optional(),
    file: z.string().optional(),
    profile: z.string().optional(),
    model: z.string().optional(),
    system_prompt: z.string().optional(),
    default_profile: z.string().optional(),
    families: z.array(z.string()).optional(),
    templates: z.array(z.string()).optional(),
    enabled: z.array(z.string()).optional(),
    disabled: z.array(z.string()).optional(),
    is_trusted: z.boolean().optional(),
    notes: z.array(z.string()).optional(),
  }),
  async run({ action, profile, folder }, context) {
    const { orchestrator, caller, files } = context;
    switch (action) {
      case "show":
        return { data: shown(await lookedAt(context, folder), context) };
      case "detect":
        return { data: shown(await orchestrator.projects.detect(caller, await files.findFolder(folder))) };
      case "init": {
        const { project } = await orchestrator.projects.init(caller, await files.findFolder(folder), profile);
        return { data: shown(project, context) };
      }
      case "use":
        return use(context, profile, folder);
    }
  },
  render({ folder, kind, evidence, file, profile, model, default_profile, templates, is_trusted, notes }) {
    const parts = [
      `${folder}: ${kind ?? "unknown kind"}${evidence === undefined ? "" : ` (${evidence.join(", ")})`}`,
      ...(file === undefined ? [] : [`settings in ${file}`]),
      ...(model === undefined ? [] : [`model ${model}`]),
      ...profileParts(profile, default_profile),
      ...(templates === undefined ? [] : [`templates ${templates.join(", ")}`]),
      ...(is_trusted === false ? ["not approved"] : []),
    ];
    return [parts.join("; "), ...(notes ?? [])].join("\n");
  },
});

/** `profile rust: models for code`. */
function profileParts(profile: string | undefined, routed: string | undefined): readonly string[] {
  const name = profile ?? routed;
  if (name === undefined) return [];
  return [routed === undefined || routed === name ? `profile ${name}` : `profile ${name}; other prompts: ${routed}`];
}

/** The caller's project, or that of a folder inside its roots. */
async function lookedAt({ orchestrator, caller, files }: ToolContext, folder: string | undefined) {
  if (folder === undefined) {
    if (caller.project !== undefined) return caller.project;
    throw noProject();
  }
  return orchestrator.projects.detect(caller, await files.findFolder(folder));
}

function noProject(): InvalidRequest {
  return new InvalidRequest("no project here: no .ollm/project.yaml and no file such as package.json was found", {
    next: { step: "openProject" },
  });
}

async function use(context: ToolContext, profile: string | undefined, folder: string | undefined) {
  const { orchestrator, caller, files, answers } = context;
  const { projects } = orchestrator;
  const realFolder = folder === undefined ? undefined : await files.findFolder(folder);
  // Approval of another folder is asked for as if it were the caller's project.
  const seen = realFolder === undefined ? caller : { ...caller, project: await projects.detect(caller, realFolder) };
  const question = profile === undefined && seen.project !== undefined ? await projects.trustQuestion(seen) : undefined;
  if (question !== undefined) {
    const isApproved = approvalIn(answers ?? {}, question.digest);
    if (isApproved === undefined) return { needsInput: projectApproval(question, seen.project?.folder) };
    if (!isApproved) {
      throw new InvalidRequest("the user did not approve the project", {
        next: advice("continue without its settings"),
      });
    }
    await projects.trust(seen, question.digest);
  }
  const project = await projects.use(caller, defined({ profile, folder: realFolder }));
  if (project === undefined) throw noProject();
  return { data: shown(project, context) };
}

/** `context` for all of its settings in force; without it, only what was detected. */
function shown(project: CallerProject, context?: ToolContext) {
  const { settings, evidence, notes } = project;
  const byDefault = settings.routing?.defaultProfile;
  const name = byDefault ?? settings.profile;
  // A profile of the project that was approved in this call is not among the caller's yet.
  const suited = context?.orchestrator.profiles.list(context.caller).find(({ profile }) => profile.name === name);
  return defined({
    ...snakedOnly(project, ["folder", "kind", "file"]),
    evidence: evidence.length > 0 ? evidence : undefined,
    ...(context !== undefined && {
      ...snakedOnly(settings, ["profile", "model", "systemPrompt"]),
      default_profile: byDefault,
      families: suited?.profile.families,
      templates: suited?.profile.templates,
      enabled: settings.tools?.enabled,
      disabled: settings.tools?.disabled,
      is_trusted: project.isTrusted ? undefined : false,
      notes: notesFor({ project }, notes),
    }),
  });
}
