import chromium from "@sparticuz/chromium";
import { type Browser, type BrowserContext, type Page, chromium as playwright } from "playwright-core";

/** The packaged Chromium, or that of `OLLM_TEST_CHROMIUM`. */
export async function launchChromium(): Promise<Browser> {
  const installed = process.env["OLLM_TEST_CHROMIUM"];
  return playwright.launch({
    executablePath: installed ?? (await chromium.executablePath()),
    // Not the package's own arguments: they are for functions of a cloud, and switch web security off. Root has no sandbox.
    args: ["--no-sandbox"],
    headless: true,
  });
}

/** What must not happen in a page whatever it shows. */
export interface Watched {
  readonly page: Page;
  /** Scripts that a foreign text brought to run. */
  readonly executed: string[];
  readonly violations: string[];
  /** Requests to other origins than the page's own. */
  readonly foreign: string[];
  /** Uncaught exceptions of the page. */
  readonly errors: string[];
}

/** What hostile texts call: any of them that runs is counted. */
export const trap = "ollmWasHere";

/** A new page whose dialogs, violations of its policy, foreign requests and exceptions are noted. */
export async function watchedPage(context: BrowserContext, origin: string): Promise<Watched> {
  const page = await context.newPage();
  const watched: Watched = { page, executed: [], violations: [], foreign: [], errors: [] };
  page.on("dialog", (dialog) => {
    watched.executed.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("pageerror", (error) => watched.errors.push(error.message));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !/^(data|blob|about):/.test(url)) watched.foreign.push(url);
  });
  await page.exposeFunction(trap, (from: string) => void watched.executed.push(from));
  await page.exposeFunction("ollmViolation", (what: string) => void watched.violations.push(what));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) => {
      const { ollmViolation } = globalThis as unknown as { ollmViolation(what: string): void };
      ollmViolation(`${violatedDirective} ${blockedURI} ${sample}`);
    });
  });
  return watched;
}
