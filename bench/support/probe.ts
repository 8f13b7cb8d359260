/** Preloaded into a measured server (`--import`): answers questions of the bench over the channel to its parent. */
import { Session, type Profiler } from "node:inspector/promises";

export type Question = "cover" | "coverage" | "heap";

const session = new Session();

async function answerTo(question: Question): Promise<Profiler.ScriptCoverage[] | number> {
  switch (question) {
    case "cover":
      session.connect();
      await session.post("Profiler.enable");
      await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
      return [];
    case "coverage":
      // Counts start anew with each answer.
      return (await session.post("Profiler.takePreciseCoverage")).result;
    case "heap":
      return process.memoryUsage().heapUsed;
  }
}

process.on("message", (question: Question) => {
  void answerTo(question).then((answer) => process.send?.(answer));
});
// The server still ends with its client.
process.channel?.unref();
