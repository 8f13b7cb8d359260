import type { Job } from "../orchestrator/api/facade.ts";
import { snaked } from "../orchestrator/util/defined.ts";
import type { Progress } from "../orchestrator/api/types.ts";
import { defineResource } from "./definition.ts";

export const jobs = defineResource({
  name: "jobs",
  title: "Jobs",
  description: "Background jobs of all clients, newest first, without their texts and results.",
  uri: "ollm://jobs",
  isTouchedBy: ({ kind }) => kind === "job",
  read: async (_variables, { orchestrator }) => ({
    jobs: orchestrator.jobs.list().map(({ partial: _partial, result: _result, note: _note, ...each }) => jobData(each)),
  }),
});

export const job = defineResource({
  name: "job",
  title: "Job",
  description: "Background job: state, progress, the text so far, and the result when it has ended.",
  uri: "ollm://jobs/{id}",
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

function jobData<Shown extends Pick<Job, "kind" | "progress">>({ kind: _kind, progress, ...shown }: Shown) {
  return { ...snaked(shown), progress: progress && progressData(progress) };
}

function progressData(progress: Progress) {
  return {
    message: progress.message,
    completed_bytes: progress.completedBytes,
    total_bytes: progress.totalBytes,
    bytes_per_second: progress.bytesPerSecond,
    completion_tokens: progress.completionTokens,
  };
}
