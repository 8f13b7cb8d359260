import { UnknownModel, type OrchestratorError, InvalidRequest, ModelDoesNotFit, PrivacyLocked, UnsupportedCapability } from "../errors.ts";
import { suggestStarter } from "../catalog/starter.ts";
import { estimateTokens } from "../catalog/tokens.ts";
import type { MemoryProbe } from "../hardware/probe.ts";
import { classifyTask } from "../routing/classify.ts";
import { chooseModel } from "../routing/choose.ts";
import type {
  CallerContext,
  Capability,
  ConsideredModel,
  GenerateRequest,
  Privacy,
  Task,
} from "../types.ts";
import { type CandidateSource, listCandidates, type LocatedCandidate, locatedCandidate } from "./candidates.ts";
import { buildMessages } from "./prompt.ts";

/** Which models to try, in order, and everything considered on the way. */
export interface Route {
  readonly task: Task;
  readonly profile: string;
  readonly chain: readonly { readonly entry: LocatedCandidate; readonly reason: string }[];
  readonly considered: readonly ConsideredModel[];
  /** Estimated; chat overhead included. */
  readonly promptTokens: number;
  /** A named model is never replaced by another one: only the engine that serves it may change. */
  readonly isExplicit: boolean;
}

export interface RouteSource extends CandidateSource {
  readonly probe: MemoryProbe;
}

/** Chat templates wrap every message in a few tokens of their own. */
const tokensPerMessage = 16;

/**
 * Chooses the models for a request: design section 6. Reads lists and memory, changes nothing.
 * Throws `UnknownModel` (nothing there, or not by that name), `PrivacyLocked`, `ModelDoesNotFit`, `UnsupportedCapability`.
 */
export async function chooseRoute(
  source: RouteSource,
  caller: CallerContext,
  request: GenerateRequest,
  signal: AbortSignal,
): Promise<Route> {
  const { settings } = caller;
  const { task, because } = classifyTask({
    prompt: request.prompt,
    ...(request.task === undefined ? {} : { task: request.task }),
    ...(request.images === undefined ? {} : { images: request.images }),
    fileNames: (request.files ?? []).map((file) => file.path),
  });
  const promptTokens = countPromptTokens(request);
  const override = settings.routing.overrides[task];
  const explicit = request.model ?? (settings.routing.isEnabled ? undefined : settings.defaultModel);
  const ask = {
    task,
    profile: request.profile ?? profileOf(task, settings.routing.defaultProfile),
    promptTokens,
    outputTokens: request.maxTokens ?? 1,
    needs: neededCapabilities(request),
    privacy: narrowed(settings.privacy, request.privacy),
    ...(request.complexity === undefined ? {} : { complexity: request.complexity }),
    ...optional("preferred", override ?? settings.defaultModel),
  };

  if (explicit !== undefined) {
    const places = await source.inventory.locate(explicit);
    const entries = await Promise.all(places.map((place) => locatedCandidate(source, place, signal)));
    // Its window is checked against exact numbers later; a wrong capability is for the engine to refuse in its words.
    const choice = chooseModel({ ...ask, model: explicit, promptTokens: 0, outputTokens: 1 }, entries.map((entry) => entry.candidate));
    if (choice.chain.length === 0) throw refusal(choice, ask.privacy);
    return { task, profile: choice.profile, ...placed(choice, entries), promptTokens, isExplicit: true };
  }

  for (const withMemory of [false, true]) {
    const entries = await listCandidates(source, withMemory, signal);
    if (entries.length === 0) throw await nothingInstalled(source);
    const choice = chooseModel(ask, entries.map((entry) => entry.candidate));
    const isLoadedFirst = choice.chain[0]?.candidate.isLoaded === true;
    if (!isLoadedFirst && !withMemory) continue;
    if (choice.chain.length === 0) throw refusal(choice, ask.privacy);
    const route = placed(choice, entries);
    const chain = route.chain.map((link) => ({ ...link, reason: `${link.reason} (${because})` }));
    return { task, profile: choice.profile, considered: route.considered, chain, promptTokens, isExplicit: false };
  }
  throw new InvalidRequest("no route"); // The loop always returns or throws in its second round.
}

/** Estimated tokens of everything the engine will read, images left out. */
function countPromptTokens(request: GenerateRequest): number {
  const messages = buildMessages(request);
  return messages.reduce((sum, message) => sum + estimateTokens(message.content) + tokensPerMessage, 0);
}

function neededCapabilities(request: GenerateRequest): readonly Capability[] {
  return [
    "completion",
    ...((request.images?.length ?? 0) > 0 ? (["vision"] as const) : []),
    ...(request.think !== undefined && request.think !== false ? (["thinking"] as const) : []),
  ];
}

/** A request may only narrow what its caller is allowed. */
function narrowed(allowed: Privacy, asked: Privacy | undefined): Privacy {
  return allowed === "local_only" || asked === "local_only" ? "local_only" : "allow_remote";
}

function profileOf(task: Task, defaultProfile: string): string {
  return task === "code" || task === "creative" || task === "fast" ? task : defaultProfile;
}

type Choice = ReturnType<typeof chooseModel>;

function placed(choice: Choice, entries: readonly LocatedCandidate[]): Pick<Route, "chain" | "considered"> {
  const chain = choice.chain.flatMap(({ candidate, reason }) => {
    const entry = entries.find((known) => known.candidate === candidate);
    return entry === undefined ? [] : [{ entry, reason }];
  });
  return { chain, considered: choice.considered };
}

function refusal(choice: Choice, privacy: Privacy): OrchestratorError {
  const { message, hint } = choice.failure ?? { message: "no model can answer this", hint: "call list_models" };
  const rejections = choice.considered.map((model) => model.rejected ?? "");
  const all = (part: string) => rejections.length > 0 && rejections.every((rejected) => rejected.includes(part));
  if (privacy === "local_only" && all("remote")) return new PrivacyLocked(message, { hint });
  if (all("fit")) return new ModelDoesNotFit(message, { hint });
  return new UnsupportedCapability(message, { hint });
}

async function nothingInstalled(source: RouteSource): Promise<UnknownModel> {
  const sample = await source.probe.sample();
  const starter = suggestStarter(source.memory.availableBytes ?? sample.availableBytes, source.memory.bufferBytes);
  return new UnknownModel("no model is installed", {
    hint: `call pull_model with model "${starter.name}" (${starter.reason}), then call this again`,
  });
}

function optional<Key extends string, Value>(key: Key, value: Value | undefined): { readonly [name in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [name in Key]?: Value };
}
