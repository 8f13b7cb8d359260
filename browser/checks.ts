import { say } from "../conformance/judges.ts";
import { launchChromium } from "./chromium.ts";
import { keepPicture } from "./dashboard.ts";
import { hostileModel, hostileText } from "./hostile.ts";
import { accessChecks } from "./access.ts";
import { buttonChecks } from "./buttons.ts";
import { countedChecks, longChecks } from "./counted.ts";
import { keyboardChecks } from "./keyboard.ts";
import { modelChecks, slowModel, thinkingModel } from "./models.ts";
import { pageChecks } from "./pages.ts";
import { sessionChecks } from "./session.ts";
import { viewChecks } from "./views.ts";
import { workChecks } from "./work.ts";
import { type Check, openWorld, realModel } from "./world.ts";

/** A check that takes longer hangs: the slowest loads a model twice. */
const checkLimitMs = 120_000;
/** For those that press everything, or watch for minutes. */
const longLimitMs = 900_000;

const checks: readonly Check[] = [
  ...sessionChecks,
  ...modelChecks,
  ...pageChecks,
  ...workChecks,
  ...accessChecks,
  ...keyboardChecks,
  ...viewChecks,
  ...countedChecks,
  ...buttonChecks,
];
/** Run by their names alone. */
const byName: readonly Check[] = longChecks;

/** Runs the checks whose names contain one of `words`, or all but those by name; returns the exit code. */
export async function runChecks(words: readonly string[]): Promise<number> {
  const startedAtMs = performance.now();
  const chosen =
    words.length === 0 ? checks : [...checks, ...byName].filter(([name]) => words.some((word) => name.includes(word)));
  const failures: string[] = [];
  const world = await openWorld({
    ollama: [
      { name: "echo:latest", reply: "An answer of some words." },
      { name: hostileModel, reply: hostileText },
      slowModel,
      thinkingModel,
    ],
  });
  try {
    const browser = await launchChromium();
    try {
      say(`Chromium ${browser.version()}, ${realModel} on llama.cpp; ready in ${seconds(startedAtMs)}`);
      for (const [name, run] of chosen) {
        const beganAtMs = performance.now();
        const limitMs = [...buttonChecks, ...byName].some((each) => each[0] === name) ? longLimitMs : checkLimitMs;
        const problem = await limited(run({ world, browser }), limitMs);
        say(`${problem === undefined ? "passed" : "FAILED"}  ${name} (${seconds(beganAtMs)})`);
        if (problem === undefined) continue;
        failures.push(name);
        say(problem);
        // Pages that are still open belong to a check that hung.
        for (const context of browser.contexts()) {
          for (const page of context.pages()) await keepPicture(page);
          await context.close();
        }
      }
    } finally {
      await browser.close();
    }
  } finally {
    await world.close();
  }
  const result = failures.length === 0 ? `all ${chosen.length} passed` : `FAILED: ${failures.join("; ")}`;
  say(`browser: ${result} in ${seconds(startedAtMs)}`);
  return failures.length === 0 && chosen.length > 0 ? 0 : 1;
}

/** What was wrong; undefined when nothing was. */
async function limited(work: Promise<void>, limitMs: number): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const limit = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${limitMs / 1000} s`)), limitMs);
    });
    await Promise.race([work, limit]);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 3_000) : String(error);
  } finally {
    clearTimeout(timer);
  }
}

function seconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}
