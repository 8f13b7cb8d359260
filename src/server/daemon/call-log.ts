import { callLogFile } from "../../ipc/run-folder.ts";
import type { Log } from "../../orchestrator/log.ts";
import type { CallRecord } from "../server-parts.ts";
import { callLine } from "./call-line.ts";
import { createRotatingFile } from "./rotating-file.ts";

/** `OLLM_HOME/logs/calls.log`: a line per call. */
export interface CallLog {
  note(record: CallRecord): void;
  /** Resolves when all of it is on disk, or can't be. */
  idle(): Promise<void>;
}

/** Prompts and answers stand in it when they stand in the record: the pipeline asks the setting. */
export function createCallLog(home: string, log: Log): CallLog {
  const file = callLogFile(home);
  const lines = createRotatingFile(file, (error) => log.warn(`${file} can't be written: ${String(error)}`));
  return {
    note: (record) => lines.append(callLine(record, new Date())),
    idle: lines.idle,
  };
}
