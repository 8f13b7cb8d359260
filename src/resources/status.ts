import { defineResource } from "./definition.ts";
import { defined, jsonLines, snaked, snakedOnly } from "../orchestrator/util/values.ts";
import type { Delegated } from "../orchestrator/api/facade-batches.ts";
import type { Job } from "../orchestrator/api/facade.ts";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { type MoneyReport, groupDimensions } from "../orchestrator/api/facade-metrics.ts";
import type { Decision } from "../orchestrator/api/facade-status.ts";

const ramStatus = defineResource({
  name: "ram-status",
  title: "Memory",
  description: "RAM, swap, GPU memory and the size of each loaded model, in bytes, measured now.",
  uri: "ollm://status/ram",
  watch: "memory",
  isTouchedBy: ({ kind }) => kind === "memory",
  async read(_variables, { orchestrator, caller, worded }) {
    const [ram, breaches] = await Promise.all([orchestrator.ramStatus(caller), orchestrator.metrics.breaches()]);
    return {
      ...snakedOnly(ram, ["totalBytes", "availableBytes", "swapTotalBytes", "swapUsedBytes", "warning", "sampledAt"]),
      loaded_bytes: ram.loaded.reduce((sum, { bytes }) => sum + bytes, 0),
      // Thresholds that are missed now.
      warnings:
        breaches.length === 0
          ? undefined
          : await Promise.all(breaches.map(async ({ text, next }) => `${text}. ${await worded(next)}`)),
      gpus: ram.gpus.map(snaked),
      loaded: ram.loaded.map(snaked),
    };
  },
});

const decisions = defineResource({
  name: "decisions",
  title: "Memory decisions",
  description: "Models loaded, evicted, unloaded or refused since the start, and why; the newest 200, newest first.",
  uri: "ollm://decisions",
  isTouchedBy: ({ kind }) => kind === "decisions",
  async read(_variables, { orchestrator, caller }) {
    return { decisions: orchestrator.decisions(caller).map(decisionData) };
  },
});

function decisionData({ plan, ...decision }: Decision) {
  return {
    ...decision,
    ...(plan && {
      ...snakedOnly(plan, ["neededBytes", "freeBytes", "contextTokens"]),
      ...snakedOnly(plan.estimate, ["predictedBytes", "method", "margin"]),
      evicted: plan.evict.map(({ name, bytes }) => ({ name, bytes })),
    }),
  };
}

const jobs = defineResource({
  name: "jobs",
  title: "Jobs",
  description: "Background jobs of all clients, newest first, without their texts and results.",
  uri: "ollm://jobs",
  isTouchedBy: ({ kind }) => kind === "job",
  read: async (_variables, { orchestrator }) => ({
    jobs: orchestrator.jobs.list().map(({ partial: _partial, result: _result, note: _note, ...each }) => jobData(each)),
  }),
});

const job = defineResource({
  name: "job",
  title: "Job",
  description: "Background job: state, progress, the text so far, and the result when it has ended.",
  uri: "ollm://jobs/{id}",
  showsAnswers: true,
  isTouchedBy: (change, { id }) => change.kind === "job" && change.id === id,
  async read(variables, { orchestrator, caller }) {
    const { partial, ...found } = await orchestrator.jobs.get(caller, variables["id"] ?? "");
    return {
      ...jobData(found),
      partial_text: partial?.text,
      partial_answers: partial?.answers,
      partial_thinking: partial?.thinking === "" ? undefined : partial?.thinking,
    };
  },
  list: async ({ orchestrator }) => orchestrator.jobs.list().map(({ id }) => ({ uri: `ollm://jobs/${id}`, name: id })),
});

const results = defineResource({
  name: "results",
  title: "Results of a batch or a worker",
  description:
    "As JSON, one a line: the answers of a job with for_each, in the order of its texts, while it runs those so far; the changed files of delegate, with their diffs.",
  uri: "ollm://results/{id}",
  showsAnswers: true,
  mimeType: "application/jsonl",
  isTouchedBy: (change, { id }) => change.kind === "job" && change.id === id,
  async read({ id = "" }, { orchestrator, caller }) {
    if (id.startsWith("delegate-")) {
      const { result } = await orchestrator.jobs.get(caller, id);
      const { files = [] } = (result ?? {}) as Partial<Delegated>;
      return jsonLines(files);
    }
    return jsonLines(await orchestrator.batches.results(caller, id));
  },
});

function jobData<Shown extends Pick<Job, "kind" | "progress">>({ kind: _kind, progress, ...shown }: Shown) {
  return {
    ...snaked(shown),
    progress:
      progress &&
      snakedOnly(progress, ["message", "completedBytes", "totalBytes", "bytesPerSecond", "completionTokens"]),
  };
}

const maxDays = 100;
/** Samples of the memory, as far apart as their number asks. */
const maxSamples = 300;

const metrics = defineResource({
  name: "metrics",
  title: "Metrics",
  description:
    "Requests, times, tokens and errors by model, engine, profile, client, task and day; unloads, memory, advice, and money " +
    "saved with its rows.",
  uri: "ollm://metrics",
  isTouchedBy: ({ kind }) => kind === "metrics",
  async read(_variables, { orchestrator, caller, worded }) {
    const [report, money, advised] = await Promise.all([
      orchestrator.metrics.report(caller),
      orchestrator.metrics.money(caller),
      orchestrator.metrics.advice(caller),
    ]);
    return {
      since: report.since,
      total: snaked(report.total),
      by: {
        model: report.by.model.map(snaked),
        engine: report.by.engine.map(snaked),
        profile: report.by.profile.map(snaked),
        client: report.by.client.map(snaked),
        task: report.by.task.map(snaked),
        day: report.by.day.slice(-maxDays).map(snaked),
      },
      connections: report.connections,
      evictions: report.evictions,
      memory: spread(report.memory, maxSamples).map(snaked),
      money: moneyData(money),
      advice: await Promise.all(
        advised.found.map(async ({ next, ...found }) => ({ ...found, next: await worded(next) })),
      ),
      // Not in use in any way, for a day or longer.
      unused: advised.unused.map(snaked),
    };
  },
});

/** At most so many of them, evenly, with the last. */
function spread<Item>(items: readonly Item[], most: number): readonly Item[] {
  const step = Math.ceil(items.length / most);
  return items.filter((_, index) => (items.length - 1 - index) % step === 0);
}

function moneyData({ reference, today, month, total, rows, ...report }: MoneyReport) {
  return {
    ...report,
    reference: snaked(reference),
    today: snaked(today),
    month: snaked(month),
    total: snaked(total),
    rows: rows.map(snaked),
  };
}

const filters = ["model", "client", "task", "trace", "outcome", "from", "to", "limit", "before", "by"] as const;
const defaultLimit = 100;
const maxLimit = 1_000;

const requests = defineResource({
  name: "requests",
  title: "Requests",
  description:
    "The last 10,000 requests, newest first: client, task, model, outcome, times, tokens, cost, and why that model; never their " +
    "texts. Filters: outcome is answered, doubtful, cancelled, failed or failed:CLASS; from and to are ISO 8601; before is that " +
    "of the page before, for older ones; limit is 100 unless given, at most 1000. by, such as model,client, adds the 1,000 " +
    "largest groups of all that match: by model, engine, profile, client, task, day, hour, minute.",
  uri: "ollm://requests{?model,client,task,trace,outcome,from,to,limit,before,by}",
  isTouchedBy: ({ kind }) => kind === "requests",
  async read(variables, { orchestrator, caller }) {
    const query = queryOf(variables);
    const { rows, groups, ...page } = await orchestrator.metrics.requests(caller, query);
    return {
      // What is saved stands in its place.
      requests: rows.map(({ localTokens: _localTokens, ...row }) => snaked(row)),
      ...page,
      ...(groups && { groups: groups.slice(0, maxLimit).map(snaked), group_total: groups.length }),
    };
  },
  list: async () => [{ uri: "ollm://requests", name: "requests" }],
});

/** Throws `InvalidRequest`. */
function queryOf(variables: Readonly<Record<string, string>>) {
  const unknown = Object.keys(variables).find((name) => !(filters as readonly string[]).includes(name));
  if (unknown !== undefined) throw wrongFilter(`there is no filter ${JSON.stringify(unknown)}`);
  const { model, client, task, trace, outcome, before } = variables;
  const limit = Number(variables["limit"] ?? defaultLimit);
  if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit)
    throw wrongFilter(`limit must be from 1 to ${maxLimit}`);
  const by = variables["by"]?.split(",").map((name) => {
    const known = groupDimensions.find((each) => each === name);
    if (known === undefined) throw wrongFilter(`by takes ${groupDimensions.join(", ")}, not ${JSON.stringify(name)}`);
    return known;
  });
  const [from, to] = [timeIn(variables, "from"), timeIn(variables, "to")];
  return {
    limit,
    ...defined({ model, client, task, trace, outcome, before, from, to, by }),
  };
}

function timeIn(variables: Readonly<Record<string, string>>, name: "from" | "to"): string | undefined {
  const { [name]: text } = variables;
  if (text === undefined) return undefined;
  // A day is that of this machine, as in groups by day.
  const time = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text);
  if (Number.isNaN(time.valueOf()))
    throw wrongFilter(`${name} must be a time, such as 2026-11-23 or 2026-11-23T10:00Z`);
  return time.toISOString();
}

function wrongFilter(problem: string): InvalidRequest {
  return new InvalidRequest(problem, { next: advice(`filter requests by ${filters.join(", ")}`) });
}

/** What happens on this machine, and what happened. */
export const statusResources = [ramStatus, decisions, metrics, requests, jobs, job, results] as const;
