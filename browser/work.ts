import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { assertAccessible } from "./accessibility.ts";
import { withDashboard } from "./dashboard.ts";
import { slowModel } from "./models.ts";
import { type Check, type World, readConfig, realModel, unloadAll } from "./world.ts";

const press = (page: Page, name: string | RegExp) =>
  page
    .getByRole("button", { name, exact: typeof name === "string" })
    .first()
    .click();

/** Answers the question of the page. */
async function agree(page: Page, question: string, action: string): Promise<void> {
  const dialog = page.getByRole("dialog", { name: question });
  await dialog.getByRole("button", { name: action, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

const templates: Check = [
  "templates: an error selects its line; a copy of a built-in template is used in its place until it is deleted",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      await show("templates");
      await press(page, "New template");
      const editor = page.getByRole("dialog", { name: "New template" });
      await editor.getByLabel("Name", { exact: true }).fill("haiku");
      const text = editor.getByLabel("Text", { exact: true });
      await text.fill("A poem.\nAbout {{topic}}.");
      await editor.getByRole("button", { name: "Save", exact: true }).click();
      await editor.getByText(/\{\{topic\}\} in line 2/).waitFor();
      assert.equal(await text.evaluate((area: HTMLTextAreaElement) => area.selectionStart), "A poem.\n".length);
      await page.keyboard.press("Escape");
      await editor.waitFor({ state: "detached" });
      await press(page, "Open translate");
      const opened = page.getByRole("dialog", { name: "translate" });
      await opened.getByRole("button", { name: "Edit a copy" }).click();
      await editor.getByRole("button", { name: "Save", exact: true }).click();
      const hiding = page.getByRole("row").filter({ hasText: "in place of the built-in one" });
      await hiding.waitFor();
      await press(page, "Open translate");
      await opened.getByRole("button", { name: "Delete", exact: true }).click();
      await agree(page, "Delete this template?", "Delete");
      await hiding.waitFor({ state: "detached" });
    }),
];

const settings: Check = [
  "settings: a guarded one asks; one that a variable sets can't be edited",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await show("settings");
      const search = page.getByRole("searchbox", { name: "Search settings" });
      await search.fill("privacy");
      await press(page, "Edit privacy");
      await page.getByLabel("New value of privacy").selectOption("allow_remote");
      await press(page, "Save");
      await agree(page, "Change this setting?", "Cancel");
      assert.doesNotMatch(await readConfig(world), /allow_remote/);
      await press(page, "Save");
      await agree(page, "Change this setting?", "Change it");
      await page.getByText(/^privacy is now allow_remote/).waitFor();
      assert.match(await readConfig(world), /allow_remote/);
      await show("models");
      await page.getByText("remote allowed", { exact: true }).waitFor();
      await world.ollm("config", "unset", "privacy");
      await page.getByText("local only", { exact: true }).waitFor();
      await page.getByText("No prompt has left this machine").waitFor();
      await show("settings");
      await search.fill("providers.ollama.host");
      await page.getByText(/Set by the variable OLLAMA_HOST/).waitFor();
      assert.equal(await page.getByRole("button", { name: "Edit providers.ollama.host", exact: true }).count(), 0);
    }),
];

const pipelines: Check = [
  "pipelines: a run says first what it takes, an input that is missing is said, and a yes begins it",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      const yaml = [
        "description: Greets.",
        "inputs: { person: { description: Whom. } }",
        `steps: [{ name: greet, model: "${realModel}", prompt: "Greet {{ inputs.person }}.", max_tokens: 8 }]`,
      ];
      await mkdir(join(world.home, "pipelines"), { recursive: true });
      await writeFile(join(world.home, "pipelines", "greet.yaml"), yaml.join("\n"));
      await show("pipelines");
      await press(page, "Open greet");
      const dialog = page.getByRole("dialog", { name: "greet", exact: true });
      await dialog.getByRole("button", { name: "Run", exact: true }).click();
      await page
        .getByText(/person/)
        .first()
        .waitFor();
      await dialog.getByLabel("person").fill("Ada");
      await dialog.getByRole("button", { name: "Run", exact: true }).click();
      const asked = page.getByRole("dialog", { name: "Run greet?" });
      await asked.getByText(new RegExp(`greet: ${realModel}.*1 prompt`)).waitFor();
      await asked.getByRole("button", { name: "Run", exact: true }).click();
      await page.getByRole("row").filter({ hasText: "greet" }).filter({ hasText: "succeeded" }).waitFor();
      await rm(join(world.home, "pipelines"), { recursive: true });
    }),
];

const jobs: Check = [
  "jobs: a job shows its text while it runs, and cancel ends it",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await show("jobs");
      await page.getByText("There are no jobs.").waitFor();
      await world.ollm("config", "set", "jobs.patience", "1");
      const client = await world.connect("assistant");
      try {
        const call = { model: slowModel.name, prompt: "Go on.", use_memory: false };
        const { structuredContent } = await client.callTool({ name: "route_and_generate", arguments: call });
        const { job } = structuredContent as { readonly job?: string };
        assert.ok(job !== undefined, "the call became no job");
        await page.getByRole("row").filter({ hasText: "running" }).waitFor();
        await press(page, /^Open /);
        const dialog = page.getByRole("dialog", { name: "Job" });
        await dialog.getByRole("region", { name: "Text so far" }).getByText("word word").waitFor();
        await dialog.getByRole("button", { name: /^Cancel/ }).click();
        await agree(page, "Cancel this job?", "Cancel the job");
        await dialog.getByText("cancelled").first().waitFor();
      } finally {
        await client.close();
        await world.ollm("config", "unset", "jobs.patience");
      }
    }),
];

const evals: Check = [
  "evals: figures of real models are those of the shell; the better model is preferred, and the eval deleted",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      const better = slowModel.name;
      await show("evals");
      await page.getByText("No eval yet.").waitFor();
      const file = join(world.home, "..", "promptfooconfig.json");
      const tests = Array.from({ length: 8 }, (_each, at) => ({
        vars: { number: at + 10 },
        assert: [{ type: "regex", value: "word word" }],
      }));
      await writeFile(file, JSON.stringify({ prompts: ["Write a sentence about the number {{number}}."], tests }));
      await world.ollm("eval", file, "--models", realModel, better, "--max-tokens", "10");
      const [{ id } = { id: "" }] = (await world.ollmJson<{ evals: { id: string }[] }>("eval")).evals;
      const table = page.getByRole("table", { name: "How often each model was right" });
      const { rows, verdicts } = await world.ollmJson<ShownEval>("eval", "show", id);
      for (const { model, right, scored } of rows) {
        const row = table.getByRole("row").filter({ hasText: model });
        await row.getByText(`${right} of ${scored}`).first().waitFor();
      }
      const profile = verdicts.find(({ winner }) => winner === better)?.profile;
      assert.ok(profile !== undefined, JSON.stringify(verdicts));
      await page.getByText(/^Not right: \d/).click();
      await page.getByText("does not match").first().waitFor();
      await assertAccessible(page, "an eval");
      await press(page, `Prefer ${better} in the profile ${profile}`);
      await agree(page, `Prefer ${better}?`, "Change it");
      await page.getByText("Settings can undo it").waitFor();
      const chosen = await world.ollmJson<{ models?: readonly string[] }>("profiles", "show", profile);
      assert.equal(chosen.models?.[0], better);
      await world.ollm("config", "unset", `profiles.${profile}.models`);
      await press(page, "Delete promptfooconfig.json");
      await agree(page, "Delete this eval?", "Delete");
      await page.getByText("No eval yet.").waitFor();
    }),
];

interface ShownEval {
  readonly rows: readonly { readonly model: string; readonly right: number; readonly scored: number }[];
  readonly verdicts: readonly { readonly profile?: string; readonly winner?: string }[];
}

const routing: Check = [
  "routing: decisions say why, and each task names the model that would answer; what was learned is forgotten on request",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await unloadAll(world);
      await show("decisions");
      const client = await world.connect("assistant");
      const call = { model: realModel, prompt: "Hello", max_tokens: 3 };
      await client.callTool({ name: "route_and_generate", arguments: call });
      const rated = { action: "good", model: realModel, task: "creative" };
      await client.callTool({ name: "pick_winner", arguments: rated });
      await client.close();
      const row = page.getByRole("row").filter({ hasText: realModel }).filter({ hasText: "loaded" }).first();
      await row.getByText(/^needs .+ free/).click();
      await row.getByText(/^needed .+ predicted/).waitFor();
      await page.getByLabel("Kind of decision").selectOption("load");
      await page.getByRole("searchbox").fill("no such model");
      await page.getByText("No decision matches the filter.").waitFor();
      await show("profiles");
      const task = page.getByRole("row").filter({ hasText: "code review" });
      await task
        .getByText(/:(135m|latest)$/)
        .first()
        .waitFor();
      await press(page, "Ranking for code review");
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("heading", { name: "Ranking" }).waitFor();
      await dialog.getByText(realModel).first().waitFor();
      await page.keyboard.press("Escape");
      await page.getByText("Learned preferences").click();
      await press(page, /^Reset everything learned/);
      await agree(page, "Forget what was learned?", "Forget it");
      await page.getByText("Nothing was learned yet.").waitFor();
    }),
];

/** Asks a model through MCP; rejects nothing, as a failure is a line of the list, too. */
async function askAs(world: World, name: string, input: Record<string, unknown>): Promise<void> {
  const client = await world.connect(name);
  try {
    await client.callTool({ name: "route_and_generate", arguments: { use_memory: false, max_tokens: 8, ...input } });
  } finally {
    await client.close();
  }
}

const activity: Check = [
  "activity: each request is a line, live; filters stand in the address; a line opens by keyboard; charts are drawn in each theme",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      const secret = "s3cr3t-m4rk3r";
      const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
      const lines = (client: string) => rows.filter({ hasText: client });
      await askAs(world, "first-client", { model: realModel, prompt: `Say ${secret}` });
      await show("activity");
      await lines("first-client").first().waitFor();
      // While the page is open.
      await askAs(world, "second-client", { model: realModel, prompt: "Hello" });
      await lines("second-client").first().waitFor();
      await askAs(world, "second-client", { model: "no-such-model:1b", prompt: "Hello" });
      await rows.filter({ hasText: "failed: unknown model" }).first().waitFor();

      await page.getByLabel("Filter by outcome").selectOption("answered");
      await page.getByLabel("Filter by model").selectOption(realModel);
      await page.getByText("Hour", { exact: true }).first().click();
      await page.waitForFunction(() => /outcome=answered/.test(location.hash) && /range=hour/.test(location.hash));
      await rows.filter({ hasText: "failed" }).first().waitFor({ state: "detached" });
      await page.reload();
      await lines("first-client").first().waitFor();
      assert.equal(await page.getByLabel("Filter by model").inputValue(), realModel);
      assert.equal(await rows.filter({ hasText: "failed" }).count(), 0);

      await page.keyboard.press("j");
      await page.keyboard.press("j");
      await page.keyboard.press("k");
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog", { name: "Request of second-client" });
      for (const fact of ["Why this model", "Attempts", "Tokens read", "In all"])
        await dialog.getByText(fact, { exact: true }).waitFor();
      await assertAccessible(page, "a request");
      await page.keyboard.press("Escape");
      await page.goBack();
      await page.waitForFunction(() => !location.hash.includes("range=hour"));
      assert.equal((await page.content()).includes(secret), false, "a text of a request is in the list");

      for (const theme of ["light", "dark", "system"]) {
        await show("browser");
        await page.getByText(theme, { exact: true }).click();
        await show("activity");
        // Memory, tokens, requests.
        for (const at of [0, 1, 2]) await page.locator("main figure canvas").nth(at).waitFor();
        assert.equal(await page.getByText("can't draw").count(), 0);
      }
    }),
];

const longList: Check = [
  "long lists: the page holds the rows near what is seen; keys reach every row, and a newer one moves no focus away",
  (scene) =>
    withDashboard(scene, async ({ page }) => {
      const client = await scene.world.connect("long-list");
      const fail = () =>
        client.callTool({ name: "route_and_generate", arguments: { model: "no-such-model:1b", prompt: "Hello" } });
      const count = 130;
      for (let at = 0; at < count; at += 1) await fail();
      await page.evaluate(() => (location.hash = "#/activity?client=long-list"));
      await page.locator(`table[aria-label="Requests"][aria-rowcount="${1 + count}"]`).waitFor();
      const rows = page.getByRole("table", { name: "Requests" }).locator("tbody th");
      const focused = (index: number) =>
        page.waitForFunction(
          (wanted) => document.activeElement?.closest("tr")?.getAttribute("aria-rowindex") === String(wanted),
          index,
        );
      assert.ok((await rows.count()) < count, "all rows are in the page");
      await assertAccessible(page, "a long list");
      for (let at = 0; at < 20; at += 1) await page.keyboard.press("j");
      await focused(21);
      // Into the next block.
      await fail();
      await focused(22);
      await client.close();
      // The last that was read; then older ones are read.
      const last = page.locator(`tr[aria-rowindex="${count + 2}"] button:focus`);
      for (let at = 0; at < 50 && (await last.count()) === 0; at += 1) {
        await page.keyboard.press("End");
        await page.waitForTimeout(200);
      }
      assert.equal(await last.count(), 1, "End does not reach the last row");
      assert.ok((await rows.count()) < count, "rows that were left are still in the page");
      await page.keyboard.press("Home");
      await focused(2);
    }),
];

const palette: Check = [
  "palette: a few letters open a setting, and load a model; a chart is saved as CSV and PNG",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      await unloadAll(scene.world);
      const field = page.getByRole("searchbox", { name: "A page, a model, a setting" });
      await page.keyboard.press("Control+k");
      await field.fill("setting injectTok");
      await page.getByRole("button", { name: "Setting recall.injectTokens" }).waitFor();
      await assertAccessible(page, "the palette");
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: "Edit recall.injectTokens", exact: true }).waitFor();
      assert.equal(await page.getByLabel("Search settings").inputValue(), "recall.injectTokens");
      await page.keyboard.press("Escape");
      await page.keyboard.press("Control+k");
      await field.fill(`load ${realModel}`);
      await page.getByRole("button", { name: `Load ${realModel}` }).waitFor();
      await page.keyboard.press("Enter");
      await page.getByText(`Loaded ${realModel}`).waitFor({ timeout: 60_000 });
      await show("activity");
      for (const [kind, start] of [
        ["CSV", "time,Other programs,Models,Free\r\n20"],
        ["PNG", "\u0089PNG"],
      ] as const) {
        const saved = page.waitForEvent("download");
        await press(page, `${kind} Memory`);
        const content = await readFile(await (await saved).path(), "latin1");
        assert.ok(content.startsWith(start), `${kind}: ${content.slice(0, 80)}`);
      }
    }),
];

const notifications: Check = [
  "notifications: a hidden page tells of a new warning, if it was asked to",
  (scene) =>
    withDashboard(scene, async ({ page, context, show }) => {
      const { world } = scene;
      await context.grantPermissions(["notifications"]);
      // As text: the compiler would add calls of its own helpers.
      await page.evaluate(`(() => {
        window.told = [];
        window.Notification = class extends EventTarget {
          static requestPermission = async () => "granted";
          constructor(_title, { body }) {
            super();
            told.push(body);
          }
        };
      })()`);
      const told = () => page.evaluate(() => (window as unknown as { told: string[] }).told);
      await show("browser");
      await page.getByLabel(/^Notifications of warnings/).check();
      await page.evaluate(() => Object.defineProperty(document, "hidden", { value: true }));
      const file = join(world.home, "config.yaml");
      const before = await readConfig(world);
      await writeFile(file, "privacy: [");
      while ((await told()).length === 0) await page.waitForTimeout(100);
      assert.match((await told()).join(), /config\.yaml/);
      await writeFile(file, before);
    }),
];

export const workChecks: readonly Check[] = [
  templates,
  settings,
  jobs,
  pipelines,
  palette,
  notifications,
  evals,
  routing,
  activity,
  longList,
];
