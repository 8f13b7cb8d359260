import type { GenerateRequest } from "../api/facade.ts";
import { samplingNames } from "../api/sampling.ts";
import type { OptionOrigin } from "../api/facade-route.ts";
import type { CallerContext, CallerProject, CallerSettings, Privacy, Profile, Task } from "../api/types.ts";
import { isProjectKind, profileForTask, profileNamed } from "../config/profiles.ts";
import { classifyTask } from "../routing/classify.ts";
import { type ResolvedForModel, patternOf } from "../routing/model-overrides.ts";
import { defined } from "../util/values.ts";
import type { Thread } from "./conversations.ts";

/** A request with everything decided that does not depend on the model. No option is read from settings after this. */
export interface Resolved extends GenerateRequest {
  readonly decided: Decided;
  readonly client: string;
  /** The stricter of the request's and the caller's; `local_only` for a conversation that was. */
  readonly privacy: Privacy;
  /** What applies where neither request nor conversation nor profile says anything, and how models are chosen. */
  readonly settings: CallerSettings;
  /** Where `system` comes from; absent: the request. */
  readonly systemFrom?: "conversation" | "profile" | "project";
  /** Limit for remembered entries in the prompt, in tokens; 0: none. */
  readonly memoryTokens: number;
  /** Seed of the sampling; absent: the model's own, or random. */
  readonly seed?: number;
  /** Words of which the answer is one (`GenerationRequest.choices`): of requests that a check makes. */
  readonly choices?: readonly string[];
  /** Its texts are embedded, not answered. */
  readonly embeds?: boolean;
  /** From 0 to 1: by chance, a loaded model may be tried to learn about it. */
  readonly random?: number;
}

/** What a request is for. */
interface Decided {
  readonly task: Task;
  /** Why it is that task. */
  readonly because: string;
  readonly profile: Profile;
}

/** Resolves a request. Pure. Throws `InvalidRequest` for an unknown profile. */
export function resolve(
  given: GenerateRequest,
  caller: CallerContext,
  thread?: Pick<Thread, "system" | "isLocalOnly" | "history">,
): Resolved {
  const { settings } = caller;
  const decided = decide(caller, given);
  return {
    // A spread that comes first is slow if keys are added to it (`docs/decisions/0048-what-a-literal-costs.md`).
    decided,
    ...given,
    settings,
    client: caller.client,
    ...(given.chat === undefined && systemOf(given, decided.profile, settings, thread)),
    // A request can only narrow its caller's privacy.
    privacy: thread?.isLocalOnly === true || given.privacy === "local_only" ? "local_only" : settings.privacy,
    memoryTokens: given.useMemory === false || given.chat !== undefined ? 0 : settings.recall.injectTokens,
  };
}

/** That of the request, else of the conversation, of the profile that it names, of the project, of the profile for its task. */
function systemOf(
  { system, profile: name }: GenerateRequest,
  profile: Profile,
  { systemPrompt }: CallerSettings,
  thread: Pick<Thread, "system" | "history"> | undefined,
): Pick<Resolved, "system" | "systemFrom"> {
  if (system !== undefined) return { system };
  if (thread?.system !== undefined) return { system: thread.system, systemFrom: "conversation" };
  const ofProfile = profile.system === undefined ? {} : ({ system: profile.system, systemFrom: "profile" } as const);
  if (name !== undefined && profile.system !== undefined) return ofProfile;
  if (systemPrompt !== undefined) return { system: systemPrompt, systemFrom: "project" };
  // Turns of a conversation may be for different tasks: its system prompt, or its lack of one, stays.
  return thread === undefined || thread.history.length === 0 ? ofProfile : {};
}

/** The options that are not the request's own, with where they come from, for an explanation. */
export function originsOf(
  { settings, decided }: Pick<Resolved, "settings" | "decided">,
  model: string,
  { system: _system, maxTokens, contextTokens, sampling, from }: ResolvedForModel,
): readonly OptionOrigin[] {
  const values: Readonly<Record<string, unknown>> = { ...sampling, maxTokens, contextTokens };
  return Object.entries(from).flatMap(([name, layer]) => {
    if (layer === "request") return [];
    const pattern = layer === "models" ? patternOf(settings.models, model, name) : undefined;
    const where = layer === "profile" ? `profile ${decided.profile.name}` : layer;
    return {
      name,
      from: pattern === undefined ? where : `models.${pattern}`,
      ...defined({ value: values[name] as number | undefined }),
    };
  });
}

/** Decides task and profile of a request. Throws `InvalidRequest` for an unknown profile. */
export function decide({ settings, project }: CallerContext, request: GenerateRequest): Decided {
  const { prompt, task: asked, files = [], images, audio, format } = request;
  const { task, because } = classifyTask({
    prompt,
    ...defined({ task: asked, images, audio }),
    fileNames: files.map((file) => file.path),
    hasFormat: format !== undefined,
  });
  const { profiles, model } = settings;
  // A guess that is wrong must not load a model that hears, nor add what the profile says about recordings.
  const isGuess = asked === undefined && (audio?.length ?? 0) === 0;
  const likely = isGuess && task === "transcription" ? "general" : task;
  const kind = kindFor(project, files);
  const name = request.profile ?? profileForTask(likely, model.routing.defaultProfile, profiles, kind);
  const profile = profileNamed(name, profiles);
  const isDetected = request.profile === undefined && name === kind && project?.isProfileDetected === true;
  return { task, because, profile: isDetected ? ranking(profile) : profile };
}

const prose = /\.(?:md|mdx|markdown|rst|adoc)$/i;

/** The kind of the caller's project, where it may say something about the request: `documentation` only about such files. */
function kindFor(project: CallerProject | undefined, files: NonNullable<GenerateRequest["files"]>) {
  const kind = project?.settings.profile;
  if (!isProjectKind(kind)) return undefined;
  return kind !== "documentation" || files.some(({ path }) => prose.test(path)) ? kind : undefined;
}

/** The profile as far as it ranks models: one that the user has not chosen changes no prompt and no sampling. */
function ranking(profile: Profile): Profile {
  const changes: readonly string[] = ["system", "maxTokens", ...samplingNames];
  return Object.fromEntries(Object.entries(profile).filter(([name]) => !changes.includes(name))) as unknown as Profile;
}
