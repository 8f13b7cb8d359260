import { spawn } from "node:child_process";
import path from "node:path";
import { build } from "../../ipc/version.ts";
import { DaemonUnavailable } from "../../orchestrator/api/errors.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";
import { progressLineOf, untilFirstSign } from "../terminal/progress-line.ts";
import { type DaemonRequest, reachDaemon } from "./serve.ts";
import type { JsonOption } from "./options.ts";

/** `ollm dashboard`: prints a link that works once, and opens it in a desktop's browser. */
export async function dashboard({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  const line = progressLineOf(io);
  const say = (text: string): void => line.above(`ollm: ${text}\n`);
  line.wait("waiting for the daemon ...", untilFirstSign());
  const url = await linkFrom({
    home: homeOf(io),
    program: { folder: path.dirname(io.script), version: build },
    node: io.node,
    environment: io.environment,
    workingDirectory: io.workingDirectory,
    say,
  }).finally(() => line.clear());
  if (json) {
    io.stdout(`${jsonText({ url })}\n`);
    return 0;
  }
  const opener = openerOf(io);
  io.stdout(
    `${url}\nThe link works once, within 5 minutes${opener === undefined ? "" : "; opening it in your browser"}.\n`,
  );
  if (opener !== undefined) open(opener, url);
  return 0;
}

async function linkFrom(request: DaemonRequest): Promise<string> {
  const { socket, welcome } = await reachDaemon(request, { purpose: "dashboard" });
  const said = await welcome;
  socket.destroy();
  if (!said.ok) throw new DaemonUnavailable(said.message, { next: said.next });
  for (const notice of said.notices ?? []) request.say(notice);
  if (said.dashboard === undefined) {
    throw new DaemonUnavailable("the daemon has no dashboard: it is of another version", {
      next: { step: "restartDaemon" },
    });
  }
  return said.dashboard.url;
}

/** The program that opens an address in this desktop's browser; undefined where there is no desktop to look at. */
export function openerOf({
  columns,
  platform,
  environment,
}: Pick<CommandIo, "columns" | "platform" | "environment">):
  | readonly [command: string, ...words: string[]]
  | undefined {
  // Without a terminal a program reads the link; over SSH the browser would open on the other machine.
  const isSet = (name: string): boolean => (environment[name] ?? "") !== "";
  if (columns === undefined || isSet("SSH_CONNECTION") || isSet("SSH_TTY")) return undefined;
  if (platform === "darwin") return ["open"];
  // `start` is a word of a shell, which would read the address.
  if (platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"];
  return isSet("DISPLAY") || isSet("WAYLAND_DISPLAY") ? ["xdg-open"] : undefined;
}

/** The link is printed, so a failure is no matter. */
function open([command, ...words]: readonly [string, ...string[]], url: string): void {
  const child = spawn(command, [...words, url], { stdio: "ignore", detached: true, windowsHide: true });
  child.on("error", () => undefined);
  child.unref();
}
