import { join } from "node:path";
import { InvalidConfig } from "../api/errors.ts";
import type { SettingsAccess, ShownSetting } from "../api/facade-status.ts";
import type { CallerContext } from "../api/types.ts";
import { createMutex } from "../util/mutex.ts";
import { changeConfig } from "./change.ts";
import type { LiveSettings } from "./live.ts";
import { formatPath, leafPaths, parsePath } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { masked, shownSettings } from "./shown.ts";

/**
 * Settings that an assistant may change without asking its user: how models compute, which one answers, how long they
 * stay loaded and how much memory they may use. All others need the user's consent, including those that later versions
 * add: they widen network or file access, or speak for the user. `*` is a record's key.
 */
const freeSettings: ReadonlySet<string> = new Set([
  "model.default",
  "model.provider",
  "model.routing.enabled",
  "model.routing.defaultProfile",
  "model.routing.overrides.*",
  "model.keepAlive.enabled",
  "model.keepAlive.models",
  "model.keepAlive.preload",
  "model.keepAlive.timeout",
  "models.*.options.temperature",
  "models.*.options.topP",
  "models.*.options.maxTokens",
  "models.*.contextTokens",
  "models.*.keepAlive",
  "models.*.sizeBytes",
  "models.*.maxParallel",
  "options.temperature",
  "options.topP",
  "options.maxTokens",
  "providers.ollama.memoryBytes",
  "providers.ollama.parallel",
  "providers.ollama.cacheType",
  "providers.ollama.flashAttention",
  "providers.ollama.options.numCtx",
  "providers.llamaCpp.threads",
  "memory.bufferBytes",
  "memory.maxBytes",
  "memory.availableBytes",
  "memory.smallModelBytes",
  "recall.injectTokens",
  "queue.maxWaiting",
  "queue.maxOvertakeMs",
  "queue.maxWaitMs",
  "projects.detect",
  "conversations.keepHours",
  "conversations.maxCount",
  "daemon.idleTimeout",
  "jobs.patience",
  "jobs.keepHours",
  "jobs.maxBytes",
]);

/** Whether a path contains, or is part of, a setting that needs the user's consent. */
function isGuarded(text: string): boolean {
  const { path } = parsePath(settingsSchema, text);
  const touched = leafPaths(settingsSchema).filter((leaf) =>
    leaf.every((key, index) => index >= path.length || key === "*" || key === path[index]),
  );
  return touched.length === 0 || touched.some((leaf) => !freeSettings.has(leaf.join(".")));
}

/** Lets callers read and change the settings of one home. */
export function createSettingsAccess(parts: { readonly home: string; readonly live: LiveSettings }): SettingsAccess {
  const { home, live } = parts;
  const file = join(home, "config.yaml");
  // Of two concurrent changes, each would overwrite the other.
  const inTurn = createMutex();

  function show(caller: CallerContext, path?: string): readonly ShownSetting[] {
    const daemonSettings = shownSettings(live.current(), live.sources(), path);
    const { configured } = caller;
    if (configured === undefined) return daemonSettings;
    const own = shownSettings(configured.settings as Settings, configured.sources, path).filter(
      ({ scope }) => scope !== "daemon",
    );
    // Not merged row by row: their records may have different keys.
    return [...daemonSettings.filter(({ scope }) => scope === "daemon"), ...own];
  }

  async function change(caller: CallerContext, path: string, value?: unknown): Promise<ShownSetting> {
    const changed = await inTurn(async () => {
      const written = await changeConfig(home, path, value);
      await live.reload();
      const problem = live.problem();
      if (problem === undefined) return written;
      await written.undo();
      await live.reload();
      throw new InvalidConfig(`nothing was changed: ${problem}`, { next: { step: "correctArguments" } });
    });
    const { setting, source } = changed;
    const name = formatPath(setting.path);
    // This caller's variables and flags override the file; `show` reports them as the source.
    const shown = (setting.scope === "daemon" ? live.sources() : caller.configured?.sources)?.get(name);
    if (shown !== undefined && !shown.startsWith(file))
      return show(caller, name)[0] ?? { path: name, value: undefined, source: shown, scope: setting.scope };
    // A section has several rows, each with its default again.
    const rows = shownSettings(live.current(), live.sources(), name);
    const now = changed.value ?? (rows.length === 1 ? rows[0]?.value : undefined);
    return { path: name, value: masked(setting.path, now), source, scope: setting.scope };
  }

  return {
    show: (caller, path) => Promise.resolve().then(() => show(caller, path)),
    set: (caller, path, value) => change(caller, path, value),
    unset: (caller, path) => change(caller, path),
    isGuarded,
    problem: live.problem,
  };
}
