import type { Progress } from "../orchestrator/api/types.ts";
import { defineResource } from "./definition.ts";

export const jobs = defineResource({
  name: "jobs",
  title: "Jobs",
  description: "Background jobs of all clients, newest first, without their texts and results.",
  uri: "ollm://jobs",
  isTouchedBy: ({ kind }) => kind === "job",
  read: async (_variables, { orchestrator }) => ({
    jobs: orchestrator.jobs.list().map((each) => ({
      id: each.id,
      state: each.state,
      title: each.title,
      tool: each.tool,
      client: each.client,
      started_at: each.startedAt,
      ended_at: each.endedAt,
      progress: each.progress && progressData(each.progress),
      error: each.error,
    })),
  }),
});

export const job = defineResource({
  name: "job",
  title: "Job",
  description: "Background job: state, progress, the text so far, and the result when it has ended.",
  uri: "ollm://jobs/{id}",
  isTouchedBy: (change, { id }) => change.kind === "job" && change.id === id,
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.jobs.get(caller, variables["id"] ?? "");
    const { progress, partial } = found;
    return {
      id: found.id,
      state: found.state,
      title: found.title,
      tool: found.tool,
      client: found.client,
      started_at: found.startedAt,
      ended_at: found.endedAt,
      progress: progress && progressData(progress),
      partial_text: partial?.text,
      partial_answers: partial?.answers,
      partial_thinking: partial?.thinking === "" ? undefined : partial?.thinking,
      result: found.result,
      error: found.error,
      note: found.note,
    };
  },
  list: async ({ orchestrator }) => orchestrator.jobs.list().map(({ id }) => ({ uri: `ollm://jobs/${id}`, name: id })),
});

function progressData(progress: Progress) {
  return {
    message: progress.message,
    completed_bytes: progress.completedBytes,
    total_bytes: progress.totalBytes,
    bytes_per_second: progress.bytesPerSecond,
    completion_tokens: progress.completionTokens,
  };
}
