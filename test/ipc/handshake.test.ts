import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { type Socket, connect, createServer } from "node:net";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Claim, claimHome } from "../../src/ipc/claim.ts";
import { connectDaemon } from "../../src/ipc/handshake.ts";
import { tokenFile } from "../../src/ipc/run-folder.ts";
import { ensureToken, readToken } from "../../src/ipc/token.ts";
import { introducingServer, temporaryHome } from "../support/ipc-home.ts";

type UnreachableReason = string;

const hello = {
  version: "1.0.0+a",
  purpose: "mcp",
  workingDirectory: "/",
  arguments: ["--root", "x"],
  environment: {},
} as const;

/** Generous, for a machine under load. */
const patience = { timeout: 10_000, interval: 10 };

let fixture: ReturnType<typeof temporaryHome>;
let claims: Claim[];
beforeEach(() => {
  fixture = temporaryHome();
  claims = [];
});
afterEach(() => {
  for (const claim of claims) claim.release();
  fixture.remove();
});

async function hold(home: string, server = introducingServer(home)) {
  const claim = await claimHome({ home, version: "1.0.0+a", isStandalone: false, server, checkMs: 60_000 });
  claims.push(claim);
  return claim;
}

function reasonOf(connecting: Promise<unknown>): Promise<UnreachableReason | undefined> {
  return connecting.then(
    () => undefined,
    (error: unknown) => (error as { reason: UnreachableReason }).reason,
  );
}

describe("connectDaemon", () => {
  it("sends hello to the daemon of the home, and what follows directly arrives", async () => {
    const got: unknown[] = [];
    await hold(
      fixture.home,
      introducingServer(fixture.home, ({ hello: said, welcome }, socket) => {
        welcome({ ok: true, notices: ["a"] });
        socket.on("data", (data) => {
          got.push(said.arguments, data.toString());
          socket.write("back\n");
        });
      }),
    );
    const { socket, introduction, welcome } = await connectDaemon(fixture.home, hello, { timeoutMs: 10_000 });
    socket.write("first\n");
    expect(introduction).toMatchObject({ home: fixture.home, version: "1.0.0+a", pid: process.pid });
    expect(await welcome).toEqual({ ok: true, notices: ["a"] });
    const back = await new Promise((resolve) => socket.on("data", (data) => resolve(data.toString())));
    expect([...got, back]).toEqual([["--root", "x"], "first\n", "back\n"]);
    socket.destroy();
  });

  it("finds no daemon if none was started or the last one has ended", async () => {
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 10_000 }))).toBe("absent");
    (await hold(fixture.home)).release();
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 10_000 }))).toBe("absent");
  });

  it("refuses a process on the socket that hasn't read the token, before it reveals anything", async () => {
    const received: string[] = [];
    const sockets: Socket[] = [];
    const impostor = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      socket.on("data", (data) => {
        received.push(data.toString());
        socket.write(
          `${JSON.stringify({ ollm: 1, home: fixture.home, version: "9", pid: 1, nonce: "a".repeat(32), proof: "b".repeat(32) })}\n`,
        );
      });
    });
    await hold(fixture.home, Object.assign(impostor, { refused: [] }));
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 10_000 }))).toBe("untrusted");
    expect(received.map((text) => Object.keys(JSON.parse(text) as object))).toEqual([["ollm", "nonce"]]);
    for (const socket of sockets) socket.destroy();
  });

  it("refuses a daemon of another home, even with the same token", async () => {
    const other = `${fixture.home}-other`;
    const token = ensureToken(other);
    mkdirSync(path.join(fixture.home, "run"), { recursive: true });
    writeFileSync(tokenFile(fixture.home), token, { mode: 0o600 });
    await hold(fixture.home, introducingServer(other));
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 10_000 }))).toBe("untrusted");
  });

  it("fails without the token", async () => {
    await hold(fixture.home);
    rmSync(tokenFile(fixture.home));
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 10_000 }))).toBe("untrusted");
  });

  it.each([
    ["garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", "dead"],
    ["JSON that is no object", "[[[[\n", "dead"],
    ["a line without an end", "x".repeat(100_000), "dead"],
    ["nothing, and closes", undefined, "closed"],
  ])("learns at once that a process on the socket answers %s", async (_what, text, reason) => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      if (text === undefined) socket.destroy();
      else socket.write(text);
    });
    await hold(fixture.home, Object.assign(server, { refused: [] }));
    const from = performance.now();
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 60_000 }))).toBe(reason);
    expect(performance.now() - from).toBeLessThan(10_000);
  });

  it("gives up if the connection is accepted and not answered", async () => {
    const sockets: Socket[] = [];
    await hold(
      fixture.home,
      Object.assign(
        createServer((socket) => void sockets.push(socket)),
        { refused: [] },
      ),
    );
    expect(await reasonOf(connectDaemon(fixture.home, hello, { timeoutMs: 100 }))).toBe("silent");
    for (const socket of sockets) socket.destroy();
  });
});

describe("acceptConnection", () => {
  /** How the daemon treats a caller that writes these lines. */
  async function knockWith(write: (socket: Socket, introduction: string) => void, knock: string): Promise<string> {
    const server = introducingServer(fixture.home);
    const claim = await hold(fixture.home, server);
    const socket = connect(claim.record.socket);
    socket.on("error", () => undefined);
    socket.write(knock);
    socket.once("data", (data) => write(socket, data.toString()));
    await new Promise((resolve) => socket.once("close", resolve));
    await expect.poll(() => server.refused, patience).toHaveLength(1);
    return server.refused[0] ?? "";
  }
  const knock = `${JSON.stringify({ ollm: 1, nonce: "c".repeat(32) })}\n`;

  it.each([
    ["another proof", () => "0".repeat(32)],
    [
      "the daemon's own proof thrown back",
      (introduction: string) => (JSON.parse(introduction) as { proof: string }).proof,
    ],
    ["no proof", () => undefined],
  ])("refuses a caller with %s", async (_what, proof) => {
    const said = await knockWith((socket, introduction) => {
      socket.write(`${JSON.stringify({ ...hello, proof: proof(introduction) })}\n`);
    }, knock);
    expect(said).toBe("a caller can't read the home's token");
  });

  it.each(["garbage\n", "null\n", '{"ollm":2}\n', `{"ollm":1,"nonce":"short"}\n`, `${"x".repeat(10_000)}\n`])(
    "hangs up on %j",
    async (text) => {
      expect(await knockWith(() => undefined, text)).not.toBe("");
      expect(readToken(fixture.home)).toBeDefined();
    },
  );
});
