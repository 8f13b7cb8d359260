import { openHostStreams } from "../../ipc/host-streams.ts";
import { runFront, type FrontOptions } from "./front.ts";

/** The front on this process's own streams: the entry of `dist/front.cjs`. */
export function startFront(options: Omit<FrontOptions, "openStreams">): Promise<void> {
  return runFront({ ...options, openStreams: openHostStreams });
}
