import { readFileSync } from "node:fs";
import os from "node:os";
import { describe, expect, it } from "vitest";
import { parseNvidiaSmi, createSystemProbe } from "../../../../src/orchestrator/memory/measure/system-probe.ts";
import { createLog } from "../../../../src/orchestrator/api/log.ts";

type SystemProbeOptions = NonNullable<Parameters<typeof createSystemProbe>[0]>;
type SystemInformation = Awaited<ReturnType<NonNullable<SystemProbeOptions["systemInformation"]>>>;

const GiB = 1024 ** 3;

const meminfo = [
  "MemTotal:       16777216 kB",
  "MemFree:         1048576 kB",
  "MemAvailable:    8388608 kB",
  "Cached:          6291456 kB",
  "SwapTotal:       4194304 kB",
  "SwapFree:        3145728 kB",
  "",
].join("\n");

type Graphics = Awaited<ReturnType<SystemInformation["graphics"]>>;

interface Fake {
  readonly files?: Record<string, string>;
  readonly mem?: SystemInformation["mem"];
  readonly graphics?: () => Promise<Graphics>;
  /** Absent: it has no battery. */
  readonly isOnBattery?: boolean;
  /** Absent: `nvidia-smi` is not installed. */
  readonly nvidiaSmi?: () => Promise<string | undefined>;
}

function probeWith(fake: Fake, options: Partial<SystemProbeOptions> = {}) {
  const clock = { ms: 1_000_000 };
  const lines: string[] = [];
  const calls = { mem: 0, graphics: 0, nvidiaSmi: 0 };
  const probe = createSystemProbe({
    now: () => clock.ms,
    readFile: (file) => fake.files?.[file],
    platform: "linux",
    architecture: "x64",
    os: {
      availableParallelism: () => 4,
      totalmem: () => 32 * GiB,
      freemem: () => 5 * GiB,
      loadavg: () => [12, 9, 1],
      cpus: () => Array.from({ length: 8 }, () => core),
    },
    log: createLog("warn", (line) => lines.push(line)),
    systemInformation: async () => ({
      battery: async () => ({ hasBattery: fake.isOnBattery !== undefined, acConnected: fake.isOnBattery !== true }),
      mem: async () => {
        calls.mem += 1;
        if (fake.mem === undefined) throw new Error("vm_stat is missing");
        return fake.mem();
      },
      graphics: async () => {
        calls.graphics += 1;
        return fake.graphics === undefined ? { controllers: [] } : fake.graphics();
      },
    }),
    nvidiaSmi: async () => {
      calls.nvidiaSmi += 1;
      return await fake.nvidiaSmi?.();
    },
    ...options,
  });
  return { probe, clock, lines, calls };
}

const core = { model: "", speed: 0, times: { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 } };

it.each([
  ["linux", 1.5],
  ["darwin", 1.5],
  ["win32", undefined],
] as const)("on %s the last minute's load per core is %s", async (platform, load) => {
  const { probe } = probeWith(
    { mem: async () => ({ total: 1, available: 1, swaptotal: 0, swapused: 0 }) },
    { platform },
  );
  expect((await probe.sample()).loadPerCore).toBe(load);
});

/** Runs the continuations of settled promises. */
async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

describe("the system probe on Linux", () => {
  it("reads memory and swap from the kernel without starting a program", async () => {
    const { probe, calls } = probeWith({ files: { "/proc/meminfo": meminfo } });
    expect(await probe.sample()).toEqual({
      totalBytes: 16 * GiB,
      availableBytes: 8 * GiB,
      swapTotalBytes: 4 * GiB,
      swapUsedBytes: GiB,
      gpus: [],
      loadPerCore: 1.5,
      sampledAtMs: 1_000_000,
    });
    expect(calls.mem).toBe(0);
  });

  it("reports what the container leaves, if that is less", async () => {
    const files = {
      "/proc/meminfo": meminfo,
      "/proc/self/cgroup": "0::/\n",
      "/proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "/sys/fs/cgroup/memory.max": `${4 * GiB}\n`,
      "/sys/fs/cgroup/memory.current": `${GiB}\n`,
    };
    const { probe } = probeWith({ files });
    expect(await probe.sample()).toMatchObject({ availableBytes: 3 * GiB, totalBytes: 4 * GiB });
  });

  it("ignores a limit above the machine's memory", async () => {
    const files = {
      "/proc/meminfo": meminfo,
      "/proc/self/cgroup": "0::/\n",
      "/proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "/sys/fs/cgroup/memory.max": `${64 * GiB}\n`,
    };
    const sample = await probeWith({ files }).probe.sample();
    expect(sample.availableBytes).toBe(8 * GiB);
    expect(sample.totalBytes).toBe(16 * GiB);
  });

  it("caches a sample for 250 ms, and measures again if the clock was set back", async () => {
    const files: Record<string, string> = { "/proc/meminfo": meminfo };
    const { probe, clock } = probeWith({ files });
    await probe.sample();
    files["/proc/meminfo"] = meminfo.replace("8388608", "4194304");
    clock.ms += 250;
    expect((await probe.sample()).availableBytes).toBe(8 * GiB);
    clock.ms += 1;
    expect((await probe.sample()).availableBytes).toBe(4 * GiB);
    files["/proc/meminfo"] = meminfo;
    clock.ms -= 3_600_000;
    expect((await probe.sample()).availableBytes).toBe(8 * GiB);
  });

  it.skipIf(process.platform !== "linux")("agrees with this machine (skipped where there is no /proc)", async () => {
    const sample = await createSystemProbe().sample();
    const total = Number(/^MemTotal:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]) * 1024;
    expect(sample.totalBytes).toBe(total);
    expect(sample.availableBytes).toBeGreaterThan(0);
    expect(sample.availableBytes).toBeLessThanOrEqual(total);
    expect(createSystemProbe().cores()).toBeLessThanOrEqual(os.availableParallelism());
  });
});

describe("the system probe on macOS and Windows", () => {
  const mem = async () => ({ total: 32 * GiB, available: 20 * GiB, swaptotal: 2 * GiB, swapused: GiB });

  it("counts reclaimable pages of macOS as available", async () => {
    const { probe } = probeWith({ mem }, { platform: "darwin", architecture: "arm64" });
    expect(await probe.sample()).toMatchObject({
      totalBytes: 32 * GiB,
      availableBytes: 20 * GiB,
      swapTotalBytes: 2 * GiB,
      swapUsedBytes: GiB,
    });
  });

  it("uses the available memory reported by Windows", async () => {
    const { probe } = probeWith({ mem }, { platform: "win32" });
    expect(await probe.sample()).toMatchObject({ availableBytes: 5 * GiB, swapUsedBytes: GiB });
  });

  it("falls back to the system call with a warning if the tools fail", async () => {
    const { probe, lines } = probeWith({}, { platform: "darwin" });
    expect(await probe.sample()).toMatchObject({ availableBytes: 5 * GiB, swapTotalBytes: 0 });
    expect(lines).toEqual(["ollm warn: hardware: memory measured without swap: vm_stat is missing"]);
  });
});

describe("graphics cards", () => {
  const files = { "/proc/meminfo": meminfo };
  const card = {
    model: "AD102",
    name: "NVIDIA RTX 4090",
    vram: 24_564,
    vramDynamic: false,
    memoryTotal: 24_564,
    memoryFree: 20_000,
  };

  it("are queried in the background of the first sample and included in the next", async () => {
    const { probe, clock } = probeWith({ files, graphics: async () => ({ controllers: [card] }) });
    expect((await probe.sample()).gpus).toEqual([]);
    await settle();
    clock.ms += 300;
    expect((await probe.sample()).gpus).toEqual([
      { name: "NVIDIA RTX 4090", totalBytes: 24_564 * 1024 ** 2, freeBytes: 20_000 * 1024 ** 2 },
    ]);
  });

  it("are queried again, and waited for, if a fresh sample is requested", async () => {
    let memoryFree = 20_000;
    const graphics = async () => ({ controllers: [{ ...card, memoryFree }] });
    const { probe, clock, calls } = probeWith({ files, graphics });
    await probe.sample();
    await settle();
    memoryFree = 5_000;
    clock.ms += 300;
    expect((await probe.sample()).gpus[0]?.freeBytes).toBe(20_000 * 1024 ** 2);
    expect((await probe.sample(0)).gpus[0]?.freeBytes).toBe(5_000 * 1024 ** 2);
    expect(calls.graphics).toBe(2);
  });

  it("never delay a sample, and are not queried twice at once", async () => {
    const { probe, clock, calls } = probeWith({ files, graphics: () => new Promise<never>(() => undefined) });
    for (let round = 0; round < 3; round += 1) {
      expect((await probe.sample()).availableBytes).toBe(8 * GiB);
      await settle();
      clock.ms += 60_000;
    }
    expect(calls.graphics).toBe(1);
  });

  describe("of NVIDIA", () => {
    /** Recorded with driver 580.159.04: an H100 without models, then with one of 4.8 GB. */
    const idle = "NVIDIA H100 80GB HBM3, 81559, 81079\n";
    const used = "NVIDIA H100 80GB HBM3, 81559, 75901\n";
    const MiB = 1024 ** 2;
    const h100 = (freeMib: number) => ({
      name: "NVIDIA H100 80GB HBM3",
      totalBytes: 81_559 * MiB,
      freeBytes: freeMib * MiB,
    });

    it("are in the first sample, and need no other program", async () => {
      const { probe, calls } = probeWith({ files, nvidiaSmi: async () => idle });
      expect((await probe.sample()).gpus).toEqual([h100(81_079)]);
      await settle();
      expect(calls.graphics).toBe(0);
    });

    it("are queried again in a sample after more than a second, and in a fresh one", async () => {
      let output = idle;
      const { probe, clock, calls } = probeWith({ files, nvidiaSmi: async () => output });
      await probe.sample();
      output = used;
      clock.ms += 900;
      expect((await probe.sample()).gpus).toEqual([h100(81_079)]);
      clock.ms += 300;
      expect((await probe.sample()).gpus).toEqual([h100(75_901)]);
      output = idle;
      expect((await probe.sample(0)).gpus).toEqual([h100(81_079)]);
      expect(calls.nvidiaSmi).toBe(3);
    });

    it("keep their last values if nvidia-smi fails later, and others aren't asked", async () => {
      let output: string | undefined = used;
      const { probe, clock, calls } = probeWith({ files, nvidiaSmi: async () => output });
      await probe.sample();
      output = undefined;
      clock.ms += 60_000;
      expect((await probe.sample()).gpus).toEqual([h100(75_901)]);
      expect(calls).toMatchObject({ nvidiaSmi: 2, graphics: 0 });
    });

    it("aren't known while nvidia-smi hangs; it is tried again, and not run by others", async () => {
      let output = "";
      const { probe, clock, calls } = probeWith({ files, nvidiaSmi: async () => output });
      expect((await probe.sample()).gpus).toEqual([]);
      output = idle;
      clock.ms += 10_000;
      await probe.sample();
      await settle();
      clock.ms += 300;
      expect((await probe.sample()).gpus).toEqual([h100(81_079)]);
      expect(calls).toMatchObject({ nvidiaSmi: 2, graphics: 0 });
    });

    it.each([
      ["several, of the same make", `${idle}${used}`, [h100(81_079), h100(75_901)]],
      [
        "a name with a comma",
        "NVIDIA A, B, 1024, 512\r\n",
        [{ name: "NVIDIA A, B", totalBytes: 1024 * MiB, freeBytes: 512 * MiB }],
      ],
      ["no free memory", "NVIDIA T4, 15360, 0\n", [{ name: "NVIDIA T4", totalBytes: 15_360 * MiB, freeBytes: 0 }]],
      ["memory that is not reported", "NVIDIA T4, 15360, [N/A]\n", [{ name: "NVIDIA T4", totalBytes: 15_360 * MiB }]],
      ["memory shared with the RAM", "NVIDIA GB10, [N/A], [N/A]\n", []],
      ["an error as text", "NVIDIA-SMI has failed because it couldn't communicate with the driver\n", []],
    ])("are read from its output: %s", (_case, output, expected) => {
      expect(parseNvidiaSmi(output)).toEqual(expected);
    });
  });

  it("without dedicated memory are ignored", async () => {
    const controllers = [
      { model: "UHD Graphics", vram: 2048, vramDynamic: true },
      { model: "Virtio", vram: 16, vramDynamic: false },
      { model: "unknown", vram: null, vramDynamic: false },
    ];
    const { probe, clock } = probeWith({ files, graphics: async () => ({ controllers }) });
    await probe.sample();
    await settle();
    clock.ms += 300;
    expect((await probe.sample()).gpus).toEqual([]);
  });

  it("are queried again after ten seconds if there are any, else never", async () => {
    for (const [controllers, expected] of [
      [[card], 2],
      [[], 1],
    ] as const) {
      const { probe, clock, calls } = probeWith({ files, graphics: async () => ({ controllers }) });
      await probe.sample();
      await settle();
      clock.ms += 9_000;
      await probe.sample();
      await settle();
      clock.ms += 2_000;
      await probe.sample();
      await settle();
      expect(calls.graphics).toBe(expected);
    }
  });

  it("that can't be queried are reported once", async () => {
    const { probe, clock, lines } = probeWith({
      files,
      graphics: () => Promise.reject(new Error("nvidia-smi crashed")),
    });
    await probe.sample();
    await settle();
    clock.ms += 60_000;
    await probe.sample();
    await settle();
    expect(lines).toEqual(["ollm warn: hardware: graphics cards can't be queried: nvidia-smi crashed"]);
  });
});
