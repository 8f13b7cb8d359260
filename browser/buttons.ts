import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "@modelcontextprotocol/client";
import type { Page } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { type Opened, pageIds, withDashboard } from "./dashboard.ts";
import { type Rules, Presser, addInPage, until } from "./press.ts";
import { type Check, type World, daemonPid, openWorld, otherModel, readConfig, realModel } from "./world.ts";

/** More than a page of requests, and more than a glance at the memory has. */
const manyRequests = 55;
const quick = ["quick:1", "quick:2", "quick:3", "quick:4", "quick:5", "quick:6"] as const;
/** Answers for a minute; its words differ, or the answer would be stopped. */
const slow = { name: "slow:latest", reply: Array.from({ length: 1_200 }, (_each, at) => `word${at}`).join(" ") };
/** Asked before all else; the rest of the pages need models. */
const lastPages = ["models", "browser"];

type Call = <Data>(name: string, input: Record<string, unknown>) => Promise<Data>;

interface Listed {
  readonly models: readonly { readonly name: string; readonly is_loaded: boolean; readonly is_pinned?: boolean }[];
}

function callsOf(client: Client): Call {
  return async (name, input) =>
    (await client.callTool({ name, arguments: input }, { timeout: 90_000 })).structuredContent as never;
}

/** Something of each kind, so that each control is there. */
async function populate(world: World, call: Call): Promise<void> {
  const ask = (model: string, prompt: string) =>
    call("route_and_generate", { model, prompt, max_tokens: 4, use_memory: false });
  const config = await readConfig(world);
  await writeFile(join(world.home, "config.yaml"), "privacy: [");
  const cases = join(world.home, "..", "cases.json");
  const tests = Array.from({ length: 8 }, (_each, at) => ({
    vars: { number: at },
    assert: [{ type: "regex", value: "yes" }],
  }));
  await writeFile(cases, JSON.stringify({ prompts: ["Say {{number}}."], tests }));
  const steps = `[{ name: greet, model: "${realModel}", prompt: "Greet {{ inputs.person }}.", max_tokens: 4 }]`;
  await mkdir(join(world.home, "pipelines"), { recursive: true });
  const pipeline = `description: Greets.\ninputs: { person: { description: Whom. } }\nsteps: ${steps}`;
  await writeFile(join(world.home, "pipelines", "greet.yaml"), pipeline);
  for (const model of quick) await call("smart_load", { model });
  await writeFile(join(world.home, "config.yaml"), config);
  await Promise.all([
    ...Array.from({ length: manyRequests }, (_each, at) => ask(quick[at % 6] ?? "", `Hello ${at}`)),
    ask(realModel, "Hello"),
    ask("no-such-model:1b", "Hello"),
    call("pull_model", { model: "absent:latest" }),
    call("remember", { key: "user.editor", value: "The user's editor is Helix." }),
    call("create_template", { name: "greet", template: "Greet {person}.", description: "Greets." }),
    call("pick_winner", { action: "good", model: realModel, task: "creative" }),
    world.ollm("eval", cases, "--models", quick[0], quick[1], "--max-tokens", "4"),
  ]);
  await call("compare", { models: [quick[0], quick[1]], prompt: "Which is best?", max_tokens: 8 });
}

const fill = (page: Page, label: string, text: string) => page.getByLabel(label, { exact: true }).last().fill(text);

async function choose(page: Page, names: readonly string[]): Promise<void> {
  await fill(page, "Prompt", "Take your time.");
  const boxes = page.locator(".checks input:checked:visible");
  while ((await boxes.count()) > 0) await boxes.first().uncheck();
  for (const name of names) await page.getByRole("checkbox", { name, exact: true }).check();
}

/** The table beside a chart has twelve moments of the time that is shown; the timeline has its time in the address. */
async function provesTime(page: Page, span: string): Promise<void> {
  if (page.url().includes("range=")) return;
  const details = page.locator("figure.chart details").first();
  await details.evaluate((each: HTMLDetailsElement) => (each.open = true));
  await details.locator("tbody tr").nth(1).waitFor();
  const [last = "", one = ""] = await details.locator("tbody tr > :first-child").allTextContents();
  await details.evaluate((each: HTMLDetailsElement) => (each.open = false));
  const seconds = (text: string) => text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  const expected = (span === "Hour" ? 3_600 : Number.parseInt(span, 10) * 60) / 12;
  assert.equal((seconds(last) - seconds(one) + 86_400) % 86_400, expected, `${span}: ${one} to ${last}`);
}

function rulesFor(world: World, call: Call): Rules {
  const modelOf = async (name: string) =>
    (await call<Listed>("list_models", { limit: 100 })).models.find((model) => model.name === name);
  const jobs = () => call<{ readonly jobs: readonly { readonly state: string }[] }>("job", { action: "list" });
  return {
    fills: {
      "text Path": "recall.injectTokens",
      "text Value": "321",
      "New entry / text Key": "user.shell",
      "New entry / text Value": "The user's shell is fish.",
      "New template / text Name": "haiku",
      "New template / text Description": "A poem.",
      "New template / text Text": "A poem about {topic}.",
    },
    quiet: [
      [/button Resume absent/, "its pull fails at once again, which the warning says already"],
      [/button Show cases\.json/, "the newest eval is the one that is shown"],
      [/button Try again$/, "it is busy and keeps the focus, and what failed fails in the same way"],
      [/radio Time shown: /, "what is drawn on a canvas is no element; see the proof below"],
    ],
    fleeting: [
      [/button CSV Groups by model, /, "the grouping that a mark of the page has made, and taken back"],
      [/button Cancel pull absent/, "its pull fails at once"],
      [/button Dismiss: fresh:latest .* was cancelled/, "the warning was dismissed when it had the other cause"],
    ],
    refused: [
      [/needs .*Give the missing value|^Pipeline \S+ needs /, "the form is empty"],
      [/no folder is allowed yet/, "a pipeline reads a folder, of which none is allowed"],
      [/reads images|hears|no model is installed/, "no model of this world sees or hears"],
      [/absent|fresh|file does not exist/, "a model that there is not"],
      [/^no job pull-/, "the pull has ended, which the page hears within a second"],
    ],
    // What something acts on is gone after the later ones.
    ranks: [
      [/^button Dismiss$/, -1],
      [/^button Cancel answer/, 0],
      [/^New value of .* Save$|^link Pull another model|^button Resume/, 1.5],
      [/button (Cancel the job|New chat|Unload|All are bad|Run|Pick)\b/, 6],
      [/button (Stop|Cancel .+|Change it|Undo|Replace|Unpin|Remove)\b/, 5],
      [/button (Reset everything|Sign out)/, 8],
      [/button (Delete|Reset|Forget)\b/, 7],
    ],
    before: [
      [
        /^button Pull$/,
        async (page) => {
          world.ollama.misbehave({ kind: "hang", on: "/api/pull", afterLines: 1 });
          await fill(page, "Name", "fresh:latest");
        },
      ],
      [/^button Ask$/, (page) => choose(page, [slow.name, realModel])],
      [/^button Compare$/, (page) => choose(page, [slow.name, realModel])],
      [/^greet \/ button (Run|Fill in)$/, (page) => fill(page, "person", "Ada")],
    ],
    after: [
      [/^radio Time shown: (.+)$/, ([, span = ""], page) => provesTime(page, span)],
      [/^button Load (.+)$/, async ([, name = ""]) => assert.equal((await modelOf(name))?.is_loaded, true)],
      [/^button Unload (.+)$/, async ([, name = ""]) => assert.notEqual((await modelOf(name))?.is_loaded, true)],
      [/^button Pin (.+)$/, async ([, name = ""]) => assert.equal((await modelOf(name))?.is_pinned, true)],
      [/^button Unpin (.+)$/, async ([, name = ""]) => assert.notEqual((await modelOf(name))?.is_pinned, true)],
      [
        /^Delete (.+:\S+)\? \/ button Cancel$/,
        async ([, name = ""]) => assert.ok(await modelOf(name), "deleted without a yes"),
      ],
      [/^Delete (.+:\S+)\? \/ button Delete/, async ([, name = ""]) => assert.equal(await modelOf(name), undefined)],
      [
        /^Delete this (entry|template)\? \/ button Delete/,
        async (_found, page) =>
          page
            .getByText(/was deleted/)
            .first()
            .waitFor(),
      ],
      [/^Delete this eval\? \/ button Delete/, async (_found, page) => page.getByText("No eval yet.").waitFor()],
      [/^button Sign out/, async (_found, page) => page.getByText("Signed out.").waitFor()],
      [
        /^button Cancel answer/,
        async (_found, page) => {
          if ((await page.locator("dialog").count()) === 0)
            await page.getByText("Nothing is running").first().waitFor();
        },
      ],
      [
        /^Cancel this job\? \/ button Cancel the job/,
        () => until(async () => (await jobs()).jobs.every(({ state }) => state !== "running"), "it runs"),
      ],
    ],
  };
}

/** What has to run, or to be there, while a page is pressed. */
function arrangements(world: World, client: Client): Readonly<Record<string, () => Promise<unknown>>> {
  const begin = async () => {
    const call = { model: slow.name, prompt: "Go on.", use_memory: false };
    await client.callTool({ name: "route_and_generate", arguments: call });
  };
  return {
    overview: async () => void begin().catch(() => undefined),
    jobs: async () => {
      await world.ollm("config", "set", "jobs.patience", "1");
      await begin();
      await world.ollm("config", "unset", "jobs.patience");
    },
  };
}

const everything: Check = [
  "buttons: each control of each page is pressed, and does something",
  async ({ world: { weights }, browser }) => {
    const world = await openWorld({
      weights: { [realModel]: weights, [otherModel]: weights },
      ollama: [slow, ...quick.map((name, at) => ({ name, reply: at === 0 ? "yes" : "no" }))],
    });
    const client = await world.connect("a-client");
    try {
      const call = callsOf(client);
      await populate(world, call);
      await withDashboard({ world, browser }, async (opened) => {
        await opened.context.grantPermissions(["clipboard-read", "clipboard-write", "notifications"]);
        await addInPage(opened);
        const rules = rulesFor(world, call);
        const problems: string[] = [];
        const counts: string[] = [];
        const note = (what: string, { pressed, problems: own }: Awaited<ReturnType<Presser["pressAll"]>>) => {
          counts.push(`${what} ${pressed}`);
          problems.push(...own.map((each) => `${what}: ${each}`));
        };
        const help = () => opened.page.keyboard.press("?");
        note("shortcuts", await new Presser(opened, "overview", rules, help).pressAll());
        const ids = await pageIds(opened);
        for (const id of [...ids.filter((each) => !lastPages.includes(each)), ...lastPages]) {
          await arrangements(world, client)[id]?.();
          note(id, await new Presser(opened, id, rules).pressAll());
        }
        say(`pressed: ${counts.join(", ")}`);
        if (problems.length > 0) throw new Error(problems.join("\n"));
      });
    } finally {
      await client.close();
      await world.close();
    }
  },
];

/** Chooses by Enter or by the pointer what the palette finds, and waits for what that does. */
async function pressPalette(opened: Opened, client: Client): Promise<number> {
  const { page } = opened;
  const call = callsOf(client);
  const { models } = await call<Listed>("list_models", { limit: 100 });
  const { contents } = await client.readResource({ uri: "ollm://settings" });
  const [first] = contents as readonly { readonly text?: string }[];
  const { settings } = JSON.parse(first?.text ?? "{}") as { readonly settings: readonly { readonly path: string }[] };
  const titles: (readonly [title: string, room: string])[] = [];
  for (const id of await pageIds(opened)) {
    await opened.show(id);
    const room = (await page.getByRole("heading", { level: 1 }).textContent()) ?? "";
    const [tab] = await page.locator("nav.tabs a[aria-current=page]").allTextContents();
    titles.push([tab === undefined ? room : `${room}: ${tab}`, room]);
  }
  const isOnPage = (text: string) => page.locator("main").getByText(text, { exact: true }).first().waitFor();
  const entries: (readonly [text: string, effect: () => Promise<unknown>])[] = [
    ...titles.map(([title, room]) => {
      const isOpen = () => page.getByRole("heading", { level: 1, name: room, exact: true }).waitFor();
      return [title, isOpen] as const;
    }),
    ...models.flatMap(({ name }) => {
      const said = () => page.locator(".notice.done").filter({ hasText: name }).last().waitFor({ timeout: 60_000 });
      return [[`load ${name}`, said] as const, [`pin ${name}`, said] as const, [`pin ${name}`, said] as const];
    }),
    // The version of the file is not for people.
    ...settings
      .filter(({ path }) => path !== "schemaVersion")
      .map(({ path }) => [`Setting ${path}`, () => isOnPage(path)] as const),
  ];
  for (const [at, [text, effect]] of entries.entries()) {
    await page.keyboard.press("Control+k");
    const dialog = page.getByRole("dialog", { name: "Open or do" });
    await dialog.waitFor();
    await dialog.getByRole("searchbox").fill(text);
    // `load a` also finds Unload a.
    const own = dialog.getByRole("button", { name: new RegExp(`^(un)?${text.replaceAll(/[^\w ]/g, "\\$&")}$`, "i") });
    await own.waitFor();
    const [topmost = ""] = await dialog.locator(".palette button").allTextContents();
    // What comes first of those with the same words is chosen by Enter.
    if (at % 2 === 0 && [text, `un${text}`].some((each) => each.toLowerCase() === topmost.toLowerCase()))
      await page.keyboard.press("Enter");
    else await own.click();
    await dialog.waitFor({ state: "detached" });
    await effect();
  }
  return entries.length;
}

const palette: Check = [
  "buttons: each entry of the palette does what it says",
  async (scene) => {
    const client = await scene.world.connect("palette");
    try {
      await withDashboard(scene, async (opened) => {
        say(`the palette's entries: ${await pressPalette(opened, client)}`);
      });
    } finally {
      await client.close();
    }
  },
];

const without: Check = [
  "buttons: without models, and without a daemon",
  async ({ browser }) => {
    const world = await openWorld({ weights: {} });
    const client = await world.connect("a-client");
    try {
      await withDashboard({ world, browser }, async (opened) => {
        const { page, show } = opened;
        await addInPage(opened);
        await opened.context.grantPermissions(["clipboard-read", "clipboard-write"]);
        const known = rulesFor(world, callsOf(client));
        // The registry has nothing, and says so at once.
        const rules: Rules = {
          ...known,
          fleeting: [[/button (Cancel pull|Resume|Load|Pin|Delete|Dismiss:) /, "the pull has failed"]],
        };
        for (const id of ["overview", "models"]) {
          const { pressed, problems } = await new Presser(opened, id, rules).pressAll();
          say(`without models: ${id} ${pressed}`);
          assert.deepEqual(problems, []);
        }
        // One that does nothing is found.
        await page.evaluate(() =>
          document.addEventListener(
            "click",
            (event) => {
              if ((event.target as Element).closest("a[href='#/pipelines']") === null) return;
              event.preventDefault();
              event.stopImmediatePropagation();
            },
            true,
          ),
        );
        const { problems } = await new Presser(opened, "jobs", rules).pressAll();
        assert.deepEqual(
          problems.map((each) => each.replace(/ \(.*/, "")),
          ["link Pipelines: pressed, and nothing happened"],
        );
        await page.reload();
        await page.getByText("Connected", { exact: true }).waitFor();
        process.kill(await daemonPid(world), "SIGKILL");
        await page.getByText("The daemon has not answered").waitFor();
        await show("memory");
        const again = page.locator("main .failure").getByRole("button", { name: "Try again" });
        await again.click();
        await again.waitFor();
        await client.close();
        await world.ollm("status");
        await page.getByRole("button", { name: "Try now" }).click();
        await page.getByText("Connected", { exact: true }).waitFor({ timeout: 3_000 });
        await page.getByText("Nothing is remembered yet.").waitFor();
      });
    } finally {
      await client.close();
      await world.close();
    }
  },
];

export const buttonChecks: readonly Check[] = [everything, palette, without];
