import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { assertAccessible } from "./accessibility.ts";
import { withDashboard } from "./dashboard.ts";
import { hostileModel } from "./hostile.ts";
import { slowModel, thinkingModel } from "./models.ts";
import { type Check, type World, otherModel, readConfig, realModel } from "./world.ts";

interface Picks {
  readonly preferences: readonly { readonly model: string; readonly task: string }[];
}

/** The structured answer of a tool. */
async function ask<Data>(world: World, name: string, input: Record<string, unknown>): Promise<Data> {
  const client = await world.connect("judge");
  try {
    return (await client.callTool({ name, arguments: input })).structuredContent as Data;
  } finally {
    await client.close();
  }
}

const compare: Check = [
  "compare: answers of real models grow side by side; the winner's button is obeyed",
  ({ world, browser }) =>
    withDashboard({ world, browser }, async ({ page, show }) => {
      await show("compare");
      await page.getByLabel("Prompt", { exact: true }).fill("Write a long story about the rain on a tin roof.");
      for (const model of [realModel, otherModel]) await page.getByLabel(model, { exact: true }).check();
      await page.getByText("System prompt, files, check, judge, length").click();
      await page.getByLabel("Maximum tokens of each answer").fill("250");
      await page.getByRole("button", { name: "Compare", exact: true }).click();
      const column = page.getByRole("region", { name: realModel, exact: true });
      await column.waitFor();
      const lengths = new Set<number>();
      const pick = page.getByRole("button", { name: `Pick as winner: ${realModel}` });
      while (!(await pick.isVisible())) {
        const text = await column
          .getByLabel(`Answer of ${realModel}`)
          .textContent({ timeout: 100 })
          .catch(() => "");
        if (text !== null && text !== "") lengths.add(text.length);
      }
      assert.ok(lengths.size > 2, `the answer was not seen to grow: ${[...lengths].join()}`);
      await pick.click();
      await page.getByText(`Routing now prefers ${realModel}`).waitFor();
      await column.getByText("winner", { exact: true }).waitFor();
      const { preferences } = await ask<Picks>(world, "pick_winner", { action: "list" });
      assert.equal(preferences[0]?.model, realModel);
      await assertAccessible(page, "a comparison");
      await page.getByRole("button", { name: `Undo the pick: ${realModel}` }).click();
      await pick.waitFor();
      assert.deepEqual((await ask<Picks>(world, "pick_winner", { action: "list" })).preferences, []);
    }),
];

const chat: Check = [
  "chat: turns with one model, and several side by side; stopped, failed and hostile answers; nothing is stored",
  ({ world, browser }) =>
    withDashboard({ world, browser }, async ({ page, show }) => {
      await show("compare");
      const prompt = page.getByLabel("Prompt", { exact: true });
      const choose = (model: string) => page.getByRole("checkbox", { name: model, exact: true });
      const turn = (count: number) => page.getByRole("listitem", { name: `Question ${count}`, exact: true });
      const send = async (text: string): Promise<void> => {
        await prompt.fill(text);
        await page.keyboard.press("Control+Enter");
      };
      await page.getByText("System prompt, files, check, judge, length").click();
      await page.getByLabel("Maximum tokens of each answer").fill("200");
      await choose(realModel).check();
      await send("Write a long story about the rain.");
      const answer = turn(1).getByLabel(`Answer of ${realModel}`);
      const lengths = new Set<number>();
      while (!(await turn(1).getByText("tokens/s").isVisible())) {
        const text = await answer.textContent({ timeout: 100 }).catch(() => "");
        if (text !== null && text !== "") lengths.add(text.length);
      }
      assert.ok(lengths.size > 2, `the answer was not seen to grow: ${[...lengths].join()}`);
      await turn(1).getByText("Chosen: ").waitFor();
      assert.equal(await prompt.inputValue(), "");
      await choose(otherModel).check();
      await send("And now about the sun.");
      for (const model of [realModel, otherModel]) {
        await turn(2).getByRole("region", { name: model }).getByText("tokens/s").waitFor();
      }
      await assertAccessible(page, "a chat");
      for (const model of [realModel, otherModel]) await choose(model).uncheck();
      await choose(slowModel.name).check();
      await send("Take your time.");
      await page.getByRole("button", { name: "Stop", exact: true }).click();
      await turn(3).getByText("stopped", { exact: true }).waitFor();
      await choose(slowModel.name).uncheck();
      await choose(hostileModel).check();
      await send("Attack.");
      await turn(4).getByText("onerror=").first().waitFor();
      await turn(4).getByText("link (javascript:").waitFor();
      assert.equal(await turn(4).locator("img, iframe, script, a, [onload]").count(), 0);
      await page.getByLabel("Files", { exact: true }).fill("/nowhere/absent.txt");
      await send("What does it say?");
      await turn(5).getByRole("alert").waitFor();
      await page.getByLabel("Files", { exact: true }).fill("");
      await choose(hostileModel).uncheck();
      await choose(thinkingModel.name).check();
      await send("Which colour?");
      await turn(6).getByText(thinkingModel.reply).waitFor();
      assert.equal(await turn(6).getByText(thinkingModel.thinking).isVisible(), false);
      await turn(6).getByText("Thinking", { exact: true }).click();
      await turn(6).getByText(thinkingModel.thinking).waitFor();
      const stored = await page.evaluate(() =>
        [localStorage, sessionStorage].map((each) => Object.values(each)).join(),
      );
      assert.doesNotMatch(stored, /rain|sun|Attack/);
      await page.getByRole("button", { name: "New chat" }).click();
      await turn(1).waitFor({ state: "detached" });
    }),
];

const settings: Check = [
  "settings: an edit is in config.yaml, a wrong value is refused at its field",
  ({ world, browser }) =>
    withDashboard({ world, browser }, async ({ page, show }) => {
      await show("settings");
      const path = "recall.injectTokens";
      await page.getByLabel("Search settings").fill(path);
      await page.getByRole("button", { name: `Edit ${path}`, exact: true }).click();
      const field = page.getByLabel(`New value of ${path}`);
      await field.fill("-5");
      await page.getByRole("button", { name: "Save", exact: true }).click();
      await page.locator("[aria-invalid=true]").waitFor();
      assert.doesNotMatch(await readConfig(world), /injectTokens/);
      await field.fill("321");
      await page.getByRole("button", { name: "Save", exact: true }).click();
      await page.getByText(`${path} is now 321`).waitFor();
      assert.match(await readConfig(world), /injectTokens"?: 321/);
      assert.match(await world.ollm("config", "show", path), /321/);
      await page.getByRole("button", { name: `Reset ${path} to its default` }).click();
      await page.getByText("has its default again").waitFor();
      assert.doesNotMatch(await readConfig(world), /injectTokens/);
    }),
];

interface Recalled {
  readonly entries: readonly { readonly key: string; readonly value: string }[];
}

const memory: Check = [
  "memory: remember, edit and forget",
  ({ world, browser }) =>
    withDashboard({ world, browser }, async ({ page, show }) => {
      const key = "browser.editor";
      const recalled = async () => (await ask<Recalled>(world, "recall", { query: "editor" })).entries;
      await show("memory");
      await page.getByRole("button", { name: "New entry" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Key", { exact: true }).fill(key);
      await dialog.getByLabel("Value", { exact: true }).fill("The user's editor is Helix.");
      await dialog.getByRole("button", { name: "Save" }).click();
      await page.getByText(`${key} was saved.`).waitFor();
      assert.match((await recalled()).find((entry) => entry.key === key)?.value ?? "", /Helix/);
      await page.getByRole("button", { name: `Edit ${key}`, exact: true }).click();
      await page.getByLabel("Value", { exact: true }).fill("The user's editor is Vim.");
      await page.getByRole("button", { name: "Save", exact: true }).click();
      await page.getByText("The user's editor is Vim.").waitFor();
      assert.match((await recalled()).find((entry) => entry.key === key)?.value ?? "", /Vim/);
      await page.getByRole("button", { name: `Delete ${key}`, exact: true }).click();
      await dialog.getByRole("button", { name: "Delete", exact: true }).click();
      await page.getByText(`${key} was deleted.`).waitFor();
      assert.equal(
        (await recalled()).find((entry) => entry.key === key),
        undefined,
      );
    }),
];

const templates: Check = [
  "templates: a template is made, filled in and deleted",
  ({ world, browser }) =>
    withDashboard({ world, browser }, async ({ page, show }) => {
      await show("templates");
      await page.getByRole("button", { name: "New template" }).click();
      const dialog = page.getByRole("dialog");
      const fill = (label: string, text: string) => dialog.getByLabel(label, { exact: true }).fill(text);
      await fill("Name", "no/name");
      await fill("Description", "Greets a person by name.");
      await fill("Text", "Greet {person} politely.");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.locator("[aria-invalid=true]").waitFor();
      await fill("Name", "browser-greeting");
      await dialog.getByRole("button", { name: "Save" }).click();
      await page.getByText("browser-greeting was saved").waitFor();
      const file = join(world.home, "templates", "browser-greeting.yaml");
      assert.match(await readFile(file, "utf8"), /politely/);
      await page.getByRole("button", { name: "Open browser-greeting" }).click();
      await assertAccessible(page, "a template");
      await dialog.getByLabel("person", { exact: true }).fill("Ada");
      await dialog.getByRole("button", { name: "Fill in" }).click();
      const prompt = page.getByLabel("Prompt", { exact: true });
      await prompt.waitFor();
      assert.equal(await prompt.inputValue(), "Greet Ada politely.");
      await show("templates");
      await page.getByRole("button", { name: "Open browser-greeting" }).click();
      await dialog.getByRole("button", { name: "Delete", exact: true }).click();
      await page
        .getByRole("dialog")
        .filter({ hasText: "is deleted" })
        .getByRole("button", { name: "Delete", exact: true })
        .click();
      await page.getByText("browser-greeting was deleted").waitFor();
      await assert.rejects(readFile(file));
    }),
];

export const pageChecks: readonly Check[] = [compare, chat, settings, memory, templates];
