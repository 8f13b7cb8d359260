import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { assertAccessible } from "./accessibility.ts";
import { watchedPage } from "./chromium.ts";
import { type Opened, pageIds, withDashboard } from "./dashboard.ts";
import { hostileText, hostileModel, payloads } from "./hostile.ts";
import { type Check, openWorld, realModel, unloadAll } from "./world.ts";

async function onEachPage(opened: Opened, work: (id: string) => Promise<void>): Promise<void> {
  for (const id of await pageIds(opened)) {
    await opened.show(id);
    await work(id);
  }
}

/** Nothing is cut off to the right. */
async function assertNarrow(page: Page, what: string): Promise<void> {
  const { shown, needed, widest } = await page.evaluate(() => ({
    shown: document.documentElement.clientWidth,
    needed: document.documentElement.scrollWidth,
    // What reaches furthest, of what is not scrolled or cut within something else.
    widest: [...document.querySelectorAll("main *")]
      .map((each) => ({ right: each.getBoundingClientRect().right, text: each.outerHTML.slice(0, 200) }))
      .filter(({ right }) => Math.round(right) === document.documentElement.scrollWidth)
      .map(({ text }) => text),
  }));
  assert.ok(needed <= shown, `${what}: ${needed} px of ${shown}: ${widest.join("\n")}`);
}

/** How pages are seen; nothing of any may be cut off to the right. */
const looks = {
  light: {},
  dark: { theme: "dark" },
  "forced colours": { forcedColours: true },
  "360 px": { width: 360, height: 740 },
  "600 px, as 1,200 at 200 %": { width: 600, height: 450 },
  "2,560 px": { width: 2_560, height: 1_440 },
  "right to left": { isRightToLeft: true },
} as const;

const seen = Object.entries(looks).map(([look, options]): Check => [
  `access: axe finds nothing serious on any page, and all fits its width: ${look}`,
  (scene) =>
    withDashboard(
      scene,
      async (opened) => {
        await onEachPage(opened, async (id) => {
          await assertNarrow(opened.page, id);
          await assertAccessible(opened.page, `${id}, ${look}`);
        });
      },
      options,
    ),
]);

const firstSteps: Check = [
  "access: without models the overview and the models' page offer the one that fits, on a phone, too",
  async ({ browser }) => {
    const world = await openWorld({ weights: {} });
    try {
      const work = async ({ page, show }: Opened) => {
        for (const id of ["overview", "models"]) {
          await show(id);
          await page.getByText(/fits this machine$/).waitFor();
          await page.getByRole("button", { name: /^Pull \S+$/ }).waitFor();
          await assertNarrow(page, id);
          await assertAccessible(page, `${id} without models`);
        }
      };
      await withDashboard({ world, browser }, work, { width: 360, height: 740 });
    } finally {
      await world.close();
    }
  },
];

const keyboard: Check = [
  "access: the keyboard alone reaches every page and loads a model",
  (scene) =>
    withDashboard(scene, async ({ page }) => {
      await unloadAll(scene.world);
      const { keyboard: keys } = page;
      const focused = () =>
        page.evaluate(() => {
          const { activeElement: at } = document;
          return at?.getAttribute("aria-label") ?? at?.textContent?.trim() ?? "";
        });
      const tabTo = async (wanted: string): Promise<void> => {
        for (let presses = 0; presses < 120; presses += 1) {
          if ((await focused()).startsWith(wanted)) return;
          await keys.press("Tab");
        }
        assert.fail(`Tab does not reach "${wanted}"`);
      };
      await tabTo("Skip to the page");
      await keys.press("Enter");
      assert.equal(await page.evaluate(() => document.activeElement?.id), "page");
      await keys.press("g");
      await keys.press("m");
      await page.getByRole("heading", { name: "Models", exact: true }).waitFor();
      await page.getByRole("row", { name: realModel }).first().waitFor();
      await keys.press("/");
      await keys.type(realModel);
      await tabTo(`Load ${realModel}`);
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement ?? document.body).outlineStyle);
      assert.notEqual(outline, "none", "the focus is not seen");
      await keys.press("Enter");
      await page.getByText(`Loaded ${realModel}`).waitFor({ timeout: 60_000 });
      await page.getByRole("button", { name: `Unload ${realModel}` }).waitFor();
      await tabTo(`Unload ${realModel}`);
      await keys.press("Enter");
      await page.getByText(`Unloaded ${realModel}`).waitFor();
      await keys.press("?");
      const dialog = page.getByRole("dialog");
      await dialog.getByText("Keyboard shortcuts").waitFor();
      await assertAccessible(page, "dialog");
      await keys.press("Escape");
      await dialog.waitFor({ state: "detached" });
    }),
];

const trapped: Check = [
  "hostile: the traps work: each payload runs where it is taken for markup",
  async ({ browser }) => {
    const context = await browser.newContext();
    try {
      for (const payload of payloads.slice(0, 3)) {
        const { page, executed } = await watchedPage(context, "about:");
        await page.goto("about:blank");
        await page.setContent(`<title>unsafe</title>${payload}`);
        await expectSoon(() => executed.length > 0, payload);
      }
    } finally {
      await context.close();
    }
  },
];

async function expectSoon(holds: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    assert.ok(waited < 5_000, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const hostile: Check = [
  "hostile: markup in names, prompts, answers, templates, memories and files runs nowhere",
  async (scene) => {
    const client = await scene.world.connect(payloads[0]);
    const call = (name: string, input: Record<string, unknown>) =>
      client.callTool({ name, arguments: input }, { timeout: 60_000 });
    try {
      await call("route_and_generate", { model: hostileModel, prompt: hostileText });
      await call("compare", { models: [hostileModel, "echo:latest"], prompt: hostileText });
      await call("remember", { key: payloads[1], value: hostileText, tags: [payloads[0]], force: true });
      await call("create_template", {
        name: "hostile",
        template: hostileText.replaceAll(/[{}]/g, "$&$&"),
        description: payloads[0],
      });
      await call("smart_load", { model: payloads[2] });
      await call("manage_model", { action: "pin", model: hostileModel });
    } finally {
      await client.close();
    }
    for (const theme of ["light", "dark"] as const) {
      await withDashboard(
        scene,
        async (opened) => {
          const { page } = opened;
          await page.getByText("onerror=").filter({ visible: true }).first().waitFor();
          await onEachPage(opened, async (id) => {
            // What opens is opened: details and views, and the first of the buttons that show more.
            for (const summary of await page.locator("main summary").all()) await summary.click();
            for (const view of await page.locator(".segmented label").all()) await view.click();
            assert.equal(
              await page.locator("main :is(img, iframe, script)").count(),
              0,
              `${id}: markup became elements`,
            );
          });
          await opened.show("templates");
          await page.getByRole("button", { name: "Open hostile", exact: true }).click();
          await page.getByRole("dialog").getByText("onerror=").first().waitFor();
          await page.keyboard.press("Escape");
          await opened.show("compare");
          await page
            .getByRole("button", { name: /^Open the comparison: <img/ })
            .first()
            .click();
          await page.getByLabel(/^Answer of <img/).waitFor();
          await opened.show("models");
          await page.getByRole("button", { name: `Delete ${hostileModel}`, exact: true }).click();
          await page.getByRole("dialog").getByText("onerror=").first().waitFor();
          await page.keyboard.press("Escape");
        },
        { theme },
      );
    }
    const judge = await scene.world.connect("judge");
    await judge.callTool({ name: "manage_model", arguments: { action: "unpin", model: hostileModel } });
    await judge.close();
  },
];

export const accessChecks: readonly Check[] = [keyboard, ...seen, firstSteps, trapped, hostile];
