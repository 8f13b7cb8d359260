import { type NextStep, advice } from "../api/next-step.ts";
import type { Profile } from "../api/types.ts";
import { counted, formatBytes } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { nearestNames } from "../util/nearest.ts";
import {
  type Candidate,
  type ChoiceFailure,
  type ChoiceRequest,
  type Rejection,
  failureKinds,
  hasRoomForAnswer,
  leastAnswerTokens,
  missedThreshold,
  neededCapabilities,
  rejecting,
  whilePinned,
} from "./candidate.ts";
import { budgetSteps } from "./cost.ts";
import { capabilityFacts } from "./database.ts";
import { type Match, standInFor, steps } from "./rank.ts";
import { strengthAt } from "./expected-seconds.ts";
import { defined } from "../util/values.ts";

const largeWindowModel = { name: "granite4.1:8b", contextTokens: 131_072 };

/** In doublings of parameters (`expected-seconds.ts`). */
const clearlyStronger = 0.5;

/** Why this model was chosen: `loaded, fits code profile`. */
export function reasonFor(match: Match, request: ChoiceRequest): string {
  const { candidate } = match;
  const missed = request.model === undefined ? missedThreshold(candidate, request) : undefined;
  const parts: string[] = [];
  if (request.model !== undefined) parts.push(request.modelBecause ?? "requested");
  if (request.preferred !== undefined && sameModel(candidate.model, request.preferred))
    parts.push(request.preferredBecause ?? "preferred");
  if (candidate.isLoaded) parts.push("loaded");
  if (request.model === undefined) parts.push(...profileWords(match, request));
  parts.push(...standInWords(match, request), ...learnedWords(match, request));
  if (match.runnerUp !== undefined) parts.push(...decidedWords(match, match.runnerUp, request));
  if (!candidate.isLoaded) parts.push(memoryWords(candidate));
  if (missed !== undefined) parts.push(missed);
  if (!hasRoomForAnswer(candidate, request)) parts.push(roomWords(candidate.contextTokens, request.promptTokens));
  return parts.join(", ");
}

/** What put this model before the next one, where that was its strength or its speed. */
function decidedWords(match: Match, runnerUp: Match, request: ChoiceRequest): readonly string[] {
  const { candidate, seconds, step, because, replaces, better, standIn } = match;
  const isSaid = because !== undefined || replaces !== undefined || better !== undefined || standIn !== "none";
  const isOpen = request.model === undefined && !isSaid;
  if (!isOpen || step <= steps.listed || request.task === "embedding") return [];
  const other = runnerUp.candidate;
  if (sameModel(other.model, candidate.model)) return [];
  const stronger = strengthAt(candidate, request.task) - strengthAt(other, request.task);
  const sooner = Math.round(runnerUp.seconds - seconds);
  if (stronger >= clearlyStronger) return [`stronger than ${other.model} at this task`];
  return sooner >= 1 ? [`about ${sooner} s sooner than ${other.model}`] : [];
}

/** What was learned, where it put this model first. */
function learnedWords({ because, replaces }: Match, { task }: ChoiceRequest): readonly string[] {
  return [
    ...(because === "learned" ? [`answered ${task} tasks best so far`] : []),
    ...(because === "explored" ? ["tried to learn how well it answers"] : []),
    ...(replaces === undefined ? [] : [`${replaces.model} is loaded but answered ${task} tasks badly`]),
  ];
}

function standInWords({ standIn }: Match, { preferred = "the preferred model" }: ChoiceRequest): readonly string[] {
  if (standIn === "quantization") return [`another quantization of ${preferred}, which does not fit`];
  return standIn === "family" ? [`same family as ${preferred}, which does not fit`] : [];
}

function roomWords(windowTokens: number, promptTokens: number): string {
  return promptTokens < windowTokens
    ? `window of ${windowTokens} tokens leaves about ${windowTokens - promptTokens} for the answer`
    : `prompt estimated at ${promptTokens} tokens for its window of ${windowTokens}`;
}

/**
 * What to leave out of a prompt so that it fits a window: the smallest file that suffices, else how much. All in tokens.
 */
export function leaveOut(
  prompt: {
    readonly promptTokens: number;
    readonly isExact: boolean;
    readonly files?: ChoiceRequest["files"] | undefined;
  },
  windowTokens: number,
): NextStep {
  const { promptTokens, isExact, files = [] } = prompt;
  const excess = Math.max(1, promptTokens + leastAnswerTokens - windowTokens);
  if (files.length === 0) return { step: "shortenPrompt", byTokens: excess };
  const [enough] = files.filter(({ tokens }) => tokens >= excess).toSorted((a, b) => a.tokens - b.tokens);
  const smallest = enough === undefined || files.length === 1 ? "" : `: ${enough.path} has about ${enough.tokens}`;
  return advice(`leave out ${isExact ? "" : "about "}${counted(excess, "token")} of the files${smallest}`);
}

function profileWords({ candidate, level, better, step }: Match, request: ChoiceRequest) {
  const { profile } = request;
  if (request.task === "embedding") return ["can embed"];
  const sees = request.task === "vision" ? ["has vision"] : [];
  if (level === "own") return [...sees, `fits ${profile.name} profile`];
  const fits = level === "fallback" ? [fallbackWords(profile)] : [];
  const lacking = profile.needs?.filter((need) => !candidate.capabilities.includes(need)) ?? [];
  if (lacking.length > 0) return [...fits, `lacks ${lacking.join(" and ")}, which the profile ${profile.name} needs`];
  if (better === undefined) return [...sees, ...fits, `best available for ${profile.name}`];
  // Preferred, or further down the chain: not compared with the better match.
  if (step !== steps.loaded || better.isLoaded) return [...sees, ...fits];
  return [...sees, ...fits, passedOver(better, request)];
}

function fallbackWords({ fallback = "general", name }: Profile): string {
  return typeof fallback === "string" ? `fits ${fallback} profile` : `a fallback of ${name}`;
}

/** Why a loaded model is chosen although another one fits better. */
function passedOver(better: Candidate, request: ChoiceRequest): string {
  const fitsBetter = `${better.model} fits ${request.profile.name} better but`;
  if (better.trust !== "local") return `${fitsBetter} is remote`;
  if (!hasRoomForAnswer(better, request)) return `${fitsBetter} has a window of ${better.contextTokens} tokens`;
  const inUse = better.evictsInUse === true ? ", and loading it would unload a model in use" : "";
  return `${fitsBetter} is not loaded (about ${Math.max(1, Math.round(better.expectedLoadSeconds))} s)${inUse}`;
}

function memoryWords(candidate: Candidate): string {
  if (candidate.trust !== "local") return "remote";
  return candidate.fits === "now" ? "fits in memory" : "fits after unloading others";
}

/** Why no candidate passed. `named` are the candidates with the requested name, or all if the request names none. */
export function explainFailure(
  request: ChoiceRequest,
  candidates: readonly Candidate[],
  named: readonly Candidate[],
): ChoiceFailure {
  if (named.length === 0) return explainAbsence(request, candidates);
  const rejectionOf = rejecting(request);
  const rejections = named.flatMap((candidate) => {
    const rejection = rejectionOf(candidate);
    return rejection === undefined ? [] : [{ candidate, rejection }];
  });
  // The candidate that passed most filters is closest to serving: its obstacle is the one to remove.
  const furthest = rejections.reduce((a, b) => (order(b.rejection) > order(a.rejection) ? b : a));
  const { kind } = furthest.rejection;
  const stuck = rejections.filter(({ rejection }) => rejection.kind === kind).map(({ candidate }) => candidate);
  const subject =
    request.model !== undefined ? furthest.candidate.model : stuck.length === 1 ? (stuck[0]?.model ?? "") : undefined;
  const substitute = request.model === undefined ? undefined : largestSuitable(request, candidates, furthest.candidate);
  const instead: NextStep | undefined =
    substitute === undefined ? undefined : { step: "useModel", model: substitute.model, because: "suits this request" };

  switch (kind) {
    case "capability":
      return explainCapability(request, named, rejections, { furthest, instead });
    case "privacy":
      return {
        kind,
        message: `${subject ?? `${stuck.length} models`} would send the request off this machine, and privacy is local_only`,
        next: instead ?? [
          // A named model is remote: a pull would not bring it here.
          request.model === undefined
            ? { step: "pullModelThat", that: "that runs on this machine" }
            : { step: "chooseModel", that: "on this machine" },
          { step: "changeSetting", setting: "privacy", to: "allow_remote" },
        ],
      };
    case "context": {
      const widest = stuck.reduce((a, b) => (b.contextTokens > a.contextTokens ? b : a));
      const { promptTokens, files } = request;
      const shorter = leaveOut({ promptTokens, isExact: false, files }, widest.contextTokens);
      return {
        kind,
        contextTokens: widest.contextTokens,
        message: `the prompt has about ${request.promptTokens} tokens; ${
          request.model === undefined && named.length > 1 ? "the largest window" : "the window"
        } has ${widest.contextTokens} (${widest.model})`,
        next:
          instead ??
          (promptTokens + leastAnswerTokens <= largeWindowModel.contextTokens
            ? [
                shorter,
                {
                  step: "pullModelThat",
                  that: `that has a window of ${largeWindowModel.contextTokens} tokens`,
                  example: largeWindowModel.name,
                },
              ]
            : shorter),
      };
    }
    case "budget":
      return {
        kind,
        message: `${furthest.candidate.model} on ${furthest.candidate.engine} ${furthest.rejection.text}`,
        next: [
          ...(instead === undefined ? [] : [instead]),
          ...(furthest.candidate.budget === undefined ? [] : budgetSteps(furthest.candidate.budget)),
        ],
      };
    case "cool_down":
      return {
        kind,
        message: `${subject ?? `all ${stuck.length} suitable models`} ${
          subject === undefined ? "are cooling down" : furthest.rejection.text
        }`,
        next: instead ?? [advice("try again later"), { step: "showStatus" }],
      };
    default: {
      const smallest = stuck.reduce((a, b) => (b.sizeBytes < a.sizeBytes ? b : a));
      const held = stuck.find(({ pinnedInTheWay = [] }) => pinnedInTheWay.length > 0);
      if (held !== undefined) {
        return {
          kind,
          message: `${held.model} (${formatBytes(held.sizeBytes)}) does not fit in memory${whilePinned(held)}`,
          next: { step: "unpinModels", models: held.pinnedInTheWay ?? [] },
        };
      }
      return {
        kind,
        message:
          stuck.length === 1
            ? `${smallest.model} (${formatBytes(smallest.sizeBytes)}) does not fit in memory, even with all idle models unloaded`
            : `none of ${stuck.length} models fits in memory, even with all idle ones unloaded; the smallest is ${smallest.model} (${formatBytes(smallest.sizeBytes)})`,
        next: instead ?? [
          { step: "planLoad", model: smallest.model },
          { step: "pullModelThat", that: "that is smaller" },
        ],
      };
    }
  }
}

interface Rejected {
  readonly candidate: Candidate;
  readonly rejection: Rejection;
}

function explainCapability(
  request: ChoiceRequest,
  named: readonly Candidate[],
  rejections: readonly Rejected[],
  { furthest, instead }: { readonly furthest: Rejected; readonly instead: NextStep | undefined },
): ChoiceFailure {
  const needs = neededCapabilities(request);
  const deaf = rejections.find(
    ({ candidate, rejection }) =>
      rejection.kind === "capability" && needs.every((need) => candidate.capabilities.includes(need)),
  );
  if (deaf !== undefined) return explainDeaf(deaf, instead);
  const missing = needs.filter((need) => !named.some(({ capabilities }) => capabilities.includes(need)));
  const wanted = missing.length > 0 ? missing : needs;
  const example = wanted.some((capability) => capability === "vision" || capability === "audio")
    ? undefined
    : wanted.map((capability) => capabilityFacts[capability].example).find((name) => name !== undefined);
  return {
    kind: "capability",
    ...(instead === undefined ? { missing: wanted } : {}),
    message:
      request.model === undefined
        ? named.length === 1
          ? `the only model, ${furthest.candidate.model}, ${furthest.rejection.text}`
          : `none of the ${named.length} models ${wanted.map((each) => capabilityFacts[each].does).join(" and ")}`
        : `${request.model} ${furthest.rejection.text}`,
    next: instead ?? {
      step: "pullModelThat",
      that: `that has ${wanted.join(" and ")}`,
      ...defined({ example }),
    },
  };
}

/** The model hears, but its engine does not take the recordings. */
function explainDeaf(
  { candidate: { model, audioFormats = [] }, rejection: { kind, text } }: Rejected,
  instead: NextStep | undefined,
): ChoiceFailure {
  const convert = `convert the recordings to ${audioFormats.join(" or ")}`;
  return {
    kind,
    message: `${model} ${text}`,
    next: instead ?? advice(audioFormats.length > 0 ? convert : "give a transcript of the recordings as text"),
  };
}

function explainAbsence(request: ChoiceRequest, candidates: readonly Candidate[]): ChoiceFailure {
  const kind = "unknown_model";
  if (candidates.length === 0 && request.model === undefined) {
    return {
      kind,
      message: "no model is installed",
      next: [{ step: "pullModelThat", that: "that fits this machine" }, { step: "listModels" }],
    };
  }
  const model = request.model ?? "";
  const names = [...new Set(candidates.map((candidate) => candidate.model))];
  const near = nearestNames(model, names, 3);
  const pull: NextStep = { step: "pullModel", model };
  return {
    kind,
    message: `no model ${model}`,
    next: near.length > 0 ? [{ step: "didYouMean", names: near }, pull] : [pull, { step: "listModels" }],
  };
}

/** The model to suggest instead of the named one: another quantization of it, then its family, then the largest. */
function largestSuitable(request: ChoiceRequest, candidates: readonly Candidate[], unsuitable: Candidate) {
  const distances = { itself: 0, quantization: 0, family: 1, none: 2 } as const;
  const distance = (candidate: Candidate) => distances[standInFor(unsuitable, candidate)];
  const rejectionOf = rejecting(request);
  return candidates
    .filter((candidate) => rejectionOf(candidate) === undefined)
    .toSorted((a, b) => distance(a) - distance(b) || b.sizeBytes - a.sizeBytes)[0];
}

function order(rejection: Rejection): number {
  return failureKinds.indexOf(rejection.kind);
}
