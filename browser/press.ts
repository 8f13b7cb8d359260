/** Presses every control of a page: it looks for what is there, as a user does, and goes on until nothing is left. */
import { readFile } from "node:fs/promises";
import { transform } from "esbuild";
import type { Page } from "playwright-core";
import { type Opened, settled } from "./dashboard.ts";
import type { Control, inPage } from "./in-page.ts";

/** What is known of controls, by their keys: `Delete this template? / button Delete`. */
export interface Rules {
  /** What is typed into a field; others get their text back. */
  readonly fills: Readonly<Record<string, string>>;
  /** Controls that may change nothing that is seen, and why. */
  readonly quiet: readonly (readonly [key: RegExp, why: string])[];
  /** Controls that may be gone before they are pressed, and why. */
  readonly fleeting: readonly (readonly [key: RegExp, why: string])[];
  /** What may be said to have failed, by its text, and why. */
  readonly refused: readonly (readonly [text: RegExp, why: string])[];
  /** When each is pressed: by default fields at 0, marks and details at 1, buttons at 2, links at 3, Cancel and Close at 4. */
  readonly ranks: readonly (readonly [key: RegExp, rank: number])[];
  /** Done before one is pressed, such as filling in its form. */
  readonly before: readonly (readonly [key: RegExp, work: (page: Page) => Promise<void>])[];
  /** Rejects unless the one that was pressed did what it says. */
  readonly after: readonly (readonly [key: RegExp, proof: (found: RegExpExecArray, page: Page) => Promise<void>])[];
}

interface Seen {
  readonly control: Control;
  /** What was pressed before it was there, the first one first. */
  readonly path: readonly string[];
}

type InPage = typeof inPage;
const changeMs = 3_000;
const readMs = 1_000;
const busyMs = 60_000;
let script: Promise<string> | undefined;

/** Opens the page again with `in-page.ts` in it. */
export async function addInPage({ page }: Opened): Promise<void> {
  script ??= readFile(new URL("in-page.ts", import.meta.url), "utf8").then(
    async (source) => (await transform(source, { loader: "ts", format: "iife" })).code,
  );
  await page.addInitScript({ content: await script });
  await page.reload();
  await page.getByRole("navigation").first().waitFor();
  await settled(page);
}

/** What can be pressed now. */
export const controlsOf = (page: Page): Promise<readonly Control[]> =>
  page.evaluate(() => (globalThis as unknown as { ollmInPage: InPage }).ollmInPage.controls());

/** The controls that had the focus since the last call. */
export const walkedOf = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { ollmInPage: InPage }).ollmInPage.walked());

const stateOf = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { ollmInPage: InPage }).ollmInPage.state());

const valueOf = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { ollmInPage: InPage }).ollmInPage.value());

/** Resolves when what the page has to draw by now is drawn. */
const drawn = (page: Page) =>
  page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));

/** Resolves when it holds; rejects with `otherwise` after `ms`. */
export async function until(holds: () => Promise<boolean>, otherwise: string, ms = changeMs): Promise<void> {
  const beganMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - beganMs > ms) throw new Error(otherwise);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

/** The controls of one page of the dashboard, or of a dialog that `begin` opens in it. */
export class Presser {
  readonly #opened: Opened;
  readonly #page: Page;
  readonly #room: string;
  readonly #rules: Rules;
  readonly #begin: (() => Promise<void>) | undefined;
  readonly #seen = new Map<string, Seen>();
  readonly #pressed = new Set<string>();
  /** How often each could not be pressed. */
  readonly #failed = new Map<string, number>();
  /** Of the pressed ones, those that were gone before. */
  #gone = 0;
  readonly #problems: string[] = [];
  #path: readonly string[] = [];
  #downloads = 0;
  /** Begun since the last press, and not ended. */
  readonly #requests = new Set<unknown>();
  /** What went wrong outside of the page's elements. */
  #wrong: string[] = [];

  constructor(opened: Opened, room: string, rules: Rules, begin?: () => Promise<void>) {
    this.#opened = opened;
    this.#page = opened.page;
    this.#room = room;
    this.#rules = rules;
    this.#begin = begin;
  }

  /** Presses all there are, those that appear meanwhile, too. */
  async pressAll(): Promise<{ readonly pressed: number; readonly problems: readonly string[] }> {
    const listened = {
      download: () => (this.#downloads += 1),
      request: (request: unknown) => void this.#requests.add(request),
      requestfinished: (request: unknown) => void this.#requests.delete(request),
      console: (line: { type(): string; text(): string }) => {
        if (line.type() === "error") this.#wrong.push(`console: ${line.text()}`);
      },
      response: (response: { status(): number; url(): string }) => {
        if (response.status() >= 400) this.#wrong.push(`${response.status()} ${response.url()}`);
      },
      requestfailed: (request: { failure(): { readonly errorText: string } | null; url(): string }) => {
        this.#requests.delete(request);
        // What the page ends by itself: an answer that is stopped, the stream of a session that ends.
        const reason = request.failure()?.errorText ?? "";
        if (reason !== "net::ERR_ABORTED") this.#wrong.push(`${reason} ${request.url()}`);
      },
    };
    const { download, console: wrote, request, requestfinished, response, requestfailed } = listened;
    const page = this.#page.on("download", download).on("console", wrote).on("response", response);
    page.on("request", request).on("requestfinished", requestfinished).on("requestfailed", requestfailed);
    await this.#opened.show(this.#room);
    await this.#begin?.();
    for (;;) {
      const controls = await this.#look();
      const next = this.#next(controls);
      if (next === undefined) {
        if (await this.#scrolled()) continue;
        break;
      }
      this.#pressed.add(next.control.key);
      try {
        if (!controls.some(({ key, isCurrent }) => key === next.control.key && !isCurrent)) await this.#reach(next);
        await this.#press(next.control, true);
      } catch (error) {
        const isFleeting = this.#rules.fleeting.some(([key]) => key.test(next.control.key));
        // Twice more, the last time when all else was pressed: what was there may have been drawn again.
        const failed = (this.#failed.get(next.control.key) ?? 0) + 1;
        this.#failed.set(next.control.key, failed);
        const isAgain = failed > 2;
        if (isFleeting) this.#gone += 1;
        else if (!isAgain) this.#pressed.delete(next.control.key);
        if (isAgain && !isFleeting)
          this.#problems.push(
            `${next.control.key}: ${error instanceof Error ? error.message : String(error)} (after ${next.path.join(", ")})`,
          );
        await this.#reset();
      }
    }
    page.off("download", download).off("console", wrote).off("response", response);
    page.off("request", request).off("requestfinished", requestfinished).off("requestfailed", requestfailed);
    await this.#close();
    return { pressed: this.#pressed.size - this.#gone, problems: this.#problems };
  }

  /** Notes what is there now. */
  async #look(): Promise<readonly Control[]> {
    const controls = await controlsOf(this.#page);
    for (const control of controls) {
      // A notice is gone by itself in a moment, and the next one is like it.
      const isPassing = control.key.startsWith("button Dismiss #");
      if (control.isOff || control.isCurrent || control.kind === "scrolled" || isPassing) continue;
      if (this.#begin !== undefined && control.dialog === "") continue;
      if (!this.#seen.has(control.key)) this.#seen.set(control.key, { control, path: this.#path });
    }
    return controls;
  }

  /** The one to press next: first what destroys least, and of those what is seen now. */
  #next(controls: readonly Control[]): Seen | undefined {
    const shown = new Set(controls.map(({ key }) => key));
    const open = [...this.#seen.values()].filter(({ control }) => !this.#pressed.has(control.key));
    // What could not be pressed may be there again when all else was.
    const rank = ({ control }: Seen) =>
      (this.#rankOf(control) + ((this.#failed.get(control.key) ?? 0) > 1 ? 10 : 0)) * 2 +
      (shown.has(control.key) ? 0 : 1);
    return open.toSorted((one, other) => rank(one) - rank(other))[0];
  }

  #rankOf({ key, kind, name }: Control): number {
    const [, own] = this.#rules.ranks.find(([each]) => each.test(key)) ?? [];
    if (own !== undefined) return own;
    if (kind === "text") return 0;
    if (kind === "link") return 3;
    if (kind !== "button") return 1;
    return name === "Cancel" || name === "Close" ? 4 : 2;
  }

  /** The page as it is when it is opened. */
  async #reset(): Promise<void> {
    if ((await stateOf(this.#page)).isSignedOut) return;
    await this.#close();
    await this.#opened.show(this.#room === "browser" ? "pipelines" : "browser");
    await this.#opened.show(this.#room);
    await this.#begin?.();
    this.#path = [];
  }

  /** Closes what lies over the page. */
  async #close(): Promise<void> {
    for (let open = 0; open < 4 && (await this.#page.locator("dialog").count()) > 0; open += 1)
      await this.#page.keyboard.press("Escape");
  }

  /** Presses what led to a control. */
  async #reach({ control, path }: Seen): Promise<void> {
    const isThere = async (key: string) =>
      (await controlsOf(this.#page)).some((each) => each.key === key && !each.isOff && !each.isCurrent);
    // A dialog that has nothing left is in the way of what lies below it.
    if (control.dialog === "" && (await this.#page.locator("dialog").count()) > 0) {
      await this.#page.keyboard.press("Escape");
      if (await isThere(control.key)) return;
    }
    let from = path.length - 1;
    while (from >= 0 && !(await isThere(path[from] ?? ""))) from -= 1;
    if (from < 0) {
      await this.#reset();
      from = 0;
    }
    for (const key of path.slice(from)) {
      if (await isThere(control.key)) return;
      // A warning that was dismissed on the way may have ended by itself.
      const step = await this.#waitFor(key, 500).catch(() => undefined);
      if (step !== undefined) await this.#press(step, false);
    }
    // It may have appeared later than what was pressed for it, in details that are closed by now.
    if (!(await isThere(control.key)))
      await this.#page.evaluate(() =>
        document.querySelectorAll<HTMLDetailsElement>("main details").forEach((each) => (each.open = true)),
      );
    await this.#waitFor(control.key);
  }

  async #waitFor(key: string, ms = changeMs): Promise<Control> {
    let found: Control | undefined;
    await until(
      async () => {
        found = (await controlsOf(this.#page)).find((each) => each.key === key && !each.isOff);
        return found !== undefined;
      },
      `"${key}" is not there any more`,
      ms,
    );
    return found as unknown as Control;
  }

  /** Shows what is further down; false at the end of the page. */
  async #scrolled(): Promise<boolean> {
    return this.#page.evaluate(() => {
      const before = scrollY;
      scrollBy(0, innerHeight / 2);
      return scrollY > before;
    });
  }

  async #press(control: Control, isCounted: boolean): Promise<void> {
    const page = this.#page;
    for (const [key, work] of this.#rules.before) if (key.test(control.key)) await work(page);
    const before = await stateOf(page);
    this.#wrong = [];
    this.#requests.clear();
    await this.#act(control, isCounted);
    // A mark is taken back, so that the next form is as it was.
    if (control.kind === "check") await this.#act(control, isCounted);
    await until(async () => !(await stateOf(page)).isBusy, "it is still busy", busyMs);
    // What it asks for is shown before the next one is looked for; an answer may take a minute.
    await until(() => Promise.resolve(this.#requests.size === 0), "it reads", readMs).catch(() => undefined);
    await drawn(page);
    const after = await stateOf(page);
    this.#path = [...(this.#seen.get(control.key)?.path ?? this.#path), control.key];
    const failures = after.failures.filter((each) => !before.failures.includes(each));
    const unexpected = failures.filter((each) => !this.#rules.refused.some(([text]) => text.test(each)));
    const wrong = [...this.#wrong, ...unexpected.map((each) => `it says: ${each}`)];
    if (after.isEmpty) wrong.push("the page is empty");
    for (const [key, proof] of this.#rules.after) {
      const found = isCounted ? key.exec(control.key) : null;
      if (found !== null) await proof(found, page).catch((error: unknown) => wrong.push(String(error).slice(0, 300)));
    }
    if (after.room !== this.#room && !after.isSignedOut) await this.#reset();
    if (wrong.length > 0) this.#problems.push(`${control.key}: ${wrong.join("; ")}`);
  }

  /** Puts the pointer on a control and the focus into it; throws if that can't be done. */
  async #place(control: Control): Promise<{ readonly x: number; readonly y: number }> {
    const page = this.#page;
    let spot: ReturnType<InPage["place"]> = "";
    // A list may have been drawn again since.
    await until(
      async () => {
        spot = await page.evaluate(
          (key) => (globalThis as unknown as { ollmInPage: InPage }).ollmInPage.place(key),
          control.key,
        );
        return typeof spot !== "string";
      },
      control.key,
      changeMs,
    ).catch(() => undefined);
    if (typeof spot === "string") throw new Error(spot);
    return spot;
  }

  /** Clicks where a control is, and again if what is above it has grown meanwhile. */
  async #click(control: Control): Promise<void> {
    for (let tries = 0; tries < 5; tries += 1) {
      const { x, y } = await this.#place(control);
      await this.#page.mouse.click(x, y);
      if (!(await stateOf(this.#page)).isMissed) return;
    }
    throw new Error("it does not stand still");
  }

  /** Presses, types or chooses, and waits until something else than the control itself has changed. */
  async #act(control: Control, isCounted: boolean): Promise<void> {
    const page = this.#page;
    await this.#place(control);
    const before = await stateOf(page);
    const downloads = this.#downloads;
    const value = await valueOf(page);
    const isChanged = async (): Promise<boolean> => {
      const { outside, changes } = await stateOf(page);
      return outside !== before.outside || changes.length > 0 || this.#downloads > downloads;
    };
    if (control.kind === "select") {
      for (const option of [...control.options.filter((each) => each !== value), value]) {
        await page.locator(":focus").selectOption(option);
        if ((await valueOf(page)) !== option) throw new Error(`"${option}" can't be chosen`);
      }
      return;
    }
    await this.#click(control);
    if (control.kind === "text") {
      const given = this.#rules.fills[control.key];
      const typed = control.isFilter ? "no such thing" : (given ?? `${value}1`);
      await page.keyboard.press("Control+a");
      await page.keyboard.insertText(typed);
      if ((await valueOf(page)) !== typed) throw new Error(`it does not take "${typed}"`);
      if (given !== undefined) return;
      if (control.isFilter) await until(isChanged, "typing changes no list");
      await page.keyboard.press("Control+a");
      await page.keyboard.press("Delete");
      await page.keyboard.insertText(value);
      return;
    }
    if (control.kind === "check") return until(async () => (await valueOf(page)) !== value, "its mark does not change");
    if (isCounted && !this.#rules.quiet.some(([key]) => key.test(control.key)))
      await until(isChanged, "pressed, and nothing happened");
  }
}
