import { describe, expect, it } from "vitest";
import { startFailure } from "../../src/ipc/start-daemon.ts";
import { DaemonUnavailable } from "../../src/orchestrator/api/errors.ts";

const failed = (code: string) => Object.assign(new Error(`${code}: write`), { code });

describe("a daemon that could not be started", () => {
  it.each([
    ["ENOSPC", "the daemon of /home/a could not be started: its disk is full"],
    ["EDQUOT", "the daemon of /home/a could not be started: its disk quota is used up"],
  ])("because its disk is full (%s) is reported with the next steps", (code, message) => {
    const error = startFailure("/home/a", "/home/a/daemon.log", failed(code));
    expect(error).toBeInstanceOf(DaemonUnavailable);
    expect(error).toMatchObject({
      message,
      next: [{ step: "advice" }, { step: "setHome", to: "a folder on another disk" }],
    });
  });

  it("for another reason is reported with that reason and the log", () => {
    expect(startFailure("/home/a", "/home/a/daemon.log", new DaemonUnavailable("it ended with code 1"))).toMatchObject({
      message: "the daemon of /home/a could not be started: it ended with code 1",
      next: [{ step: "advice", text: "read /home/a/daemon.log for the reason" }, { step: "startStandalone" }],
    });
    const other = failed("EMFILE");
    expect(startFailure("/home/a", "/home/a/daemon.log", other)).toBe(other);
  });
});
