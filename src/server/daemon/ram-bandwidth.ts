import { arch, cpus } from "node:os";
import path from "node:path";
import { ramBandwidth } from "../../orchestrator/catalog/expected-speed.ts";
import { createBandwidthProbe } from "../../orchestrator/memory/measure/bandwidth.ts";
import type { MemoryProbe } from "../../orchestrator/memory/measure/probe.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { build } from "../../ipc/version.ts";

/**
 * Returns the effective bandwidth of main memory, bytes per second, for the threads that decode, which are one less than
 * compute a prompt; undefined if it could not be measured. Kept in the home, for this processor and build.
 */
export function createRamBandwidth(parts: {
  readonly home: string;
  readonly probe: Pick<MemoryProbe, "cores" | "sample">;
  readonly configuredThreads: () => number | undefined;
  /** Absolute path of the built `bandwidth-worker.mjs`. */
  readonly workerEntry: string;
  readonly log: Log;
}): () => Promise<number | undefined> {
  const { home, probe, configuredThreads, workerEntry, log } = parts;
  const probes = new Map<number, () => Promise<number | undefined>>();
  return async () => {
    const threads = Math.max(1, (configuredThreads() ?? probe.cores()) - 1);
    const measure =
      probes.get(threads) ??
      createBandwidthProbe({
        workerEntry,
        file: path.join(home, "bandwidth.json"),
        threads,
        key: [cpus()[0]?.model.trim() ?? arch(), `${threads} threads`, build].join("; "),
        sample: () => probe.sample(),
        log,
      });
    probes.set(threads, measure);
    const measured = await measure();
    return measured === undefined ? undefined : ramBandwidth(measured, threads);
  };
}
