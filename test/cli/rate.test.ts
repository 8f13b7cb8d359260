import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createShellAnswers, rateInChat } from "../../src/cli/commands/rate.ts";
import { InvalidRequest, type OrchestratorError } from "../../src/orchestrator/api/errors.ts";

let folder: string;
let nowMs = 0;
beforeEach(async () => {
  folder = path.join(await mkdtemp(path.join(tmpdir(), "ollm-rate-")), "answers");
  nowMs = Date.now();
});
afterEach(() => rm(path.dirname(folder), { recursive: true, force: true }));

const shell = (pid: number, startTime = "100") => createShellAnswers(folder, { pid, startTime }, () => nowMs);
const answer = { task: "code", model: "a:1b" };

async function expectRefusal(answers: ReturnType<typeof createShellAnswers>): Promise<OrchestratorError> {
  const error: unknown = await answers.last("bad").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(InvalidRequest);
  return error as OrchestratorError;
}

it("the last answer of a chat is refused when it is more than an hour old, with a command that exists", async () => {
  const answered = { id: "1", ...answer, atMs: Date.now() - 3_700_000 };
  const chat = {
    talk: { answered },
    io: { stdout: () => undefined },
    call: () => Promise.reject(new Error("not asked")),
  };
  const error: unknown = await rateInChat("bad", chat).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(InvalidRequest);
  expect(JSON.stringify((error as OrchestratorError).next)).toContain("ollm bad --force");
});

describe("the last answer of a shell", () => {
  it("is its own: two terminals at once have one each", async () => {
    await Promise.all([shell(1).note(answer), shell(2).note({ ...answer, model: "b:2b" })]);
    expect(await shell(1).last("good")).toMatchObject(answer);
    expect(await shell(2).last("good")).toMatchObject({ model: "b:2b" });
    const { message, next } = await expectRefusal(shell(3));
    expect(message).toBe("no answer of this shell is known");
    expect(JSON.stringify(next)).toContain("ollm bad --task TASK --model MODEL");
  });

  it("is not that of an earlier process with the same pid", async () => {
    await shell(1, "100").note(answer);
    await expectRefusal(shell(1, "200"));
  });

  it("is the newest, each with an id of its own; a request without an answer leaves none", async () => {
    const first = await shell(1).note(answer);
    const second = await shell(1).note({ ...answer, model: "b:2b" });
    expect(first?.id).not.toBe(second?.id);
    expect(await shell(1).last("good")).toEqual(second);
    await shell(1).forget();
    await expectRefusal(shell(1));
    await shell(1).forget();
  });

  it("is refused when it is more than an hour old, with the option that rates it anyway", async () => {
    await shell(1).note(answer);
    nowMs += 3_600_000;
    expect(await shell(1).last("bad")).toMatchObject(answer);
    nowMs += 1;
    const { message, next } = await expectRefusal(shell(1));
    expect(message).toMatch(/^the last answer of this shell is .* old \(a:1b, code\)$/);
    expect(next).toContainEqual({ step: "setArgument", argument: "force", to: true });
    expect(await shell(1).last("bad", true)).toMatchObject(answer);
  });

  it("is unknown where its file is broken, and the next answer replaces it", async () => {
    await shell(1).note(answer);
    for (const text of ["", "{", "[]", "null", '{"id":1}']) {
      await writeFile(path.join(folder, "1.json"), text);
      await expectRefusal(shell(1));
    }
    await shell(1).note(answer);
    expect(await shell(1).last("good")).toMatchObject(answer);
  });

  it("is removed once its shell has been silent for long, so that the folder does not grow", async () => {
    for (let pid = 1; pid <= 20; pid += 1) await shell(pid).note(answer);
    const old = new Date(nowMs - 30 * 24 * 3_600_000);
    for (const name of await readdir(folder)) await utimes(path.join(folder, name), old, old);
    await shell(99).note(answer);
    expect(await readdir(folder)).toEqual(["99.json"]);
  });

  it("that can't be written is lost, and nothing fails", async () => {
    await writeFile(folder, "a file in place of the folder");
    expect(await shell(1).note(answer)).toMatchObject(answer);
    await expectRefusal(shell(1));
  });
});
