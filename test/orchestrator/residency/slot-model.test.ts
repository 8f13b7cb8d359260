import fc from "fast-check";
import { it } from "vitest";
import { createMemoryDomain } from "../../../src/orchestrator/memory/state.ts";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import type { ModelSlot } from "../../../src/orchestrator/residency/slot.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";

type SlotState = ModelSlot["state"];

type Name = "a" | "b";
const names: readonly Name[] = ["a", "b"];
const bytes = { a: 3, b: 5 };
const nothing = () => undefined;
const minuteMs = 60_000;
const keepAliveMs = 15 * minuteMs;

/** What a slot should be. */
interface Expected {
  state: SlotState;
  leases: number;
  isPinned: boolean;
  isOwned: boolean;
  /** When the engine unloads it, for one that is loaded by this program and of which its engine says so. */
  expiresAtMs: number | undefined;
  /** When our last request ended, and when a request of another program was seen. */
  usedAtMs: number;
  touchedAtMs: number;
}
type Model = Record<Name, Expected>;

/** Slots of two models, with the reservations of their loads. */
function machine() {
  const engine = createFakeEngine("ollama", []);
  const pinned = new Set<string>();
  const clock = { ms: 0 };
  const now = () => clock.ms;
  const isPinned = (name: string) => pinned.has(name);
  const slots = new Slots({ now, steady: now, observations: createObservations(now), isPinned });
  const held: Record<Name, (() => void)[]> = { a: [], b: [] };
  return { engine, pinned, clock, slots, held, domain: createMemoryDomain("local") };
}
type Machine = ReturnType<typeof machine>;

function equal(what: string, found: unknown, expected: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(expected))
    throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
}

/** What holds after each step, whatever it was. */
function check(model: Model, { engine, slots, domain, clock }: Machine): void {
  let reserved = 0;
  for (const name of names) {
    const { state, leases, isPinned, isOwned, expiresAtMs, touchedAtMs } = model[name];
    const slot = slots.of(engine, name);
    const isBusy = state === "loading" || leases > 0;
    if (state === "loading") reserved += bytes[name];
    equal(
      name,
      [slot.state, slot.leases, slot.isPinned(name), slot.ownedLoad !== undefined, slot.isBusy, slot.mayBeEvicted],
      [state, leases, isPinned, isOwned, isBusy, !isBusy],
    );
    if (expiresAtMs !== undefined && state !== "absent")
      equal(`${name} is foreign`, slot.isForeign, clock.ms - touchedAtMs < 15 * minuteMs);
    if (state === "evicting" && leases > 0) throw new Error(`${name} is evicted while it is leased`);
    if ((slot.stuck !== undefined) !== (state === "stuck")) throw new Error(`${name}: ${slot.stuck}`);
  }
  equal("reserved", domain.reserved().ramBytes, reserved);
}

class Step implements fc.AsyncCommand<Model, Machine> {
  readonly #text: string;
  readonly #may: (model: Model) => boolean;
  readonly do: (model: Model, real: Machine) => void;
  /** Whether the slot refuses it where the table doesn't have it; else it does nothing there. */
  readonly #isRefused: boolean;

  constructor(
    text: string,
    may: (model: Model) => boolean,
    run: (model: Model, real: Machine) => void,
    isRefused = false,
  ) {
    this.#text = text;
    this.#may = may;
    this.do = run;
    this.#isRefused = isRefused;
  }

  check(model: Readonly<Model>): boolean {
    return this.#isRefused || this.#may(model);
  }

  async run(model: Model, real: Machine): Promise<void> {
    if (this.#may(model)) this.do(model, real);
    else {
      const before = structuredClone(model);
      let hasThrown = false;
      try {
        this.do(structuredClone(model), real);
      } catch {
        hasThrown = true;
      }
      if (!hasThrown) throw new Error(`${this.#text} was not refused`);
      Object.assign(model, before);
    }
    // A loaded model can't be evicted before those that waited for its load have their leases.
    await new Promise(setImmediate);
    check(model, real);
  }

  toString(): string {
    return this.#text;
  }
}

const isHere = (state: SlotState) => state === "ready" || state === "stuck";
/** What the engine lists: not what it has unloaded because nothing used it for its keep-alive. */
function poll(model: Model, { slots, engine, clock }: Machine): void {
  const listed = names.filter((name) => {
    const { state, leases, expiresAtMs = Number.POSITIVE_INFINITY } = model[name];
    if (state !== "absent" && state !== "loading" && (leases > 0 || clock.ms < expiresAtMs)) return true;
    lose(model[name]);
    return false;
  });
  const residents = listed.map((name) => {
    const { expiresAtMs } = model[name];
    const expiry = expiresAtMs === undefined ? {} : { expiresAt: new Date(expiresAtMs).toISOString() };
    return { name, sizeBytes: bytes[name], vramBytes: 0, ...expiry };
  });
  slots.observe(engine, residents);
  for (const resident of residents)
    equal("expiry", slots.view(engine, resident).expiresAtMs, model[resident.name].expiresAtMs);
}

const stepsOf = (name: Name): readonly Step[] => {
  const slot = ({ slots, engine }: Machine) => slots.of(engine, name);
  const become = (model: Model, change: Partial<Expected>) => Object.assign(model[name], change);
  return [
    new Step(
      `load ${name}`,
      (model) => model[name].leases === 0 && (model[name].state === "absent" || isHere(model[name].state)),
      (model, real) => {
        // The reservation is made before the transition, and undone if that is refused.
        const end = real.domain.reserve(name, { ramBytes: bytes[name] });
        try {
          slot(real).beginLoad(end);
        } catch (error) {
          end();
          throw error;
        }
        become(model, { state: "loading" });
      },
      true,
    ),
    new Step(
      `${name} is ready`,
      (model) => model[name].state === "loading",
      (model, real) => {
        slot(real).loaded({ name, requestedSeconds: undefined, sentSeconds: keepAliveMs / 1_000 });
        const { ms } = real.clock;
        become(model, { state: "ready", isOwned: true, expiresAtMs: ms + keepAliveMs, usedAtMs: ms });
      },
    ),
    new Step(
      `the load of ${name} fails`,
      (model) => model[name].state === "loading",
      (model, real) => {
        slot(real).loadFailed();
        become(model, { state: "absent" });
      },
    ),
    new Step(
      `lease ${name}`,
      (model) => model[name].state !== "loading" && model[name].state !== "evicting",
      (model, real) => {
        real.held[name].push(slot(real).take(name).release);
        if (model[name].state === "absent") become(model, { state: "ready", expiresAtMs: undefined });
        model[name].leases += 1;
      },
      true,
    ),
    new Step(
      `release ${name}, twice`,
      (model) => model[name].leases > 0,
      (model, real) => {
        const release = real.held[name].pop() ?? nothing;
        release();
        release();
        model[name].leases -= 1;
        model[name].usedAtMs = real.clock.ms;
        if (model[name].expiresAtMs !== undefined) model[name].expiresAtMs = real.clock.ms + keepAliveMs;
      },
    ),
    new Step(
      `pin or unpin ${name}`,
      () => true,
      (model, { pinned }) => {
        if (model[name].isPinned) pinned.delete(name);
        else pinned.add(name);
        model[name].isPinned = !model[name].isPinned;
      },
    ),
    new Step(
      `evict ${name}`,
      (model) => model[name].leases === 0 && model[name].state !== "evicting",
      (model, real) => {
        slot(real).beginEvicting();
        // A load that replaces it with more context stays loading.
        if (model[name].state !== "loading") become(model, { state: "evicting" });
      },
      true,
    ),
    new Step(
      `the unload of ${name} is confirmed`,
      (model) => model[name].state === "evicting",
      (model, real) => {
        slot(real).evicted();
        become(model, { state: "absent", isOwned: false, expiresAtMs: undefined, touchedAtMs: -keepAliveMs });
      },
    ),
    new Step(
      `the unload of ${name} is refused`,
      (model) => model[name].state === "evicting",
      (model, real) => {
        slot(real).evictionRefused(true);
        become(model, { state: "ready" });
      },
    ),
    new Step(
      `${name} produces no token`,
      (model) => model[name].leases > 0,
      (model, real) => {
        slot(real).stalled("no token");
        become(model, { state: "stuck" });
      },
    ),
    new Step(
      `${name} produces a token`,
      () => true,
      (model, real) => {
        slot(real).alive();
        if (model[name].state === "stuck") become(model, { state: "ready" });
      },
    ),
    new Step(
      `another program unloads ${name}, and loads the other`,
      () => true,
      (model, { slots, engine }) => {
        const other: Name = name === "a" ? "b" : "a";
        slots.observe(engine, [{ name: other, sizeBytes: bytes[other], vramBytes: 0 }]);
        lose(model[name]);
        if (model[other].state === "absent") Object.assign(model[other], { state: "ready", expiresAtMs: undefined });
      },
    ),
    new Step(
      `another program uses ${name}`,
      ({ [name]: { state, leases, expiresAtMs } }) => isHere(state) && leases === 0 && expiresAtMs !== undefined,
      (model, real) => {
        const its = model[name];
        const { ms } = real.clock;
        poll(model, real);
        // Before the next request of ours ends, an expiry that has moved says so.
        if (its.state === "absent" || its.usedAtMs === ms) return;
        its.expiresAtMs = ms + keepAliveMs;
        its.touchedAtMs = ms;
        poll(model, real);
      },
    ),
  ];
};

function lose(its: Expected): void {
  if (isHere(its.state) && its.leases === 0) Object.assign(its, { state: "absent", expiresAtMs: undefined });
}

/** A load of one step, so that more of them end. */
const loadedAtOnce = (name: Name): Step => {
  const [begin, end] = stepsOf(name);
  return new Step(
    `${name} is loaded`,
    (model) => model[name].state === "absent",
    (model, real) => {
      begin?.do(model, real);
      end?.do(model, real);
    },
  );
};

const passing = [1, 5, 16].map(
  (minutes) =>
    new Step(
      `${minutes} minutes pass, and the engine is polled`,
      () => true,
      (model, real) => {
        real.clock.ms += minutes * minuteMs;
        poll(model, real);
      },
    ),
);

const crash = new Step(
  "the engine loses all",
  () => true,
  (model, { slots, engine }) => {
    slots.observe(engine, []);
    for (const name of names) lose(model[name]);
  },
);

it("a slot passes only through its table: never evicted in use, its reservation ends with its load, it expires by time", async () => {
  const steps = [...names.flatMap(stepsOf), ...names.map(loadedAtOnce), ...passing, crash].map(fc.constant);
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { maxCommands: 60, size: "max" }), async (commands) => {
      const expected = (): Expected => ({
        state: "absent",
        leases: 0,
        isPinned: false,
        isOwned: false,
        expiresAtMs: undefined,
        usedAtMs: 0,
        touchedAtMs: -keepAliveMs,
      });
      await fc.asyncModelRun(() => ({ model: { a: expected(), b: expected() }, real: machine() }), commands);
    }),
    { numRuns: 1_000 },
  );
});
