import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext, CallerProject, CallerSettings, Privacy, Profile, Task } from "../api/types.ts";
import { isProjectKind, profileForTask, profileNamed } from "../config/profiles.ts";
import { classifyTask } from "../routing/classify.ts";
import { overridesOf } from "../routing/model-overrides.ts";
import { defined } from "../util/defined.ts";
import { type OwnDefaults, settingOrOwn } from "./prompt.ts";

/** What a request is for. */
export interface Decided {
  readonly task: Task;
  /** Why it is that task. */
  readonly because: string;
  readonly profile: Profile;
}

/** A request whose task and profile may be decided already. */
export interface DecidedRequest extends GenerateRequest {
  readonly decided?: Decided;
  /** Seed of the sampling; absent: the model's own, or random. */
  readonly seed?: number;
  /** From 0 to 1: by chance, a loaded model may be tried to learn about it. */
  readonly random?: number;
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
  const { profiles, routing } = settings;
  // A guess that is wrong must not load a model that hears, nor add what the profile says about recordings.
  const isGuess = asked === undefined && (audio?.length ?? 0) === 0;
  const likely = isGuess && task === "transcription" ? "general" : task;
  const kind = kindFor(project, files);
  const name = request.profile ?? profileForTask(likely, routing.defaultProfile, profiles, kind);
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
function ranking({ system: _1, temperature: _2, topP: _3, maxTokens: _4, ...profile }: Profile): Profile {
  return profile;
}

/** The stricter of both: a request can only narrow its caller's privacy. */
export function narrowed(allowed: Privacy, asked: Privacy | undefined): Privacy {
  return allowed === "local_only" || asked === "local_only" ? "local_only" : "allow_remote";
}

/** Most tokens of a model's answer: of the request, the profile, the settings for the model, all settings, or the model. */
export function maxTokensFor(
  settings: CallerSettings,
  { maxTokens }: Pick<GenerateRequest, "maxTokens">,
  profile: Profile | undefined,
  model: string,
  own: OwnDefaults,
): number {
  return (
    maxTokens ??
    profile?.maxTokens ??
    overridesOf(settings.models, model).options?.maxTokens ??
    settingOrOwn("maxTokens", settings, own)
  );
}
