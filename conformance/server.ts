/**
 * The product's HTTP stack and server factory, extended by the conformance suite's fixtures. Prints the same as
 * `ollm serve --json`; SIGTERM ends it.
 */
import { once } from "node:events";
import { homedir } from "node:os";
import { createLog } from "../src/orchestrator/api/log.ts";
import { createServer } from "../src/server/mcp/create-server.ts";
import { openHttpListener } from "../src/server/http/listener.ts";
import { callerHome } from "../src/server/daemon/caller-home.ts";
import { openOrchestrator } from "../src/server/daemon/open-orchestrator.ts";
import { version } from "../src/ipc/version.ts";
import { mountFixtures } from "./fixtures/mount.ts";

const userHome = homedir();
const home = process.env["OLLM_HOME"] ?? "";
const writeLine = (line: string): void => void process.stderr.write(`${line}\n`);
const log = createLog("warn", writeLine);
const opened = await openOrchestrator({ home, environment: process.env, flags: {}, userHome, version, writeLine });
const orchestrator = { open: () => Promise.resolve(opened), current: () => opened };
const open = callerHome("conformance", { environment: {}, flags: {}, userHome }, orchestrator, Date.now);
const listener = await openHttpListener({
  bind: "127.0.0.1",
  port: 0,
  home,
  settings: () => opened.settings.http,
  version,
  log,
  partsFor: (id) => ({ version, log, id, mayOfferRoots: false, homeDirectory: userHome, open }),
  makeServer: (parts) => mountFixtures(createServer(parts)),
});
process.stdout.write(`${JSON.stringify({ url: listener.url, token_file: listener.tokenFile })}\n`);
await once(process, "SIGTERM");
await listener.close();
await opened.close();
process.exit(0);
