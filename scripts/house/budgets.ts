import budgetsFile from "./budgets.json" with { type: "json" };

/**
 * The numbers of the house are budgets that may only fall: one that is above its budget fails `test/rooms.test.ts` or
 * `npm run bench -- path`. `npm run house -- lower` writes those down that fell, for the commit that lowered them.
 */
export interface Budget {
  readonly budget: number;
  readonly aim: number;
}

/** `warm` and `evict` are counted by `bench/path.ts`, `house` by `count.ts`. */
export const budgets = budgetsFile satisfies Readonly<Record<string, Readonly<Record<string, Budget>>>>;

/**
 * The order of the rooms of each group, lowest level first: a room imports rooms of lower levels only. The order is one
 * that the table of what rooms may import allows; rooms of one level may not import each other.
 */
export const arrowGroups: Readonly<Record<string, readonly (readonly string[])[]>> = {
  orchestrator: [
    ["api"],
    ["util"],
    ["storage", "routing", "memory"],
    ["config", "engines", "jobs", "residency/decide"],
    ["engines/gguf"],
    ["engines/llama-cpp/store"],
    ["engines/llama-cpp/install", "engines/llama-cpp/child"],
    ["engines/llama-cpp", "engines/ollama", "engines/openai", "memory/measure"],
    ["catalog"],
    ["money", "recall", "templates", "projects", "residency"],
    ["generation"],
    ["checks", "reading"],
    ["compare"],
    ["watch", "watch/metrics"],
    ["views"],
    [""],
  ].map((level) => level.map((room) => ["orchestrator", room].filter((part) => part !== "").join("/"))),
  server: [["server/files"], ["server/call"], ["server/mcp", "server/doors"], ["server/http"], ["server/daemon"]],
  cli: [["cli/front"], ["cli/terminal"], ["cli/setup"], ["cli/commands"], ["cli"]],
};

/**
 * Names of the types that carry a request, an answer or a model in memory: those that are to be merged, and those that
 * they become. Counted is each declaration of such a name in these rooms.
 */
export const shapes: Readonly<
  Record<string, { readonly rooms: readonly string[]; readonly names: readonly string[] }>
> = {
  request: {
    rooms: ["orchestrator", "server"],
    names: words(
      "DecidedRequest ChainRequest Turn Ask SendBudget TokenBudget AnswerRequest QueueRequest CallerFacts RequestFacts CallFacts" +
        " RunParts OpenHome ServerParts Run Resolved ResolvedForModel Waiter Caller Call View",
    ),
  },
  answer: {
    rooms: ["orchestrator"],
    names: words(
      "BoundedAnswer Answered ChainAnswer AnsweredInParts EndedAttempt EndedRequest" +
        " Attempt Answer PlaceAnswer GenerateResult",
    ),
  },
  memory: {
    rooms: ["orchestrator"],
    names: words(
      "ResidentEntry Seen QueuedModel MaintainedModel Begun OwnedSlot NamedSlot Lease" +
        " Use RequestSlot Assigned SlotView Permit ModelSlot ResidentModel",
    ),
  },
};

/** Rooms whose types of such a name are something else: an HTTP attempt, what a fit has seen. */
export const otherMeanings: readonly string[] = ["orchestrator/engines", "orchestrator/routing"];

function words(text: string): readonly string[] {
  return text.split(" ");
}
