import * as z from "zod";
import { openDocument, openedOnce } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Log } from "../api/log.ts";
import { type LearnedReading, learnedReading, maxReadings, nameOfLoad } from "../memory/reading.ts";
import { messageOf } from "../util/values.ts";

/** Learned sizes and load times, and the hosts that responded, saved across restarts. */
export type KeptLearning = ReturnType<typeof createKeptLearning>;

/** The load time of a model on one host. */
const load = z.object({
  /** Engine and address. */
  host: z.string(),
  name: z.string(),
  /** Other weights under the same name have another load time. */
  digest: z.string(),
  /** Smoothed. */
  seconds: z.number().min(0),
});
type KeptLoad = z.output<typeof load>;

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("size"), reading: learnedReading }),
  z.object({ type: z.literal("load"), load }),
  z.object({ type: z.literal("host"), host: z.string() }),
]);
type LearnedEvent = z.output<typeof event>;

const state = z.object({ sizes: z.array(learnedReading), loads: z.array(load), hosts: z.array(z.string()) });
type LearnedState = z.output<typeof state>;

/** Maximum number of load times; the oldest are dropped. */
const maxLoads = 512;
const maxHosts = 32;

export function createKeptLearning(parts: { readonly files: DocumentFiles; readonly log: Log }) {
  const { log } = parts;
  const nothing = (): LearnedState => ({ sizes: [], loads: [], hosts: [] });
  let written: Promise<void> = Promise.resolve();

  const document = openedOnce(() =>
    openDocument<LearnedState, LearnedEvent>({
      files: parts.files,
      name: "learned",
      schemaVersion: 1,
      empty: nothing,
      state,
      event,
      apply,
      log,
    }),
  );

  const read = async (): Promise<LearnedState> => {
    try {
      return (await document.get()).state;
    } catch (error) {
      log.warn(`estimates: learned sizes and load times can't be read: ${messageOf(error)}`);
      return nothing();
    }
  };

  function write(noted: LearnedEvent): void {
    written = written
      .then(document.get)
      .then((opened) => opened.append(noted))
      .catch((error: unknown) => log.debug(`estimates: not saved: ${messageOf(error)}`));
  }

  return {
    /** Those of earlier processes; empty if they can't be read. Never rejects. */
    sizes: async (): Promise<readonly LearnedReading[]> => [...(await read()).sizes],
    loads: async (): Promise<readonly KeptLoad[]> => [...(await read()).loads],
    /** Hosts (engine and address) that have responded at least once. */
    hosts: async (): Promise<readonly string[]> => [...(await read()).hosts],
    /** Saved in the background; errors are ignored. */
    noteSize: (size: LearnedReading) => write({ type: "size", reading: { ...size } }),
    noteLoad: (seen: KeptLoad) => write({ type: "load", load: { ...seen } }),
    noteHost: (host: string) => write({ type: "host", host }),
    /** Resolves when everything noted so far is on disk. */
    async close() {
      await written;
      await document.close();
    },
  };
}

function apply(kept: LearnedState, next: LearnedEvent): void {
  if (next.type === "size") {
    const name = nameOfLoad(next.reading);
    kept.sizes = [...kept.sizes.filter((other) => nameOfLoad(other) !== name), next.reading].slice(-maxReadings);
    return;
  }
  if (next.type === "host") {
    kept.hosts = [...kept.hosts.filter((other) => other !== next.host), next.host].slice(-maxHosts);
    return;
  }
  const isSame = ({ host, name }: KeptLoad) => host === next.load.host && name === next.load.name;
  kept.loads = [...kept.loads.filter((other) => !isSame(other)), next.load].slice(-maxLoads);
}
