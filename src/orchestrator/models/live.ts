import type { LiveState } from "../api/facade-metrics.ts";
import type { CallerContext } from "../api/types.ts";
import type { OverviewSource } from "./system.ts";
import { systemStatus } from "./system.ts";

/** What happens now: memory by model, running operations, the queue. */
export async function liveState(source: OverviewSource, caller: CallerContext): Promise<LiveState> {
  const { ram, queue, operations, warnings } = await systemStatus(source, caller);
  const modelBytes = ram.loaded.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    at: ram.sampledAt,
    memory: {
      totalBytes: ram.totalBytes,
      availableBytes: ram.availableBytes,
      models: ram.loaded.map((model) => ({
        state: "ready" as const,
        running: 0,
        clients: [],
        ...model,
        isPinned: model.isPinned === true,
      })),
      otherBytes: Math.max(0, ram.totalBytes - ram.availableBytes - modelBytes),
      gpus: ram.gpus,
    },
    operations: operations.map(({ id, title, isJob, message }) => ({
      id,
      kind: "generate" as const,
      title,
      startedAt: ram.sampledAt,
      isJob,
      ...(message !== undefined && { message }),
    })),
    queue,
    today: { requests: 0, tokens: 0, saved: 0, currency: "USD" },
    warnings,
  };
}
