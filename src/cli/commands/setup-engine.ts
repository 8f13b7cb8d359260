import { hintLine } from "../terminal/terminal-text.ts";
import { Cancelled, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { EmbeddedEngine } from "../setup/embedded-engine.ts";
import { isYes } from "../setup/remove-entries.ts";
import { progressLineOf } from "../terminal/progress-line.ts";
import type { CommandIo } from "../terminal/io.ts";

/** Whether to install the embedded engine: by a flag, or after asking. */
export interface EngineWish {
  readonly isGiven: boolean;
  readonly mayAsk: boolean;
  /** Only print what would be done. */
  readonly isOnlyPrinted: boolean;
}

/**
 * The last step of setup. Nothing is downloaded without a flag or a yes, since the first model installs the engine anyway.
 * Returns the exit code: 0 done or not wanted, 1 failed, 130 interrupted.
 */
export async function setupEngine(wish: EngineWish, engine: EmbeddedEngine, io: CommandIo): Promise<number> {
  if (!wish.isGiven && !wish.mayAsk) return 0;
  const state = await engine.look();
  if (state.kind === "installed") {
    if (wish.isGiven) io.stdout("✓ Embedded engine: already installed\n");
    return 0;
  }
  if (state.kind === "impossible") {
    if (wish.isGiven) io.stderr(`✗ Embedded engine: ${state.reason}\n`);
    return wish.isGiven ? 1 : 0;
  }
  const size = `${formatBytes(state.downloadBytes)} to download, ${formatBytes(state.installedBytes)} on disk`;
  if (wish.isOnlyPrinted) {
    io.stdout(`Embedded engine: would be installed (${size})\n`);
    return 0;
  }
  if (!wish.isGiven) {
    const question = `Install the embedded engine now (${size})? Otherwise the first model that needs it installs it. [y/N] `;
    if (!isYes(await io.ask(question))) return 0;
  }
  return install(engine, io);
}

async function install(engine: EmbeddedEngine, io: CommandIo): Promise<number> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  const line = progressLineOf(io);
  try {
    await engine.install(line.show, interrupt.signal);
    line.clear();
    io.stdout("✓ Embedded engine: installed; get models with ollm pull or ask your assistant\n");
    return 0;
  } catch (error) {
    line.clear();
    if (!(error instanceof OrchestratorError)) throw error;
    io.stderr(`✗ Embedded engine: ${error.message}\n${hintLine(error, undefined, io)}`);
    return error instanceof Cancelled ? 130 : 1;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
