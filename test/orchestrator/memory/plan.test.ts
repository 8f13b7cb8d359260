import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LoadPlan, MemoryEstimate } from "../../../src/orchestrator/api/facade-status.ts";
import { fitOf, freeBytes, planLoad } from "../../../src/orchestrator/memory/plan.ts";
import type { LoadTarget, MemoryState, SlotView } from "../../../src/orchestrator/memory/state.ts";
import { neededBytes } from "../../../src/orchestrator/memory/limits.ts";
import { estimateBySize } from "../../../src/orchestrator/memory/predict.ts";

const GB = 1e9;
const buffer = 2 * GB;

function state(availableGb: number, resident: readonly SlotView[] = [], more: Partial<MemoryState> = {}): MemoryState {
  return {
    availableBytes: availableGb * GB,
    isOverridden: false,
    bufferBytes: buffer,
    smallModelBytes: 5 * GB,
    reservedBytes: 0,
    resident,
    ...more,
  };
}

function loaded(name: string, sizeGb: number, more: Partial<SlotView> = {}): SlotView {
  return {
    name,
    engine: "ollama",
    sizeBytes: sizeGb * GB,
    mappedBytes: 0,
    isBusy: false,
    isPinned: false,
    lastUsedMs: 0,
    isForeign: false,
    ...more,
  };
}

/** A model that has no metadata. */
function unknown(model: string, sizeGb: number): LoadTarget {
  const fileBytes = sizeGb * GB;
  const estimate = estimateBySize(fileBytes, buffer);
  return { model, engine: "ollama", contextTokens: 4096, estimate, fileBytes, isLoaded: false };
}

function simulated(model: string, predictedGb: number, more: Partial<MemoryEstimate> = {}): LoadTarget {
  const estimate: MemoryEstimate = {
    method: "simulated",
    predictedBytes: predictedGb * GB,
    margin: 0,
    processBytes: 0,
    ...more,
  };
  return {
    model,
    engine: "llama-cpp",
    contextTokens: 4096,
    estimate,
    fileBytes: predictedGb * GB * 0.8,
    isLoaded: false,
  };
}

describe("the three published cases of AIfred", () => {
  it.each([
    { free: 25.5, resident: [], size: 1.4, unloaded: [] },
    { free: 25.5, resident: [loaded("small", 2.0)], size: 9.0, unloaded: [] },
    { free: 18.0, resident: [loaded("qwen3:8b", 5.7)], size: 19.0, unloaded: ["qwen3:8b"] },
  ])(
    "$free GB free, loaded $resident.length, new $size GB -> unloads $unloaded",
    ({ free, resident, size, unloaded }) => {
      for (const isOverridden of [true, false]) {
        const plan = planLoad(unknown("new", size), state(free, resident, { isOverridden }));
        expect(plan.fits).toBe(true);
        expect(plan.evict.map(({ name }) => name)).toEqual(unloaded);
      }
    },
  );

  it("are explained with both rules", () => {
    const plan = planLoad(unknown("qwen3:32b", 19), state(18, [loaded("qwen3:8b", 5.7)], { isOverridden: true }));
    expect(plan).toMatchObject({ neededBytes: 22.8 * GB, freeBytes: 18 * GB });
    expect(plan.steps).toEqual([
      "available 18.0 GB, loaded qwen3:8b 5.7 GB",
      "needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and more than size + buffer 2.0 GB = 21.0 GB",
      "unload qwen3:8b (5.7 GB)",
      "23.7 GB free",
      "load qwen3:32b",
    ]);
  });
});

describe("available memory", () => {
  it.each([
    { mapped: 0, reserved: 0, text: "available 20.0 GB, loaded a 6.0 GB" },
    { mapped: 0.01, reserved: 0, text: "available 20.0 GB, loaded a 6.0 GB" },
    { mapped: 5, reserved: 0, text: "available 20.0 GB - 5.0 GB mapped by loaded models = 15.0 GB, loaded a 6.0 GB" },
    {
      mapped: 5,
      reserved: 3,
      text:
        "available 20.0 GB - 5.0 GB mapped by loaded models - 3.0 GB reserved for loads in progress = 12.0 GB, " +
        "loaded a 6.0 GB",
    },
  ])("is explained as measured, minus what isn't available: $text", ({ mapped, reserved, text }) => {
    const before = state(20, [loaded("a", 6, { mappedBytes: mapped * GB })], { reservedBytes: reserved * GB });
    expect(planLoad(simulated("new", 1), before).steps[0]).toBe(text);
  });
});

describe("a model without metadata", () => {
  it.each([
    { free: 12.0, size: 10, fits: false, why: "the buffer must be more than free: 12.0 > 10 + 2 is false" },
    { free: 12.001, size: 10, fits: true, why: "12.001 >= 12.0 and 12.001 > 12.0" },
    { free: 24.0, size: 20, fits: true, why: "24.0 >= 24.0 and 24.0 > 22.0" },
    { free: 23.9, size: 20, fits: false, why: "23.9 >= 24.0 is false" },
    { free: 3.0, size: 1, fits: false, why: "3.0 > 1 + 2 is false" },
  ])("of $size GB with $free GB free: $fits ($why)", ({ free, size, fits }) => {
    expect(planLoad(unknown("m", size), state(free)).fits).toBe(fits);
  });

  it("needs the greater of size x 1.20 and size + buffer", () => {
    expect(neededBytes(unknown("m", 19).estimate, 19 * GB, state(0))).toBe(22.8 * GB);
    expect(neededBytes(unknown("m", 1.4).estimate, 1.4 * GB, state(0))).toBe(3.4 * GB);
  });

  it("is predicted at 1.20 of its size, with a margin that grows as it gets smaller", () => {
    expect(estimateBySize(5 * GB, buffer)).toMatchObject({
      method: "size_rule",
      predictedBytes: 6 * GB,
      processBytes: 0,
    });
    const margins = [0, 0.1, 1, 5, 20, 100].map((size) => estimateBySize(size * GB, buffer).margin);
    expect(margins).toEqual(margins.toSorted((a, b) => b - a));
    // SmolLM2: 98 MB on disk, 211 MB measured at 4,096 tokens.
    const { predictedBytes, margin } = estimateBySize(98_000_000, 0);
    expect(predictedBytes * (1 + margin)).toBeGreaterThan(211_000_000);
  });
});

describe("a model with metadata", () => {
  it("needs prediction, margin, process and buffer", () => {
    const { estimate } = simulated("m", 10, { margin: 0.02, processBytes: 0.1 * GB });
    expect(neededBytes(estimate, 8 * GB, state(0))).toBe(12.3 * GB);
  });

  it("fits when exactly that is free, and not with a byte less", () => {
    const target = simulated("m", 10, { margin: 0.02, processBytes: 0.1 * GB });
    expect(planLoad(target, state(12.3)).fits).toBe(true);
    expect(planLoad(target, { ...state(0), availableBytes: 12.3 * GB - 1 }).fits).toBe(false);
  });

  it("explains the composition of the number", () => {
    const plan = planLoad(simulated("m", 10, { margin: 0.02, processBytes: 0.1 * GB }), state(20));
    expect(plan.steps).toEqual([
      "available 20.0 GB",
      "needed 12.3 GB: predicted 10.0 GB (simulated) + margin 200.0 MB + process 100.0 MB + buffer 2.0 GB",
      "load m",
    ]);
  });
});

describe("free memory", () => {
  it("does not count file-mapped bytes of residents, although MemAvailable does", () => {
    expect(freeBytes(state(20, [loaded("a", 6, { mappedBytes: 5 * GB })]))).toBe(15 * GB);
  });

  it("is the whole configured value", () => {
    expect(freeBytes(state(20, [loaded("a", 6, { mappedBytes: 5 * GB })], { isOverridden: true }))).toBe(20 * GB);
  });

  it("excludes reservations of loads in progress", () => {
    expect(freeBytes(state(20, [], { reservedBytes: 3 * GB }))).toBe(17 * GB);
  });

  it("is what memory.maxBytes leaves, if that is less", () => {
    expect(freeBytes(state(20, [loaded("a", 6)], { maxBytes: 10 * GB, reservedBytes: GB }))).toBe(3 * GB);
    expect(freeBytes(state(20, [loaded("a", 6)], { maxBytes: 5 * GB }))).toBe(0);
  });
});

describe("planLoad", () => {
  it("does nothing for a model that is loaded", () => {
    const plan = planLoad(
      { ...simulated("m", 10), isLoaded: true },
      state(0, [loaded("m", 10, { engine: "llama-cpp" })]),
    );
    expect(plan).toMatchObject({ fits: true, evict: [], isLoaded: true });
    expect(plan.steps).toEqual(["m is already loaded with 4096 tokens of context"]);
  });

  it("frees mapped and anonymous bytes of an evicted model", () => {
    const resident = [loaded("mapped", 6, { mappedBytes: 5 * GB })];
    // MemAvailable 10: 5 of them are the mapped file. Unloaded: 10 + 1 anonymous.
    expect(planLoad(simulated("m", 9), state(10, resident))).toMatchObject({ fits: true, freeBytes: 5 * GB });
    expect(planLoad(simulated("m", 9.1), state(10, resident)).fits).toBe(false);
  });

  it("never evicts busy or pinned models, and names them", () => {
    const resident = [loaded("busy", 6, { isBusy: true }), loaded("pinned", 6, { isPinned: true }), loaded("idle", 1)];
    const plan = planLoad(simulated("m", 10), state(5, resident));
    expect(plan).toMatchObject({ fits: false, evict: [] });
    expect(plan.steps.at(-1)).toBe(
      "does not fit: 6.0 GB free with all idle models unloaded, 12.0 GB needed; busy is busy, pinned is pinned",
    );
  });

  it("evicts no more than needed", () => {
    const plan = planLoad(simulated("m", 10), state(7, [loaded("a", 6), loaded("b", 6), loaded("c", 5)]));
    expect(plan.evict).toEqual([{ name: "c", engine: "ollama", bytes: 5 * GB }]);
  });

  it("replaces its own instance if that has too little context", () => {
    const own = loaded("m", 8, { engine: "llama-cpp", isPinned: true });
    const plan = planLoad(simulated("m", 10), state(5, [own, loaded("other", 6)]));
    expect(plan.evict.map(({ name }) => name)).toEqual(["m"]);
    expect(plan.steps).toContain("unload m (8.0 GB) to load it with more context");
  });

  it("distinguishes models of the same name in two engines", () => {
    const plan = planLoad(simulated("m", 10), state(5, [loaded("m", 8, { engine: "ollama", isPinned: true })]));
    expect(plan.fits).toBe(false);
  });

  it("compares memory.maxBytes without the buffer", () => {
    const limited = { maxBytes: 10 * GB };
    expect(planLoad(simulated("m", 10), state(60, [], limited)).fits).toBe(true);
    expect(planLoad(simulated("m", 10.1), state(60, [], limited)).fits).toBe(false);
    const plan = planLoad(simulated("m", 5), state(60, [loaded("a", 6)], limited));
    expect(plan).toMatchObject({ fits: true, freeBytes: 4 * GB, neededBytes: 5 * GB });
    expect(plan.steps).toEqual([
      "4.0 GB left of memory.maxBytes 10.0 GB, loaded a 6.0 GB",
      "needed 5.0 GB: predicted 5.0 GB (simulated)",
      "unload a (6.0 GB)",
      "10.0 GB left",
      "load m",
    ]);
  });

  it("reports that no idle model can be unloaded if none is loaded", () => {
    expect(planLoad(simulated("m", 100), state(10)).steps.at(-1)).toBe(
      "does not fit: 10.0 GB free, and no idle model can be unloaded",
    );
  });
});

const arbitraryState: fc.Arbitrary<MemoryState> = fc
  .record({
    available: fc.integer({ min: 0, max: 60 }),
    isOverridden: fc.boolean(),
    reserved: fc.integer({ min: 0, max: 5 }),
    max: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined }),
    resident: fc.array(
      fc.record({
        size: fc.integer({ min: 0, max: 12 }),
        mapped: fc.integer({ min: 0, max: 12 }),
        isBusy: fc.boolean(),
        isPinned: fc.boolean(),
      }),
      { maxLength: 6 },
    ),
  })
  .map(({ available, isOverridden, reserved, max, resident }) =>
    state(
      available,
      resident.map(({ size, mapped, isBusy, isPinned }, index) =>
        loaded(`r${index}`, size, { mappedBytes: Math.min(size, mapped) * GB, isBusy, isPinned }),
      ),
      { isOverridden, reservedBytes: reserved * GB, ...(max === undefined ? {} : { maxBytes: max * GB }) },
    ),
  );

const fitOfPlan = ({ fits, evict }: LoadPlan) => (!fits ? "no" : evict.length === 0 ? "now" : "after_eviction");

describe("planLoad, for all states", () => {
  it("leads to a state in which the model fits, evicting only idle and unpinned models", () => {
    fc.assert(
      fc.property(arbitraryState, fc.integer({ min: 0, max: 40 }), fc.boolean(), (before, size, hasMetadata) => {
        const target = hasMetadata ? simulated("new", size) : unknown("new", size);
        const plan = planLoad(target, before);
        if (!plan.fits) return;
        const gone = new Set(plan.evict.map(({ name }) => name));
        expect(before.resident.some((entry) => gone.has(entry.name) && (entry.isBusy || entry.isPinned))).toBe(false);
        // Unloading frees the anonymous bytes, or all bytes of a configured value.
        const returned = before.resident
          .filter(({ name }) => gone.has(name))
          .reduce(
            (sum, entry) => sum + (before.isOverridden ? entry.sizeBytes : entry.sizeBytes - entry.mappedBytes),
            0,
          );
        const after: MemoryState = {
          ...before,
          availableBytes: before.availableBytes + returned,
          resident: before.resident.filter(({ name }) => !gone.has(name)),
        };
        expect(planLoad(target, after)).toMatchObject({ fits: true, evict: [] });
      }),
    );
  });

  it("finds the same as fitOf", () => {
    fc.assert(
      fc.property(
        arbitraryState,
        fc.integer({ min: 0, max: 40 }),
        fc.constantFrom("new", "r0"),
        (before, size, name) => {
          const target = { ...simulated(name, size), engine: "ollama" };
          expect(fitOf(target, before)).toBe(fitOfPlan(planLoad(target, before)));
        },
      ),
    );
  });

  it("has free >= needed if and only if it fits without evictions", () => {
    fc.assert(
      fc.property(arbitraryState, fc.integer({ min: 1, max: 40 }), (before, size) => {
        const plan = planLoad(simulated("new", size), before);
        expect(plan.fits && plan.evict.length === 0).toBe(plan.freeBytes >= plan.neededBytes);
      }),
    );
  });
});

it("a model without metadata of up to 10 GB fits if available > size + 2 GB, as in AIfred's can_load", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 200 }), (tenths, available) => {
      const size = tenths / 10;
      const fits = Math.round(available) * 1e8 > Math.round(size * 10) * 1e8 + 2e9;
      const target = { ...unknown("m", 0), fileBytes: Math.round(size * 10) * 1e8 };
      const estimate = estimateBySize(target.fileBytes, buffer);
      expect(planLoad({ ...target, estimate }, { ...state(0), availableBytes: available * 1e8 }).fits).toBe(fits);
    }),
  );
});
