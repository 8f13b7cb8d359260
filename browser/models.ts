import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { writeTinyGguf } from "../test/support/tiny-gguf.ts";
import { withDashboard } from "./dashboard.ts";
import { type Check, type World, otherModel, realModel, unloadAll } from "./world.ts";

/** Answers for a minute, a word at a time. */
export const slowModel = { name: "slow:latest", reply: "word ".repeat(1_200) } as const;

/** Writes what it thinks before its answer. */
export const thinkingModel = {
  name: "thinking:latest",
  capabilities: ["completion", "thinking"],
  thinking: "Red is warm and blue is calm.",
  reply: "Blue, because it is calm.",
} as const;

const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).first().click();

interface Listed {
  readonly models: readonly { readonly name: string; readonly is_loaded: boolean; readonly is_pinned?: boolean }[];
}

async function stateOf(world: World, model: string): Promise<Listed["models"][number] | undefined> {
  const { models } = await world.ollmJson<Listed>("list");
  return models.find(({ name }) => name === model);
}

const buttons: Check = [
  "models: load, pin, unpin and unload do what they say, on real weights",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await unloadAll(world);
      await show("models");
      await press(page, `Load ${realModel}`);
      await page.getByText(`Loaded ${realModel}`).waitFor({ timeout: 60_000 });
      assert.equal((await stateOf(world, realModel))?.is_loaded, true);
      await press(page, `Pin ${realModel}`);
      await page.getByText(`${realModel} is pinned`).waitFor();
      assert.equal((await stateOf(world, realModel))?.is_pinned, true);
      await show("overview");
      await page.getByRole("list", { name: "Models in memory" }).getByText(realModel).waitFor();
      await press(page, `Unpin ${realModel}`);
      await page.getByText(`${realModel} is no longer pinned`).waitFor();
      assert.notEqual((await stateOf(world, realModel))?.is_pinned, true);
      await press(page, `Unload ${realModel}`);
      await page.getByText(`Unloaded ${realModel}`).waitFor();
      assert.equal((await stateOf(world, realModel))?.is_loaded, false);
      await page.getByText("No model is loaded.").waitFor();
    }),
];

const running: Check = [
  "overview: a real answer is seen while it is generated; cancel ends one",
  (scene) =>
    withDashboard(scene, async ({ page }) => {
      const client = await scene.world.connect("assistant");
      try {
        // 500 tokens and more at this temperature, which takes seconds.
        const prompt = "Write a long story about a lighthouse and its keeper.";
        const call = (model: string, tokens: number) =>
          client.callTool(
            {
              name: "route_and_generate",
              arguments: { model, prompt, max_tokens: tokens, temperature: 0, use_memory: false },
            },
            { timeout: 100_000 },
          );
        const list = page.getByRole("listitem").filter({ hasText: "Cancel" });
        const answered = call(realModel, 400);
        const line = list.filter({ hasText: realModel });
        await line
          .getByText(/\d tokens/)
          .first()
          .waitFor({ timeout: 60_000 });
        await line.getByText("assistant").waitFor();
        assert.notEqual((await answered).isError, true);
        await line.waitFor({ state: "detached" });
        for (const model of [realModel, slowModel.name]) {
          const cancelled = call(model, 3_000);
          const begun = list.filter({ hasText: model });
          await begun
            .getByText(/\d tokens/)
            .first()
            .waitFor();
          await begun.getByRole("button", { name: /^Cancel/ }).click();
          const atMs = performance.now();
          const { isError, content } = await cancelled;
          assert.equal(isError, true);
          assert.match(JSON.stringify(content), /cancel/i);
          assert.ok(performance.now() - atMs < 5_000, `${model}: its caller waited for ${performance.now() - atMs} ms`);
          await begun.waitFor({ state: "detached" });
        }
      } finally {
        await client.close();
      }
    }),
];

const pages: Check = [
  "models: two pages see the same",
  (scene) =>
    withDashboard(scene, (first) =>
      withDashboard(scene, async (second) => {
        await unloadAll(scene.world);
        await Promise.all([first.show("overview"), second.show("models")]);
        await press(second.page, `Load ${realModel}`);
        const line = first.page.getByRole("list", { name: "Models in memory" }).getByRole("listitem");
        await line.filter({ hasText: realModel }).waitFor({ timeout: 60_000 });
        await press(first.page, `Pin ${realModel}`);
        const row = second.page.getByRole("row", { name: realModel });
        await row.getByText("pinned").waitFor();
        await second.page.getByRole("button", { name: `Unpin ${realModel}`, exact: true }).click();
        await line.getByText("pinned").waitFor({ state: "detached" });
        await press(second.page, `Unload ${realModel}`);
        await line.filter({ hasText: realModel }).waitFor({ state: "detached" });
      }),
    ),
];

const pull: Check = [
  "models: a pull shows its progress, is cancelled and resumed, the model arrives, and a wrong name is said",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { registry, ollm } = scene.world;
      const folder = await mkdtemp(join(tmpdir(), "ollm-browser-pull-"));
      try {
        const file = join(folder, "tiny.gguf");
        await writeTinyGguf(file, { says: "I was pulled." });
        registry.publish("tiny:latest", { layers: [{ type: "model", data: await readFile(file) }] });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
      // An Ollama that answers would be asked first.
      await ollm("config", "set", "providers.ollama.enabled", "false");
      const resume = registry.misbehave({ kind: "hold", on: "blob", minBytes: 10_000, afterBytes: 5_000 });
      try {
        await show("models");
        const name = page.getByLabel("Name", { exact: true });
        const start = page.getByRole("button", { name: "Pull", exact: true });
        await name.fill("tiny");
        await start.click();
        await page.getByRole("progressbar").waitFor();
        await page.getByRole("button", { name: /^Cancel .*tiny/ }).click();
        const again = page.getByRole("button", { name: "Resume tiny", exact: true });
        await again.waitFor();
        await page.getByRole("progressbar").waitFor({ state: "detached" });
        await again.click();
        await page.getByRole("progressbar").waitFor();
        resume();
        registry.release();
        await page.getByText(/is ready \(/).waitFor();
        assert.ok(
          registry.requests.some(({ range = "" }) => /^bytes=[1-9]/.test(range)),
          "the download began anew",
        );
        await page.getByRole("row").filter({ hasText: "tiny:latest" }).waitFor();
        await name.fill("absent:latest");
        await start.click();
        await page.getByRole("alert").filter({ hasText: "absent" }).waitFor();
        await page.getByRole("button", { name: /^Dismiss: absent/ }).click();
      } finally {
        resume();
        registry.release();
        await ollm("config", "unset", "providers.ollama.enabled");
      }
    }),
];

const remove: Check = [
  "models: delete asks first",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      const spare = "spare:135m";
      const client = await world.connect("browser-checks");
      const given = { model: spare, from: world.weights, engine: "llama-cpp" };
      await client.callTool({ name: "pull_model", arguments: given });
      await client.close();
      await show("models");
      await press(page, `Delete ${spare}`);
      const dialog = page.getByRole("dialog");
      await dialog.getByText(`Delete ${spare}?`).waitFor();
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await dialog.waitFor({ state: "detached" });
      assert.ok((await stateOf(world, spare)) !== undefined, "it was deleted without a yes");
      await press(page, `Delete ${spare}`);
      await dialog.getByRole("button", { name: /^Delete/ }).click();
      await page.getByText(`Deleted ${spare}`).waitFor();
      assert.equal(await stateOf(world, spare), undefined);
      await page.getByRole("row").filter({ hasText: spare }).waitFor({ state: "detached" });
      await page.getByRole("row").filter({ hasText: otherModel }).waitFor();
    }),
];

export const modelChecks: readonly Check[] = [buttons, running, pages, pull, remove];
