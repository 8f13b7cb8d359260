/** Reads a small text file; undefined if it doesn't exist or can't be read. */
type ReadText = (file: string) => string | undefined;

/**
 * Reads the limits of this process's control groups, version 1 and 2, also mixed. All ancestors count: a container
 * without a limit may be inside a limited pod. Not cached, since usage changes and processes move. Each is the smallest of
 * all nested groups: the room is limit − (usage − file cache, which is freed on demand); the quota is in cores (1.5: one and
 * a half cores).
 */
export function readCgroupLimits(read: ReadText) {
  const own = read("/proc/self/cgroup");
  const mounts = read("/proc/self/mountinfo");
  if (own === undefined || mounts === undefined) return {};
  const limits: { memoryLimitBytes?: number; memoryRoomBytes?: number; cpuQuota?: number } = {};
  const lower = (name: keyof typeof limits, value: number | undefined): void => {
    if (value !== undefined) limits[name] = Math.min(value, limits[name] ?? value);
  };
  const lowerMemory = (folder: string, version: keyof typeof memoryFiles): void => {
    const group = memoryOf(folder, version, read);
    lower("memoryLimitBytes", group?.limitBytes);
    lower("memoryRoomBytes", group?.roomBytes);
  };
  for (const folder of hierarchyOf("", own, mounts)) {
    lowerMemory(folder, "v2");
    // `200000 100000` is two cores; `max 100000` is no limit.
    const [quota, period] = (read(`${folder}/cpu.max`) ?? "").trim().split(/\s+/);
    lower("cpuQuota", quotient(numberIn(quota), numberIn(period)));
  }
  for (const folder of hierarchyOf("memory", own, mounts)) lowerMemory(folder, "v1");
  for (const folder of hierarchyOf("cpu", own, mounts)) {
    const [quota, period] = [read(`${folder}/cpu.cfs_quota_us`), read(`${folder}/cpu.cfs_period_us`)];
    lower("cpuQuota", quotient(numberIn(quota), numberIn(period)));
  }
  return limits;
}

/** `controller` is empty for the unified hierarchy (version 2). */
function hierarchyOf(controller: string, own: string, mounts: string): readonly string[] {
  const group = groupPath(controller, own);
  const mount = findMount(controller, mounts);
  if (group === undefined || mount === undefined) return [];
  // In a container the mount often shows only a part of the tree: the path is relative to its root.
  // A path with `..` or outside the root is not accessible: only the mount itself can be read then.
  const isBelow = mount.root === "/" || group === mount.root || group.startsWith(`${mount.root}/`);
  const below = isBelow && !group.includes("..") ? group.slice(mount.root === "/" ? 0 : mount.root.length) : "";
  const names = below.split("/").filter((name) => name !== "");
  return Array.from({ length: names.length + 1 }, (_, up) =>
    [mount.point, ...names.slice(0, names.length - up)].join("/"),
  );
}

/** Lines are `id:controllers:path`; version 2 has the id 0 and no controllers. */
function groupPath(controller: string, own: string): string | undefined {
  for (const line of own.split("\n")) {
    const [id, controllers, ...path] = line.split(":");
    if (controllers === undefined || path.length === 0) continue;
    if (controller === "" ? id === "0" && controllers === "" : controllers.split(",").includes(controller)) {
      return path.join(":");
    }
  }
  return undefined;
}

/** Lines are `id parent device root point options … - type source superOptions`. */
function findMount(controller: string, mounts: string): { readonly root: string; readonly point: string } | undefined {
  for (const line of mounts.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const [type, , superOptions = ""] = right.split(" ");
    const isWanted =
      controller === "" ? type === "cgroup2" : type === "cgroup" && superOptions.split(",").includes(controller);
    if (!isWanted) continue;
    const [, , , root, point] = left.split(" ");
    if (root !== undefined && point !== undefined) return { root, point };
  }
  return undefined;
}

/** `limits`: above memory.high the kernel throttles the process heavily, which amounts to a limit. */
const memoryFiles = {
  v2: { limits: ["memory.max", "memory.high"], usage: "memory.current", prefix: "" },
  v1: { limits: ["memory.limit_in_bytes"], usage: "memory.usage_in_bytes", prefix: "total_" },
} as const;

function memoryOf(folder: string, version: keyof typeof memoryFiles, read: ReadText) {
  const { limits, usage, prefix } = memoryFiles[version];
  const limitBytes = Math.min(...limits.map((file) => numberIn(read(`${folder}/${file}`)) ?? Number.POSITIVE_INFINITY));
  // "No limit" of version 1 is the largest multiple of the page size below 2^63.
  if (limitBytes > 2 ** 60) return undefined;
  const used = numberIn(read(`${folder}/${usage}`)) ?? 0;
  const stat = read(`${folder}/memory.stat`);
  // Active and inactive pages, as in MemAvailable: weights that were read twice are active, although nothing may use them
  // any more (30 GB were observed after two models of the same weights were loaded onto a graphics card).
  const cached = statOf(stat, `${prefix}inactive_file`) + statOf(stat, `${prefix}active_file`);
  return { limitBytes, roomBytes: Math.max(0, limitBytes - used + cached) };
}

function quotient(quota: number | undefined, period: number | undefined): number | undefined {
  return quota === undefined || period === undefined || period === 0 ? undefined : quota / period;
}

/** Undefined for `max`, `-1` and anything else that is not a number. */
function numberIn(text: string | undefined): number | undefined {
  const trimmed = text?.trim() ?? "";
  return /^\d+$/.test(trimmed) ? Number(trimmed) : undefined;
}

function statOf(text: string | undefined, name: string): number {
  const match = new RegExp(`^${name} (\\d+)$`, "m").exec(text ?? "");
  return match === null ? 0 : Number(match[1]);
}
