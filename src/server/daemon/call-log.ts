import { callLogFile } from "../../ipc/run-folder.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { CallRecord } from "./server-parts.ts";
import { callLine } from "./call-line.ts";
import { createRotatingFile } from "./rotating-file.ts";

/** `OLLM_HOME/logs/calls.log`, one line per call. */
export interface CallLog {
  note(record: CallRecord): void;
  /** Resolves when all lines are written, or have failed. */
  idle(): Promise<void>;
}

/** Lines have prompts and answers when the record has them; the pipeline decides by the setting. */
export function createCallLog(home: string, log: Log): CallLog {
  const file = callLogFile(home);
  const lines = createRotatingFile(file, (error) => log.warn(`${file} can't be written: ${String(error)}`));
  return {
    note: (record) => lines.append(callLine(record, new Date())),
    idle: lines.idle,
  };
}
