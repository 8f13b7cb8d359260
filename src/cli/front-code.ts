import type { startFront } from "./front/start.ts";

/** Replaced by the bundler with the name of the front's file beside `cli.mjs`; absent when the source runs unbundled. */
declare const OLLM_FRONT_FILE: string | undefined;

export interface FrontCode {
  readonly startFront: typeof startFront;
  /** Called when the front has done its work: leaves what V8 has compiled of it to the next start. Never throws. */
  keep(): void;
}

/**
 * The front, with the code that V8 made of it the last time: compiling its functions one by one is a tenth of a start.
 * It lies with the owner's copy of this build, in a folder of the user's alone, and nowhere else: without such a copy
 * nothing is kept. V8 itself refuses code of other sources, versions or flags, but runs into damaged code and ends the
 * process; so it is kept twice, and used when both are the same.
 */
export async function loadFront(home: string, build: string): Promise<FrontCode> {
  if (typeof OLLM_FRONT_FILE !== "string") return { ...(await import("./front/start.ts")), keep: () => undefined };
  const fs = process.getBuiltinModule("fs");
  const { Script } = process.getBuiltinModule("vm");
  const file = `${import.meta.dirname}/${OLLM_FRONT_FILE}`;
  const kept = `${home}/run/${build}/front-${process.version}-${process.arch}.code`;
  const cachedData = read(kept);
  const script = new Script(fs.readFileSync(file, "utf8"), { filename: file, ...(cachedData && { cachedData }) });
  const module: { exports?: { startFront: typeof startFront } } = {};
  const run = script.runInThisContext() as (require: (name: string) => unknown, module: object) => void;
  run((name) => process.getBuiltinModule(name), module);
  if (module.exports === undefined) throw new Error(`${file} is no front`);
  return {
    startFront: module.exports.startFront,
    keep() {
      if (cachedData !== undefined && script.cachedDataRejected !== true) return;
      const temporary = `${kept}.${process.pid}`;
      try {
        const code = script.createCachedData();
        fs.writeFileSync(temporary, Buffer.concat([code, code]), { mode: 0o600, flag: "wx" });
        fs.renameSync(temporary, kept);
      } catch {
        // No copy of this build, a full disk: the next start compiles again.
      }
    },
  };

  function read(path: string): Buffer | undefined {
    try {
      const twice = fs.readFileSync(path);
      const code = twice.subarray(0, twice.length / 2);
      return code.length > 0 && code.equals(twice.subarray(twice.length / 2)) ? code : undefined;
    } catch {
      return undefined;
    }
  }
}
