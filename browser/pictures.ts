/**
 * The dashboard's pictures, taken from the built daemon with the models given as NAME=FILE.gguf: `docs/images/dashboard-*.webp`.
 * What is shown was measured in this run; only the clients are made up.
 */
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { launchChromium } from "./chromium.ts";
import { type Opened, openDashboard } from "./dashboard.ts";
import { type World, openWorld, otherModel, realModel } from "./world.ts";

const limitBytes = 150_000;
const desktop = { width: 1160, height: 820 };
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
  const isGiven = Object.keys(models).length > 0;
  const world = await openWorld(isGiven ? { weights: models } : {});
  const browser = await launchChromium();
  try {
    const [first = "", second = first] = isGiven ? Object.keys(models) : [realModel, otherModel];
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
    for (const room of ["activity", "models"]) {
      await shoot({ world, browser }, `dashboard-${room}`, { theme: "light", ...desktop }, (opened) =>
        opened.show(room),
      );
    }
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
    const path = fileURLToPath(new URL(`../docs/images/${name}.webp`, import.meta.url));
    await opened.page.mouse.move(0, 0);
    const session = await opened.context.newCDPSession(opened.page);
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 82 });
    const picture = Buffer.from(data, "base64");
    if (picture.length > limitBytes) throw new Error(`${name}: ${picture.length} bytes of at most ${limitBytes}`);
    await writeFile(path, picture);
    say(`${path} ${Math.round(picture.length / 1000)} kB`);
  } finally {
    await opened.context.close();
  }
}

/** Two answers run: one is generated, the other one waits for it. */
async function whileAnswering(world: World, model: string, { page, show }: Opened): Promise<void> {
  await show("overview");
  const prompt = "Write a long story about a lighthouse keeper and the sea.";
  for (const name of ["claude-code", "cursor"]) {
    const client = await world.connect(name);
    client
      .callTool({ name: "route_and_generate", arguments: { model, prompt, max_tokens: 1_500 } })
      .catch(() => undefined);
    // Its end cancels the answer, which the next picture would wait for.
    page.once("close", () => void client.close());
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
