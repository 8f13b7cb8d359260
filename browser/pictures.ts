/**
 * The dashboard's pictures, taken from the built daemon with the models given as NAME=FILE.gguf: `docs/images/dashboard-*.png`.
 * What is shown was measured in this run; only the clients are made up.
 */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { launchChromium } from "./chromium.ts";
import { type Opened, openDashboard } from "./dashboard.ts";
import { type World, openWorld } from "./world.ts";

const limitBytes = 150_000;
const desktop = { width: 1120, height: 760 };
const phone = { width: 390, height: 760 };

/** Small tasks of a day, by client. */
const tasks: readonly (readonly [client: string, prompt: string])[] = [
  ["claude-code", "Write a commit message: a test for an empty list was added."],
  ["cursor", "Name three risks of a database migration."],
  ["claude-code", "Translate to French: the train leaves at noon."],
  ["claude-desktop", "Summarise: the meeting moved from Monday to Wednesday because the room was booked."],
  ["claude-code", "Is this positive or negative? I love the new colours."],
];

/** Takes all pictures; returns the exit code. */
export async function takePictures(models: Readonly<Record<string, string>>): Promise<number> {
  const world = await openWorld({ weights: models });
  const browser = await launchChromium();
  try {
    const [first = "", second = first] = Object.keys(models);
    for (const [client, prompt] of tasks) await answer(world, client, { model: first, prompt, max_tokens: 60 });
    await answer(world, "claude-desktop", { model: second, prompt: "Hello", max_tokens: 8 });
    const pinning = await world.connect("claude-desktop");
    await pinning.callTool({ name: "manage_model", arguments: { action: "pin", model: second } });
    await pinning.close();
    for (const theme of ["light", "dark"] as const) {
      await shoot({ world, browser }, `dashboard-${theme}`, { theme, ...desktop }, (opened) =>
        whileAnswering(world, first, opened),
      );
    }
    await shoot({ world, browser }, "dashboard-phone", { theme: "dark", ...phone }, (opened) =>
      whileAnswering(world, first, opened),
    );
    await shoot({ world, browser }, "dashboard-models", { theme: "light", ...desktop }, (opened) =>
      opened.show("models"),
    );
    await shoot(
      { world, browser },
      "dashboard-compare",
      { theme: "light", ...desktop, height: 900 },
      ({ page, show }) => compared(page, show, [first, second]),
    );
    return 0;
  } finally {
    await browser.close();
    await world.close();
  }
}

async function shoot(
  scene: { readonly world: World; readonly browser: Browser },
  name: string,
  options: Parameters<typeof openDashboard>[1],
  prepare: (opened: Opened) => Promise<void>,
): Promise<void> {
  const opened = await openDashboard(scene, { ...options, scale: 2 });
  try {
    await prepare(opened);
    const path = fileURLToPath(new URL(`../docs/images/${name}.png`, import.meta.url));
    await opened.page.mouse.move(0, 0);
    await opened.page.screenshot({ path, animations: "disabled" });
    const { size } = await stat(path);
    say(`${path} ${Math.round(size / 1000)} kB`);
    if (size > limitBytes) throw new Error(`${name}: ${size} bytes of at most ${limitBytes}`);
  } finally {
    await opened.context.close();
  }
}

/** Two answers run: one is generated, the other one waits for it. */
async function whileAnswering(world: World, model: string, { page, show }: Opened): Promise<void> {
  await show("overview");
  const prompt = "Write a long story about a lighthouse keeper and the sea.";
  for (const client of ["claude-code", "cursor"]) {
    answer(world, client, { model, prompt, max_tokens: 1_500 }).catch(() => undefined);
  }
  const line = page.getByRole("listitem").filter({ hasText: "Cancel" }).first();
  await line
    .getByText(/\d{2,} tokens/)
    .first()
    .waitFor({ timeout: 60_000 });
  await line
    .getByText(/tokens\/s/)
    .first()
    .waitFor({ timeout: 60_000 });
}

async function compared(page: Page, show: Opened["show"], models: readonly string[]): Promise<void> {
  await show("compare");
  await page.getByLabel("Prompt", { exact: true }).fill("Explain in two sentences why the sky is blue.");
  for (const model of models) await page.getByLabel(model, { exact: true }).check();
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByRole("button", { name: `Pick ${models[0]} as the winner` }).click({ timeout: 120_000 });
  await page.getByText("winner", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Dismiss" }).first().click();
  await page.getByText("Which answer is best?").evaluate((heading) => heading.closest("section")?.scrollIntoView());
}

async function answer(world: World, name: string, input: Record<string, unknown>): Promise<void> {
  const client = await world.connect(name);
  try {
    await client.callTool(
      { name: "route_and_generate", arguments: { use_memory: false, ...input } },
      { timeout: 200_000 },
    );
  } finally {
    await client.close();
  }
}
