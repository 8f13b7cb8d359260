import {
  BudgetExceeded,
  Cancelled,
  EngineUnreachable,
  InvalidConfig,
  ModelDoesNotFit,
  OrchestratorError,
  PrivacyLocked,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
} from "../api/errors.ts";
import type { Preference } from "../api/facade-compare.ts";
import type { RouteExplanation } from "../api/facade-route.ts";
import type { GenerateRequest, ModelSuggestion, SuggestedModel } from "../api/facade.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import type { CallerSettings, Capability, Task } from "../api/types.ts";
import { fallbackOf } from "../config/profiles.ts";
import { forModel } from "../routing/model-overrides.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { type LocatedModel, allowRemote } from "../catalog/located-model.ts";
import type { Candidate, ChoiceFailure, ChoiceRequest } from "../routing/candidate.ts";
import { chooseModel } from "../routing/choose.ts";
import { typicalAnswerTokens } from "../routing/expected-seconds.ts";
import type { QualityState } from "../routing/quality-state.ts";
import { sameModel } from "../util/model-name.ts";
import { type CandidateSource, type LocatedCandidate, engineFirst, listCandidates, toCandidate } from "./candidates.ts";
import { buildMessages, countPromptTokens } from "./prompt.ts";
import type { Resolved } from "./resolve.ts";
import { defined } from "../util/values.ts";

/** The models to try, in order, and all candidates considered. */
export interface Route extends Omit<RouteExplanation, "options" | "attempts"> {
  readonly chain: readonly { readonly entry: LocatedCandidate; readonly reason: string }[];
  /** Settings that could not be applied. */
  readonly notes: readonly string[];
  /** The first model is tried to learn about it. */
  readonly isExploring?: boolean;
}

export interface RouteSource extends CandidateSource {
  /** Models to pull, for errors that name one. */
  readonly suggestions: {
    models(): Promise<ModelSuggestion>;
    vision(): Promise<SuggestedModel | undefined>;
  };
  readonly learned: {
    /** The user's pick, and what answers showed, as far as it counts for the client. Never rejects. */
    known(task: Task, client: string): Promise<{ readonly picked?: Preference; readonly learned: QualityState }>;
    /** A random number for `chooseModel`, unless answers are not rated, so that exploring teaches nothing. */
    chance(): number | undefined;
    /** A model was tried to learn about it. */
    explored(): void;
  };
}

/**
 * Chooses the models for a request. Reads lists and memory, changes nothing. `down` are the ids of engines that did not
 * respond to this request, and of models that did not fit.
 * Throws `UnknownModel` (no model, or none of that name), `PrivacyLocked`, `ModelDoesNotFit`, `UnsupportedCapability`,
 * `PromptTooLong`, `EngineUnreachable` (all candidates are cooling down), and
 * `InvalidConfig` (routing is off and `model.default` is not set).
 */
export async function chooseRoute(
  source: RouteSource,
  request: Resolved,
  signal: AbortSignal,
  down: ReadonlySet<string> = new Set(),
  /** The model of the last answer of the conversation, which has its prefix in the cache. */
  lastModel?: string,
): Promise<Route> {
  const { settings } = request;
  const explicit = request.model ?? (settings.model.routing.enabled ? undefined : onlyModel(settings));

  if (explicit !== undefined) {
    let held: readonly LocatedModel[] = await source.inventory.locate(explicit);
    if (down.size > 0) held = held.filter(({ engine }) => !down.has(engine.id));
    if (held.length > 1) held = engineFirst(await withoutStuckEngines(source, held), settings.model.provider);
    const named: LocatedCandidate[] = [];
    for (const each of held) named.push(withoutCoolDown(await toCandidate(source, each, {}, signal)));
    // The window is checked against exact numbers later.
    const { because, ask } = choiceOf(request, 0);
    const modelBecause = request.model === undefined ? defaultModelWords(settings) : "requested";
    const learned = usable(await source.learned.known(ask.task, request.client), settings);
    const [first] = held;
    // It may be known by its tag alone.
    const isItself = first === undefined || first.model.name === explicit || sameModel(first.model.name, explicit);
    const model = isItself ? explicit : first.model.name;
    const asked = { modelBecause, ...ask, learned, model, outputTokens: 1 };
    const choice = chooseModel(asked, candidatesOf(named));
    if (choice.failure !== undefined) {
      // With all candidates, the next step can name a model that would serve.
      const all = candidatesOf(await listCandidates(source, false, signal));
      throw await refusal(source, chooseModel(asked, all).failure ?? choice.failure, promptTokensOf(request));
    }
    return {
      task: ask.task,
      because,
      ...profileOf(choice),
      chain: chainOf(choice, named),
      get considered() {
        return choice.considered;
      },
      notes: [],
    };
  }

  const { because, ask } = choiceOf(request);
  const { task, promptTokens } = ask;
  const known = await source.learned.known(task, request.client);
  const { picked } = known;

  for (let withMemory = false; ; withMemory = true) {
    const entries = await listCandidates(source, withMemory, signal, down, settings.model.provider);
    if (entries.length === 0) throw await nothingInstalled(source, task);
    const { preferred, notes } = preferredModel(settings, task, entries, { lastModel, picked });
    const { random } = request;
    const routed = {
      preferred: preferred?.model,
      ...ask,
      learned: usable(known, settings),
      preferredBecause: preferred?.because,
      // What the user or the conversation prefers is not put at risk, nor is a request that says how hard it is.
      ...(random === undefined || preferred !== undefined || request.complexity !== undefined ? {} : { random }),
    };
    const first = chooseModel(routed, candidatesOf(entries));
    const [head] = first.chain;
    // Whether a better model could be loaded instead depends on the memory.
    const isSettled = head?.candidate.isLoaded === true && head.better === undefined;
    if (!isSettled && !withMemory) continue;
    // Models that are cooling down are skipped only if another one can serve.
    const tried = first.failure === undefined ? entries : entries.map(withoutCoolDown);
    const choice = tried === entries ? first : chooseModel(routed, candidatesOf(tried));
    if (choice.failure !== undefined) throw await refusal(source, choice.failure, promptTokens);
    return {
      task,
      because,
      ...profileOf(choice),
      chain: chainOf(choice, tried),
      get considered() {
        return choice.considered;
      },
      notes,
      isExploring: choice.chain[0]?.because === "explored",
    };
  }
}

/** What was learned, if there is anything and the caller's settings allow using it. */
function usable(
  { learned }: Awaited<ReturnType<RouteSource["learned"]["known"]>>,
  { model: { routing } }: CallerSettings,
): ChoiceRequest["learned"] {
  return routing.learn && learned.tasks.length > 0 ? learned : undefined;
}

const promptTokensOf = (request: GenerateRequest): number =>
  countPromptTokens(buildMessages(request), undefined, request.chat);

/** The request as routing sees it: measured, under the caller's settings. */
export function choiceOf(
  request: Resolved,
  promptTokens = promptTokensOf(request),
): { readonly because: string; readonly ask: ChoiceRequest } {
  const { files = [], complexity, settings, privacy } = request;
  const { task, because, profile } = request.decided;
  const fallback = fallbackOf(profile, settings.profiles);
  const maxTokens = request.maxTokens ?? profile.maxTokens;
  const ask = defined({
    task,
    profile,
    fallback,
    promptTokens,
    files: files.length === 0 ? undefined : files.map(({ path, text }) => ({ path, tokens: estimateTokens(text) })),
    outputTokens: request.maxTokens ?? 1,
    answerTokens: maxTokens === undefined ? undefined : Math.min(maxTokens, typicalAnswerTokens),
    // A server that charges for answers states no defaults of its own.
    limitOf: (model: string) => forModel(request, model, {}).maxTokens,
    images: request.images?.length,
    needs: neededCapabilities(request),
    audioFormats: request.audio?.map(({ format }) => format),
    privacy,
    maxSwitchSeconds: settings.model.routing.maxSwitchSeconds,
    models: settings.models,
    complexity,
  });
  return { because, ask };
}

/** Leaves out stuck engines (they respond, but generate no tokens), unless all are stuck. */
async function withoutStuckEngines(source: RouteSource, held: readonly LocatedModel[]) {
  const stuck = (await source.inventory.recentLists()).filter((list) => list.message !== undefined && !list.staleSince);
  const others = held.filter((each) => !stuck.some(({ engine }) => engine === each.engine));
  return others.length > 0 ? others : held;
}

/** `model.default`, which serves every request while routing is off. */
function onlyModel({ model }: CallerSettings): string {
  if (model.default !== undefined) return model.default;
  throw new InvalidConfig("model.routing.enabled is false and model.default is not set, so no model is selected", {
    next: [
      { step: "changeSetting", setting: "model.default" },
      { step: "chooseModel" },
      { step: "changeSetting", setting: "model.routing.enabled", to: "true" },
    ],
  });
}

/** Why `model.default` was chosen. */
const defaultModelWords = ({ isProjectModel = false }: CallerSettings) =>
  isProjectModel ? "the project's model" : "model.default";

/** The first installed model that the settings name for the task; each one that is not installed gets a note. */
function preferredModel(
  settings: CallerSettings,
  task: Task,
  entries: readonly LocatedCandidate[],
  { lastModel, picked }: { readonly lastModel: string | undefined; readonly picked: Preference | undefined },
) {
  const { model: own, isProjectModel = false } = settings;
  const day = picked?.pickedAt.slice(0, 10);
  const where = picked !== undefined && picked.comparisonId === undefined ? "" : " in a comparison";
  const pick = { setting: "your pick", model: picked?.model, because: `picked by you${where} on ${day}` };
  const byDefault = isProjectModel
    ? { setting: "the project", model: own.default, because: defaultModelWords(settings) }
    : { setting: "model.default", model: own.default, because: "preferred" };
  const named = [
    { setting: "the conversation", model: lastModel, because: "continues the conversation" },
    { setting: `model.routing.overrides.${task}`, model: own.routing.overrides[task], because: "preferred" },
    // A project's model is more specific than a pick.
    ...(isProjectModel ? [byDefault, pick] : [pick, byDefault]),
  ];
  const notes: string[] = [];
  for (const { setting, model, because } of named) {
    if (model === undefined) continue;
    const isThere = entries.some(({ candidate }) => sameModel(candidate.model, model));
    if (isThere) return { preferred: { model, because }, notes };
    notes.push(`${setting} names ${model}, which is not installed`);
  }
  return { preferred: undefined, notes };
}

function neededCapabilities(request: Resolved): readonly Capability[] {
  const { images = [], audio = [], think = false, needs = [] } = request;
  const { tools = [], toolChoice, messages = [] } = request.chat ?? {};
  const has = (part: "images" | "audio") => messages.some((message) => (message[part]?.length ?? 0) > 0);
  return [
    ...(request.embeds === true ? [] : (["completion"] as const)),
    ...(images.length > 0 || has("images") ? (["vision"] as const) : []),
    ...(audio.length > 0 || has("audio") ? (["audio"] as const) : []),
    ...(think === false ? [] : (["thinking"] as const)),
    ...needs,
    ...(tools.length > 0 && toolChoice !== "none" ? (["tools"] as const) : []),
  ];
}

type Choice = ReturnType<typeof chooseModel>;

function chainOf(choice: Choice, entries: readonly LocatedCandidate[]): Route["chain"] {
  const byCandidate = new Map<Candidate, LocatedCandidate>();
  for (const entry of entries) byCandidate.set(entry.candidate, entry);
  return choice.chain.flatMap((link) => {
    const entry = byCandidate.get(link.candidate);
    if (entry === undefined) return [];
    return {
      entry,
      get reason() {
        return link.reason;
      },
    };
  });
}

/** The requested profile, and the one that the chosen model matches instead. */
export function profileOf({
  profile,
  fallback,
}: Pick<Route, "profile" | "fallback">): Pick<Route, "profile" | "fallback"> {
  return fallback === undefined ? { profile } : { profile, fallback };
}

const candidatesOf = (entries: readonly LocatedCandidate[]) => entries.map((entry) => entry.candidate);

/** Ignores a refusal: the failure before it is more useful. */
export function unlessRefused(error: unknown): undefined {
  if (error instanceof OrchestratorError && !(error instanceof Cancelled)) return undefined;
  throw error;
}

/** A longer wait that a server asked for is an error; a shorter one is waited for if nothing else can answer. */
export const shortWaitMs = 5_000;

function withoutCoolDown(entry: LocatedCandidate): LocatedCandidate {
  if (entry.candidate.coolDown === undefined) return entry;
  const { coolDown: _coolDown, mustWaitMs = 0, ...candidate } = entry.candidate;
  if (mustWaitMs > shortWaitMs) return entry;
  return { ...entry, candidate };
}

const refusals = {
  privacy: PrivacyLocked,
  budget: BudgetExceeded,
  memory: ModelDoesNotFit,
  unknown_model: UnknownModel,
  capability: UnsupportedCapability,
  cool_down: EngineUnreachable,
} as const;

async function refusal(source: RouteSource, failure: ChoiceFailure, promptTokens: number): Promise<OrchestratorError> {
  const { kind, message, contextTokens } = failure;
  const next = failure.missing?.includes("vision") === true ? await stepForVision(source) : failure.next;
  if (kind === "context")
    return new PromptTooLong(message, { promptTokens, contextTokens: contextTokens ?? 0, isExact: false }, { next });
  return new refusals[kind](message, { next });
}

/** A model that reads images and that an engine of this machine runs. */
async function stepForVision({ suggestions }: RouteSource): Promise<NextStep> {
  const best = await suggestions.vision();
  if (best === undefined) return advice("describe the image in words: the engine of this machine reads text only");
  return { step: "pullModelThat", that: "that has vision", example: best.name };
}

async function nothingInstalled(source: RouteSource, task: Task): Promise<UnknownModel | PrivacyLocked> {
  const { suggestions } = source;
  const forImages = task === "vision" ? await suggestions.vision() : undefined;
  const { name, reason } = forImages ?? (await suggestions.models());
  // An engine that is down may have models: say so before gigabytes are pulled.
  const lists = await source.inventory.recentLists();
  const unresponsive = lists.flatMap(({ message }) => (message === undefined ? [] : [message]));
  const message = ["no model is installed", ...unresponsive].join("; ");
  const pull = { step: "pullModel", model: name, ...defined({ because: reason }) } as const;
  return lists.some(({ isLocked }) => isLocked)
    ? new PrivacyLocked(message, { next: [pull, allowRemote] })
    : new UnknownModel(message, { next: pull });
}
