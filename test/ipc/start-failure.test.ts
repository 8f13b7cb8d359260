import { describe, expect, it } from "vitest";
import { startFailure } from "../../src/ipc/start-daemon.ts";
import { OwnerUnavailable } from "../../src/orchestrator/errors.ts";

const failed = (code: string) => Object.assign(new Error(`${code}: write`), { code });

describe("an owner that could not be started", () => {
  it.each([
    ["ENOSPC", "no owner of /home/a could be started: its disk is full"],
    ["EDQUOT", "no owner of /home/a could be started: its disk quota is used up"],
  ])("for want of room (%s) is said with what to do about it", (code, message) => {
    const error = startFailure("/home/a", "/home/a/owner.log", failed(code));
    expect(error).toBeInstanceOf(OwnerUnavailable);
    expect(error).toMatchObject({ message, hint: expect.stringMatching(/^Free some space .* OLLM_HOME/) as string });
  });

  it("for another reason keeps it, and names the log", () => {
    expect(startFailure("/home/a", "/home/a/owner.log", new OwnerUnavailable("it ended with code 1"))).toMatchObject({
      message: "no owner of /home/a could be started: it ended with code 1",
      hint: "/home/a/owner.log says why; `ollm --standalone` works without an owner.",
    });
    const other = failed("EMFILE");
    expect(startFailure("/home/a", "/home/a/owner.log", other)).toBe(other);
  });
});
