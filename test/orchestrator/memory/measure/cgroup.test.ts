import { describe, expect, it } from "vitest";
import { readCgroupLimits } from "../../../../src/orchestrator/memory/measure/cgroup.ts";

type Files = Readonly<Record<string, string>>;

const unifiedMount = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

function limitsOf(files: Files) {
  return readCgroupLimits((file) => files[file]);
}

describe("control groups, version 2", () => {
  it("impose no limit if nothing is set", () => {
    const files = {
      "/proc/self/cgroup": "0::/\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/memory.max": "max\n",
      "/sys/fs/cgroup/cpu.max": "max 100000\n",
    };
    expect(limitsOf(files)).toEqual({});
  });

  it("leave the limit minus the usage, without file cache", () => {
    const files = {
      "/proc/self/cgroup": "0::/\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/memory.max": "8000\n",
      "/sys/fs/cgroup/memory.current": "5000\n",
      "/sys/fs/cgroup/memory.stat": "anon 3000\nfile 2000\ninactive_anon 10\ninactive_file 1500\nactive_file 500\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 8000, memoryRoomBytes: 5000 });
  });

  it("leave what the kernel reports as available, also after weights were read twice", () => {
    // Recorded after models of 99 GB were unloaded: MemAvailable was 133.5 GB, and most pages of their files active.
    const files = {
      "/proc/self/cgroup": "0::/process_api/11b9\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/process_api/11b9/memory.max": "max\n",
      "/sys/fs/cgroup/process_api/memory.max": "137438953472\n",
      "/sys/fs/cgroup/process_api/memory.current": "132789432320\n",
      "/sys/fs/cgroup/process_api/memory.stat":
        "anon 108892160\nfile 132505444352\ninactive_file 32125427712\nactive_file 100380000256\n",
    };
    expect(limitsOf(files).memoryRoomBytes).toBe(137_154_949_120);
  });

  it("include all ancestors of the process's group", () => {
    const files = {
      "/proc/self/cgroup": "0::/kubepods/pod1/container\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/kubepods/pod1/container/memory.max": "max\n",
      "/sys/fs/cgroup/kubepods/pod1/container/cpu.max": "400000 100000\n",
      "/sys/fs/cgroup/kubepods/pod1/memory.max": "9000\n",
      "/sys/fs/cgroup/kubepods/pod1/memory.current": "8500\n",
      "/sys/fs/cgroup/kubepods/memory.max": "8000\n",
      "/sys/fs/cgroup/kubepods/memory.current": "1000\n",
      "/sys/fs/cgroup/kubepods/cpu.max": "150000 100000\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 8000, memoryRoomBytes: 500, cpuQuota: 1.5 });
  });

  it("treat memory.high as a limit", () => {
    const files = {
      "/proc/self/cgroup": "0::/app\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/app/memory.max": "8000\n",
      "/sys/fs/cgroup/app/memory.high": "6000\n",
      "/sys/fs/cgroup/app/memory.current": "1000\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 6000, memoryRoomBytes: 5000 });
  });

  it("never leave a negative amount", () => {
    const files = {
      "/proc/self/cgroup": "0::/\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/memory.max": "1000\n",
      "/sys/fs/cgroup/memory.current": "5000\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 1000, memoryRoomBytes: 0 });
  });

  it("are read at the mount if the process's group is not accessible", () => {
    const files = {
      "/proc/self/cgroup": "0::/../outside\n",
      "/proc/self/mountinfo": unifiedMount,
      "/sys/fs/cgroup/memory.max": "8000\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 8000, memoryRoomBytes: 8000 });
  });
});

describe("control groups, version 1", () => {
  const mounts = [
    "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct",
    "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
    "",
  ].join("\n");

  it("are found below the part of the tree that a container sees", () => {
    const files = {
      "/proc/self/cgroup": "9:memory:/docker/abc/inner\n3:cpu,cpuacct:/docker/abc\n",
      "/proc/self/mountinfo": mounts,
      "/sys/fs/cgroup/memory/inner/memory.limit_in_bytes": "9223372036854771712\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "8000\n",
      "/sys/fs/cgroup/memory/memory.usage_in_bytes": "3000\n",
      "/sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 900\ntotal_active_file 100\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 8000, memoryRoomBytes: 6000, cpuQuota: 2.5 });
  });

  it("apply beside an empty version 2 hierarchy", () => {
    const files = {
      "/proc/self/cgroup": "4:memory:/job\n0::/\n",
      "/proc/self/mountinfo": `35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n`,
      "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "500\n",
      "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "100\n",
    };
    expect(limitsOf(files)).toEqual({ memoryLimitBytes: 500, memoryRoomBytes: 400 });
  });

  it("impose no limit with a quota of -1", () => {
    const files = {
      "/proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n",
      "/proc/self/mountinfo": mounts,
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    };
    expect(limitsOf(files)).toEqual({});
  });
});

it("without control groups there are no limits", () => {
  expect(limitsOf({})).toEqual({});
});
