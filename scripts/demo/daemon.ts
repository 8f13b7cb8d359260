import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { demoClientName } from "./client.ts";

const run = promisify(execFile);

interface DaemonFacts {
  readonly running: boolean;
  readonly pid?: number;
  readonly clients?: readonly { readonly client: string }[];
  readonly listeners?: readonly unknown[];
}

/** The daemon of the home, through the built command. */
export interface DemoDaemon {
  /** Its process, or undefined while none runs. Starts nothing. */
  pid(): Promise<number | undefined>;
  /** Stops it unless `before` is its process or another program uses it; returns what happened. */
  leave(before: number | undefined): Promise<string>;
  /** Deletes a model of the home, if it is there. */
  remove(model: string): Promise<void>;
}

export function demoDaemon(node: string, script: string): DemoDaemon {
  const command = async (...words: readonly string[]): Promise<string> => (await run(node, [script, ...words])).stdout;
  const daemon = (...words: readonly string[]) => command("daemon", ...words);
  const status = async (): Promise<DaemonFacts> => JSON.parse(await daemon("status", "--json")) as DaemonFacts;

  return {
    pid: async () => (await status()).pid,
    async remove(model) {
      await command("rm", model, "--yes").catch(() => undefined); // not there
    },
    async leave(before) {
      const { running, pid, clients = [], listeners = [] } = await status();
      if (!running) return "the daemon has ended, and nothing is left running";
      if (pid === before) return `the daemon (pid ${pid}) ran before and continues`;
      // Our own may take a moment to leave.
      const others = clients.filter(({ client }) => client !== demoClientName);
      if (others.length + listeners.length > 0) return `the daemon (pid ${pid}) continues, because others use it`;
      await daemon("stop");
      return "the daemon was stopped, and nothing is left running";
    },
  };
}
