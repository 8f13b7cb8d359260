import { describe, expect, it } from "vitest";
import { countCores } from "../../../../src/orchestrator/memory/measure/system-probe.ts";

const cpuInfo = (siblings: number, cores: number) =>
  `processor\t: 0\nsiblings\t: ${siblings}\ncore id\t\t: 0\ncpu cores\t: ${cores}\n\nprocessor\t: 1\nsiblings\t: ${siblings}\ncpu cores\t: ${cores}\n`;

function onLinux(parallelism: number, files: Readonly<Record<string, string>> = {}): number {
  return countCores({ platform: "linux", architecture: "x64", parallelism }, (file) => files[file]);
}

const quota = (cpuMax: string) => ({
  "/proc/self/cgroup": "0::/\n",
  "/proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
  "/sys/fs/cgroup/cpu.max": cpuMax,
});

describe("the cores that this process may use", () => {
  it("are physical ones: two threads of one core count once", () => {
    expect(onLinux(16, { "/proc/cpuinfo": cpuInfo(16, 8) })).toBe(8);
    expect(onLinux(2, { "/proc/cpuinfo": cpuInfo(2, 2) })).toBe(2);
  });

  it("follow the affinity", () => {
    expect(onLinux(4, { "/proc/cpuinfo": cpuInfo(16, 8) })).toBe(2);
  });

  it("follow the quota, rounded down", () => {
    expect(onLinux(8, quota("250000 100000\n"))).toBe(2);
    expect(onLinux(8, quota("max 100000\n"))).toBe(8);
  });

  it("are at least one", () => {
    expect(onLinux(8, quota("50000 100000\n"))).toBe(1);
    expect(onLinux(1, { "/proc/cpuinfo": cpuInfo(2, 1) })).toBe(1);
  });

  it("are all logical ones if the system doesn't report shared cores", () => {
    expect(onLinux(6)).toBe(6);
    expect(onLinux(4, { "/proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 243.75\n" })).toBe(4);
  });

  it.each([
    ["darwin", "arm64", 10, 10],
    ["win32", "x64", 16, 8],
    ["win32", "x64", 4, 4],
    ["darwin", "x64", 12, 6],
  ] as const)("on %s %s with %i logical ones are %i", (platform, architecture, parallelism, expected) => {
    expect(countCores({ platform, architecture, parallelism }, () => undefined)).toBe(expected);
  });
});
