import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import type { Log } from "../../../api/log.ts";
import { processStartTime } from "../../../storage/process-alive.ts";
import { replaceFile, readRegularText } from "../../../storage/replace-file.ts";
import { createMutex } from "../../../util/joined-work.ts";
import { jsonIn, undefinedIfMissing } from "../../../util/values.ts";

const identity = z.object({ pid: z.number().int().positive(), startTime: z.string().min(1) });
const fileSchema = z.object({ schemaVersion: z.literal(1), children: z.array(identity.extend({ daemon: identity })) });
type ListedChild = z.output<typeof fileSchema>["children"][number];

/** How long to wait for the end of a killed process. */
const reapLimitMs = 2_000;

/** The engine processes of this home, stored on disk for the daemon that starts after a crash. */
export type ChildrenList = ReturnType<typeof createChildrenList>;

/**
 * Keeps `children.json` in `folder`. Because pids are reused, a process is killed only if its pid and start time match the
 * list and those of its daemon match no running process.
 */
export function createChildrenList(folder: string, log: Log) {
  const file = join(folder, "children.json");
  /** One change at a time. */
  const inTurn = createMutex();

  async function read(): Promise<readonly ListedChild[]> {
    const text = await readRegularText(file).catch(undefinedIfMissing);
    if (text === undefined) return [];
    const parsed = fileSchema.safeParse(jsonIn(text));
    if (parsed.success) return parsed.data.children;
    log.warn(`engine: ${file} is invalid and was renamed to children.json.broken`);
    await rename(file, `${file}.broken`);
    return [];
  }

  async function write(children: readonly ListedChild[]): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await replaceFile(file, `${JSON.stringify({ schemaVersion: 1, children }, null, 2)}\n`, { mode: 0o600 });
  }

  return {
    add: (pid: number) =>
      inTurn(async () => {
        const [startTime, daemonStart] = await Promise.all([processStartTime(pid), processStartTime(process.pid)]);
        // Without both, the process could not be identified later.
        if (startTime === undefined || daemonStart === undefined) return;
        const others = (await read()).filter((child) => child.pid !== pid);
        await write([...others, { pid, startTime, daemon: { pid: process.pid, startTime: daemonStart } }]);
      }),
    remove: (pid: number) =>
      inTurn(async () => {
        const children = await read();
        const others = children.filter((child) => child.pid !== pid);
        if (others.length < children.length) await write(others);
      }),
    /** Ends engine processes whose daemon has ended. Returns how many. */
    reapOrphans: (): Promise<number> =>
      inTurn(async () => {
        const children = await read();
        const kept: ListedChild[] = [];
        let reaped = 0;
        for (const child of children) {
          if (await isRunning(child.daemon)) kept.push(child);
          else if (await isRunning(child)) {
            log.warn(`engine: ending process ${child.pid}, left by a daemon that has ended`);
            await kill(child, log);
            reaped += 1;
          }
        }
        if (kept.length < children.length) await write(kept);
        return reaped;
      }),
    /** Resolves when all changes so far are on disk. */
    idle: () => inTurn(() => Promise.resolve()),
  };
}

async function isRunning({ pid, startTime }: z.output<typeof identity>): Promise<boolean> {
  return (await processStartTime(pid)) === startTime;
}

async function kill(child: ListedChild, log: Log): Promise<void> {
  try {
    process.kill(child.pid, "SIGKILL");
  } catch (error) {
    log.warn(`engine: process ${child.pid} could not be ended: ${String(error)}`);
    return;
  }
  const deadline = Date.now() + reapLimitMs;
  while ((await isRunning(child)) && Date.now() < deadline) await delay(20);
}

/**
 * Returns the resident memory of a process: anonymous pages, which are freed when it ends, and pages of mapped files,
 * which the system counts as available. Undefined on systems other than Linux, or when the process has ended.
 */
export async function readProcessMemory(pid: number) {
  if (process.platform !== "linux") return undefined;
  // The process may have ended.
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN);
  const [anonymous, mapped] = [kilobytes("RssAnon"), kilobytes("RssFile")];
  if (Number.isNaN(anonymous) || Number.isNaN(mapped)) return undefined;
  return { anonymousBytes: anonymous * 1024, mappedBytes: mapped * 1024 };
}
