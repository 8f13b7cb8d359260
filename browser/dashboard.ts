import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { BrowserContext, Page } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { type Watched, watchedPage } from "./chromium.ts";
import type { Scene, World } from "./world.ts";

/** A page of the dashboard, signed in. */
export interface Opened extends Watched {
  readonly context: BrowserContext;
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** Shows a page by its name in the address, such as `models`. */
  show(id: string): Promise<void>;
}

interface PageOptions {
  readonly theme?: "light" | "dark";
  readonly forcedColours?: boolean;
  /** Of languages that are written so; the page's own words stay English. */
  readonly isRightToLeft?: boolean;
  readonly width?: number;
  readonly height?: number;
  /** Device pixels per pixel; default 1. */
  readonly scale?: number;
}

/** A link that works once. */
export async function dashboardLink(world: World): Promise<string> {
  return (await world.ollmJson<{ readonly url: string }>("dashboard")).url;
}

/** Opens the dashboard by a link of its own, as a user does. The caller closes its context. */
export async function openDashboard({ world, browser }: Scene, options: PageOptions = {}): Promise<Opened> {
  const url = await dashboardLink(world);
  const { origin } = new URL(url);
  const { theme = "light", forcedColours = false, width = 1200, height = 900, scale = 1 } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    forcedColors: forcedColours ? "active" : "none",
    deviceScaleFactor: scale,
    // Otherwise this machine's "en-US@posix", with which no chart is drawn.
    locale: "en-GB",
  });
  const watched = await watchedPage(context, origin);
  await watched.page.goto(url);
  await watched.page.getByRole("navigation").first().waitFor();
  const show = async (id: string): Promise<void> => {
    await watched.page.evaluate((name) => (location.hash = `#/${name}`), id);
    await watched.page.locator(`nav a[href="#/${id}"][aria-current=page]`).first().waitFor({ state: "attached" });
    await settled(watched.page);
  };
  if (options.isRightToLeft === true) await watched.page.evaluate(() => (document.documentElement.dir = "rtl"));
  await settled(watched.page);
  return { ...watched, context, origin, show };
}

/** The pages of all rooms, by their names in the address. */
export async function pageIds({ page, show }: Opened): Promise<readonly string[]> {
  const linked = async (within: string): Promise<readonly string[]> =>
    page.locator(`${within} a[href^='#/']`).evaluateAll((all) => all.map((each) => each.getAttribute("href") ?? ""));
  const found = new Set<string>();
  for (const room of await linked("nav[aria-label=Rooms]")) {
    const id = room.slice("#/".length);
    await show(id);
    for (const href of [room, ...(await linked("nav.tabs"))]) found.add(href.slice("#/".length));
  }
  assert.ok(found.size > 6, "the navigation is empty");
  return [...found];
}

/** Waits until nothing of the page is being read. */
export async function settled(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector("main .loading") === null);
}

/** Runs `work` with a dashboard of its own, and fails when the page did what no page may do. */
export async function withDashboard(
  scene: Scene,
  work: (opened: Opened) => Promise<void>,
  options?: PageOptions,
): Promise<void> {
  const opened = await openDashboard(scene, options);
  try {
    await work(opened);
    assertHarmless(opened);
  } catch (error) {
    await keepPicture(opened.page);
    throw error;
  } finally {
    await opened.context.close();
  }
}

/** What a page looked like when its check failed: `coverage/browser-*.png`. */
export async function keepPicture(page: Page): Promise<void> {
  const path = fileURLToPath(new URL(`../coverage/browser-${Date.now()}.png`, import.meta.url));
  await page.screenshot({ path, fullPage: true }).then(
    () => say(`see ${path}`),
    () => undefined, // the page is gone
  );
}

/** Fails when a foreign text ran, the policy refused something, or a request left the origin. */
export function assertHarmless({ executed, violations, foreign, errors }: Watched): void {
  assert.deepEqual(executed, [], "scripts of foreign texts ran");
  assert.deepEqual(violations, [], "the policy had to refuse something");
  assert.deepEqual(foreign, [], "requests left the origin");
  assert.deepEqual(errors, [], "the page threw");
}
