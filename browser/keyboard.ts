import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { type Opened, pageIds, withDashboard } from "./dashboard.ts";
import { addInPage, controlsOf, until, walkedOf } from "./press.ts";
import { type Check, realModel } from "./world.ts";

/** Whether the focus is in a row of a list, and in which. */
const rowAt = (page: Page) =>
  page.evaluate(() => {
    const row = document.activeElement?.closest("main tbody tr");
    return row === null || row === undefined ? -1 : [...document.querySelectorAll("main tbody tr")].indexOf(row);
  });

const hasLong = (page: Page) => page.evaluate(() => document.querySelectorAll("main tbody").length > 1);

/** Tab reaches every control that is seen, in their order, and shows where it is; returns how many. */
async function walk({ page }: Opened, id: string): Promise<number> {
  await page.evaluate(() => {
    scrollTo(0, 0);
    (document.activeElement as HTMLElement | null)?.blur();
  });
  // From the start of the page, not from where the focus was.
  await page.locator("body").click({ position: { x: 1, y: 1 } });
  const seen = await controlsOf(page);
  await walkedOf(page);
  const walked: Awaited<ReturnType<typeof walkedOf>>[number][] = [];
  const reached = new Set<string>();
  // A long list has more rows than were in the page.
  for (let rounds = 0; rounds < 20 && !seen.every(({ key }) => reached.has(key)); rounds += 1) {
    for (let presses = 0; presses < seen.length + 10; presses += 1) await page.keyboard.press("Tab");
    walked.push(...(await walkedOf(page)));
    for (const { key } of walked) reached.add(key);
    if (!(await hasLong(page))) break;
  }
  // Of radio buttons the chosen one is reached; the arrows have the others.
  // What has gone meanwhile, such as a warning that ended, could not be reached.
  const left = new Set((await controlsOf(page)).map(({ key }) => key));
  const missed = seen.filter(
    ({ key, kind, isCurrent }) => left.has(key) && !reached.has(key) && (kind !== "radio" || isCurrent),
  );
  assert.deepEqual(
    missed.map(({ key }) => key),
    [],
    `${id}: Tab does not reach`,
  );
  assert.deepEqual(
    walked.filter((each) => !each.isOutlined).map(({ key }) => key),
    [],
    `${id}: the focus is not seen`,
  );
  return reached.size;
}

/** j and k go along the rows that open, Enter opens one, and Escape leads back to it. */
async function openRows({ page }: Opened, id: string): Promise<void> {
  const rows = await page.locator("main tbody tr th .button.link").count();
  // Keys typed into a field are text.
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  await page.keyboard.press("j");
  // The walk left the end of a long list; rows too far from it are made for the key.
  await until(async () => (await rowAt(page)) >= 0, `${id}: j reaches no row`);
  const first = await rowAt(page);
  if (rows > 1) {
    await page.keyboard.press("j");
    await until(async () => (await rowAt(page)) > first, `${id}: j does not go on`);
    await page.keyboard.press("k");
    await until(async () => (await rowAt(page)) === first, `${id}: k does not go back`);
  }
  await page.keyboard.press("Enter");
  if (id === "compare" || id === "evals") return;
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press("Tab");
    const isInside = await page.evaluate(() => document.activeElement?.closest("dialog, body") !== null);
    assert.ok(isInside, `${id}: the focus leaves the dialog`);
  }
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await until(async () => (await rowAt(page)) === first, `${id}: the focus does not return to its row`);
}

const walks: Check = [
  "keyboard: Tab reaches each control of each page and shows it, g and a letter each room; j, k and Enter open rows",
  (scene) =>
    withDashboard(scene, async (opened) => {
      const { page, show } = opened;
      const client = await scene.world.connect("keyboard");
      const ask = { model: realModel, prompt: "Hello", max_tokens: 4, use_memory: false };
      for (let time = 0; time < 2; time += 1) await client.callTool({ name: "route_and_generate", arguments: ask });
      await client.close();
      await addInPage(opened);
      for (const [key, title] of Object.entries({
        o: "Overview",
        a: "Activity",
        m: "Models",
        p: "Playground",
        r: "Routing",
        s: "Settings",
      })) {
        await page.keyboard.press("g");
        await page.keyboard.press(key);
        await page.getByRole("heading", { name: title, exact: true, level: 1 }).waitFor();
      }
      await show("overview");
      // Warnings come first.
      const isAtModel = async (): Promise<boolean> => {
        await page.keyboard.press("j");
        const line = await page.evaluate(() => document.activeElement?.closest("main li")?.textContent);
        return line?.includes(realModel) === true;
      };
      await until(isAtModel, "overview: j reaches no model");
      let reached = 0;
      const opens: string[] = [];
      for (const id of await pageIds(opened)) {
        await show(id);
        const closed = page.locator("main details:not([open]) > summary:visible");
        while ((await closed.count()) > 0) await closed.first().click();
        reached += await walk(opened, id);
        await show(id);
        if ((await page.locator("main tbody tr th .button.link").count()) === 0) continue;
        opens.push(id);
        await openRows(opened, id);
      }
      say(`Tab reached ${reached} controls; rows open on ${opens.join(", ")}`);
      assert.ok(opens.includes("activity") && opens.includes("templates") && opens.includes("profiles"), opens.join());
    }),
];

export const keyboardChecks: readonly Check[] = [walks];
