import { Cancelled, throwIfCancelled } from "../../../errors.ts";
import type { Progress } from "../../../types.ts";
import type { Report } from "../../engine.ts";

interface Shared {
  readonly outcome: Promise<void>;
  readonly controller: AbortController;
  readonly reports: Set<Report>;
  latest(): Progress | undefined;
}

/**
 * Lets callers of this process share one run. It is aborted when the last of them has cancelled; that one waits until
 * everything is cleaned up, the others leave at once. Who joins later hears the newest progress first.
 */
export function shareInstall(
  run: (report: Report, signal: AbortSignal) => Promise<void>,
): (report: Report, signal: AbortSignal) => Promise<void> {
  let current: Shared | undefined;

  const start = (): Shared => {
    const controller = new AbortController();
    const reports = new Set<Report>();
    let latest: Progress | undefined;
    const toAll: Report = (progress) => {
      latest = progress;
      for (const report of reports) report(progress);
    };
    const outcome = run(toAll, controller.signal).finally(() => {
      current = undefined;
    });
    return { outcome, controller, reports, latest: () => latest };
  };

  return async (callerReport, signal) => {
    throwIfCancelled(signal, "Installing the embedded engine");
    // A run that is being cleaned up can't be joined; its failure belongs to those who cancelled it.
    while (current?.controller.signal.aborted === true) await current.outcome.catch(() => undefined);
    throwIfCancelled(signal, "Installing the embedded engine");
    const report: Report = (progress) => callerReport(progress); // a caller may hand in the same function twice
    current ??= start();
    const shared = current;
    shared.reports.add(report);
    const latest = shared.latest();
    if (latest !== undefined) report(latest);
    let onAbort: () => void = () => undefined;
    const left = new Promise<never>((_resolve, reject) => {
      onAbort = () => {
        shared.reports.delete(report);
        if (shared.reports.size === 0) shared.controller.abort(signal.reason);
        else reject(new Cancelled("Installing the embedded engine was cancelled", { cause: signal.reason }));
      };
    });
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([shared.outcome, left]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      shared.reports.delete(report);
    }
  };
}
