import { defineResource } from "./definition.ts";

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
      progress: progress && {
        message: progress.message,
        completed_bytes: progress.completedBytes,
        total_bytes: progress.totalBytes,
        bytes_per_second: progress.bytesPerSecond,
        completion_tokens: progress.completionTokens,
      },
      partial_text: partial?.text,
      partial_thinking: partial?.thinking === "" ? undefined : partial?.thinking,
      result: found.result,
      error: found.error,
      note: found.note,
    };
  },
  list: async ({ orchestrator, caller }) =>
    orchestrator.jobs.list(caller).map(({ id }) => ({ uri: `ollm://jobs/${id}`, name: id })),
});
