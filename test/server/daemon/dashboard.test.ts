import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { dashboard, openerOf } from "../../../src/cli/commands/serve.ts";
import { daemonStart, daemonStop } from "../../../src/cli/commands/daemon.ts";
import { dashboardFile } from "../../../src/ipc/run-folder.ts";
import { rotateHttpToken } from "../../../src/ipc/token.ts";
import { type DaemonHome, makeDaemonHome } from "../../support/daemon-home.ts";
import { eventually } from "../../support/eventually.ts";
import { type Tab, entryOf, signIn } from "../../support/page-session.ts";

const homes: DaemonHome[] = [];
const streams: AbortController[] = [];

afterEach(async () => {
  for (const stream of streams.splice(0)) stream.abort();
  await Promise.all(homes.splice(0).map((home) => home.close()));
});

async function makeHome(more: Record<string, string> = {}): Promise<DaemonHome> {
  const home = await makeDaemonHome(more);
  homes.push(home);
  return home;
}

/** `ollm dashboard --json`; resolves to the link. */
async function link(home: DaemonHome): Promise<URL> {
  const io = home.io();
  expect(await dashboard({ json: true }, io)).toBe(0);
  const printed = JSON.parse(io.out.join("")) as { url: string };
  expect(Object.keys(printed)).toEqual(["url"]);
  // The fixture ends it after the test.
  home.claim();
  return new URL(printed.url);
}

interface Stream {
  readonly status: number;
  /** What came so far. */
  text(): string;
  /** Resolves when it has ended in any way. */
  readonly ended: Promise<void>;
  close(): void;
}

async function openStream(origin: string, token: string): Promise<Stream> {
  const abort = new AbortController();
  streams.push(abort);
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${origin}/dashboard/events`, { headers, signal: abort.signal });
  let text = "";
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of answer.body ?? []) text += decoder.decode(chunk as Uint8Array);
  };
  return { status: answer.status, text: () => text, ended: read().catch(() => undefined), close: () => abort.abort() };
}

async function openPage(home: DaemonHome) {
  const url = await link(home);
  const tab = await signIn(url);
  const stream = await openStream(url.origin, tab.bearer);
  await eventually(() => expect(stream.text()).toContain("event: state"));
  return { origin: url.origin, ...tab, stream };
}

/** What an open page does until its daemon is back. */
async function reconnect(origin: string, tab: Pick<Tab, "session">): Promise<Stream> {
  const entry = await eventually(async () => {
    const found = await entryOf(tab);
    if (found.kind !== "bearer") throw new Error(found.kind);
    return found;
  });
  return openStream(origin, entry.bearer);
}

const kept = ({ home }: DaemonHome) =>
  JSON.parse(readFileSync(dashboardFile(home), "utf8")) as { port: number; isOpen: boolean };

describe("ollm dashboard", () => {
  it("starts the daemon, and prints a link whose code works once", async () => {
    const home = await makeHome();
    const url = await link(home);
    expect([url.hostname, url.pathname]).toEqual(["127.0.0.1", "/dashboard"]);
    expect(url.hash).toMatch(/^#[\da-f]{16}\.[\w-]{43}$/);
    const { bearer } = await signIn(url);
    expect((await openStream(url.origin, bearer)).status).toBe(200);
    await expect(signIn(url)).rejects.toThrow("This link was used");
    // Another link is of the same listener.
    expect((await link(home)).origin).toBe(url.origin);
    expect((await home.status()).listeners).toEqual([url.origin]);
  });

  it("uses another port where a program has the remembered one, and remembers that", async () => {
    const home = await makeHome();
    const first = await link(home);
    await daemonStop({}, home.io());
    const program = createServer();
    await new Promise<void>((resolve) => program.listen(Number(first.port), "127.0.0.1", resolve));
    try {
      const second = await link(home);
      expect(second.port).not.toBe(first.port);
      expect((await openStream(second.origin, (await signIn(second)).bearer)).status).toBe(200);
      expect(kept(home).port).toBe(Number(second.port));
    } finally {
      await new Promise((resolve) => program.close(resolve));
    }
  });

  it("has a port, codes and sessions of its own in each home", async () => {
    const [one, other] = [await makeHome(), await makeHome()];
    const [first, second] = [await link(one), await link(other)];
    expect(first.port).not.toBe(second.port);
    const { bearer } = await signIn(first);
    expect((await openStream(second.origin, bearer)).status).toBe(401);
    await expect(signIn(`${second.origin}/dashboard${(await link(one)).hash}`)).rejects.toThrow("This link was used");
  });

  it("is refused by a daemon that does not know it, with the command that helps", async () => {
    const home = await makeHome();
    await daemonStart({}, home.io());
    const said = await home.ask("later" as "dashboard");
    expect(said).toMatchObject({ ok: false, next: [{ step: "restartDaemon" }] });
  });
});

describe("an open page", () => {
  it("reconnects after a kill of the daemon: the next one listens at the same port, and knows the session", async () => {
    const home = await makeHome();
    const { origin, session, bearer, stream } = await openPage(home);
    expect(kept(home)).toMatchObject({ port: Number(new URL(origin).port), isOpen: true });
    process.kill(home.claim().pid, "SIGKILL");
    await stream.ended;
    await daemonStart({}, home.io());
    home.claim();
    const again = await reconnect(origin, { session });
    expect(again.status).toBe(200);
    await eventually(() => expect(again.text()).toMatch(/event: history[^]*event: state/));
    // What the last daemon was sent opens nothing.
    expect((await openStream(origin, bearer)).status).toBe(401);
  });

  it("gives a program on its port nothing after a kill, and ollm dashboard takes another port at once", async () => {
    const home = await makeHome();
    const { origin, session, bearer, stored, stream } = await openPage(home);
    process.kill(home.claim().pid, "SIGKILL");
    await stream.ended;
    const got: string[] = [];
    const impostor = createHttpServer((request, response) => {
      got.push(JSON.stringify(request.headers));
      request.setEncoding("utf8").on("data", (part: string) => got.push(part));
      request.once("end", () => response.end("{}"));
    });
    await eventually(
      () =>
        new Promise<void>((resolve, reject) => {
          impostor.once("error", reject);
          impostor.listen(Number(new URL(origin).port), "127.0.0.1", resolve);
        }),
    );
    try {
      expect(await entryOf({ session })).toEqual({ kind: "foreign" });
      const from = performance.now();
      const second = await link(home);
      // The next daemon would try the port of the open page for 8 seconds.
      expect(performance.now() - from).toBeLessThan(6_000);
      expect(second.origin).not.toBe(origin);
      expect((await openStream(second.origin, (await signIn(second)).bearer)).status).toBe(200);
      for (const secret of [bearer, ...stored.values()]) expect(got.join("\n")).not.toContain(secret.split(".")[1]);
      const seen = got.join("\n").match(/[\w.-]{16,}/g) ?? [];
      expect(seen.length).toBeGreaterThan(0);
      for (const word of new Set([...seen, bearer, ...stored.values()])) {
        expect((await openStream(second.origin, word)).status).toBe(401);
      }
    } finally {
      await new Promise((resolve) => {
        impostor.close(resolve);
        impostor.closeAllConnections();
      });
    }
  });

  it("reconnects after a restart, too; a daemon that ended without an open page leaves no listener", async () => {
    const home = await makeHome();
    const { origin, session, stream } = await openPage(home);
    await daemonStop({}, home.io());
    await stream.ended;
    await daemonStart({}, home.io());
    home.claim();
    const again = await reconnect(origin, { session });
    expect(again.status).toBe(200);
    again.close();
    await eventually(() => expect(kept(home).isOpen).toBe(false));
    await daemonStop({}, home.io());
    await daemonStart({}, home.io());
    home.claim();
    expect((await home.status()).listeners).toEqual([]);
  });

  it("keeps the daemon, which ends when it is idle once the page has closed", async () => {
    const home = await makeHome({ OLLM_DAEMON_IDLE_TIMEOUT: "1" });
    const { stream } = await openPage(home);
    const { pid } = home.claim();
    // Without a page it would have ended by then.
    const from = performance.now();
    await eventually(() => expect(performance.now() - from).toBeGreaterThan(3_000));
    expect((await home.status()).pid).toBe(pid);
    stream.close();
    await home.until("the daemon has ended", () => home.claim().ended === true);
    expect(kept(home).isOpen).toBe(false);
  });

  it("ends when the token is replaced", async () => {
    const home = await makeHome();
    const { origin, session, bearer, stream } = await openPage(home);
    rotateHttpToken(home.home);
    await stream.ended;
    expect((await openStream(origin, bearer)).status).toBe(401);
    expect(await entryOf({ session })).toEqual({ kind: "ended" });
  });

  it("is remembered in a file that may be damaged", async () => {
    const home = await makeHome();
    await daemonStart({}, home.io());
    const damaged = [
      "[",
      '{"port":-1,"isOpen":true}',
      '{"sessions":{"token":"","open":[null,{"id":1}]}}',
      '{"sessions":[]}',
    ];
    for (const text of damaged) {
      await daemonStop({}, home.io());
      await writeFile(dashboardFile(home.home), text);
      await daemonStart({}, home.io());
      home.claim();
      expect((await home.status()).listeners).toEqual([]);
    }
    expect(Number((await link(home)).port)).toBeGreaterThan(0);
  });
});

describe("the browser", () => {
  const terminal = { columns: 80, platform: "linux" as const, environment: { DISPLAY: ":0" } };

  it.each([
    [terminal, "xdg-open"],
    [{ ...terminal, environment: { WAYLAND_DISPLAY: "wayland-0" } }, "xdg-open"],
    [{ ...terminal, platform: "darwin" as const, environment: {} }, "open"],
    [{ ...terminal, platform: "win32" as const, environment: {} }, "rundll32"],
  ])("is opened in a desktop: %j with %s", (io, program) => {
    expect(openerOf(io)?.[0]).toBe(program);
  });

  it.each([
    ["without a terminal", { ...terminal, columns: undefined }],
    ["without a display", { ...terminal, environment: {} }],
    ["with an empty display", { ...terminal, environment: { DISPLAY: "" } }],
    ["over SSH", { ...terminal, environment: { DISPLAY: ":0", SSH_CONNECTION: "1.2.3.4 5 6.7.8.9 22" } }],
    ["over SSH to a Mac", { ...terminal, platform: "darwin" as const, environment: { SSH_TTY: "/dev/ttys0" } }],
  ])("is not opened %s", (_where, io) => {
    expect(openerOf(io)).toBeUndefined();
  });
});
