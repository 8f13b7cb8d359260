import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TypedChatInput, type ChatInput } from "../../../src/cli/commands/chat-input.ts";

let keys: PassThrough;
let screen: PassThrough;
let chat: ChatInput;
let shown: string;

function start(isTerminal: boolean): void {
  keys = new PassThrough();
  screen = new PassThrough();
  shown = "";
  screen.on("data", (chunk: Buffer) => (shown += chunk.toString()));
  chat = new TypedChatInput({ input: keys, output: screen, isTerminal, completions: ["/memory list", "/model list"] });
}

beforeEach(() => start(true));
afterEach(() => chat.close());

describe("at a terminal", () => {
  it("takes a line, and what was pasted at once as one message", async () => {
    keys.write("Why?\r");
    expect(await chat.next(">>> ")).toBe("Why?");
    keys.write("Review\r  this:\rx = 1\r");
    expect(await chat.next(">>> ")).toBe("Review\n  this:\nx = 1");
  });

  it('takes several lines between """', async () => {
    const message = chat.next(">>> ");
    keys.write('"""\rSay\r');
    await expect.poll(() => shown).toContain("... ");
    keys.write('B."""\r');
    expect(await message).toBe("Say\nB.");
    keys.write('"""one line"""\r');
    expect(await chat.next(">>> ")).toBe("one line");
  });

  it("ends with Ctrl-D, and with Ctrl-C twice", async () => {
    const message = chat.next(">>> ");
    keys.write("\u0003");
    await expect.poll(() => shown).toContain("Ctrl-C again exits");
    keys.write("\u0003");
    expect(await message).toBeUndefined();
    expect(chat.hasLeft()).toBe(true);
    chat.close();
    start(true);
    keys.write("\u0004");
    expect(await chat.next(">>> ")).toBeUndefined();
  });

  it("drops what was typed at Ctrl-C, and goes on", async () => {
    const message = chat.next(">>> ");
    keys.write("half a thou");
    keys.write("\u0003");
    keys.write("Why?\r");
    expect(await message).toBe("Why?");
    expect(chat.hasLeft()).toBe(false);
  });

  it("calls the interrupt during work, without echoing what is typed; the second one leaves", async () => {
    let interrupts = 0;
    const first = chat.next(">>> ");
    keys.write("Why?\r");
    await first;
    shown = "";
    await chat.during(
      () => void (interrupts += 1),
      async () => {
        keys.write("typed meanwhile");
        keys.write("\u0003");
        await expect.poll(() => interrupts).toBe(1);
        expect(shown).toBe("");
        keys.write("\u0003");
        await expect.poll(() => interrupts).toBe(2);
      },
    );
    expect(chat.hasLeft()).toBe(true);
  });

  it("asks in between; Ctrl-C there is no answer, and the next line is the chat's again", async () => {
    const answer = await chat.during(
      () => undefined,
      async () => {
        const given = chat.ask("Delete? [y/N] ");
        await expect.poll(() => shown).toContain("Delete?");
        keys.write("y\r");
        return given;
      },
    );
    expect(answer).toBe("y");
    const dropped = await chat.during(
      () => undefined,
      async () => {
        const given = chat.ask("Delete? [y/N] ");
        keys.write("\u0003");
        return given;
      },
    );
    expect(dropped).toBe("");
    keys.write("Why?\r");
    expect(await chat.next(">>> ")).toBe("Why?");
  });
});

describe("what a command asks for", () => {
  it("is dropped at Ctrl-C, and the chat goes on", async () => {
    for (const ask of [() => chat.nextOf("... "), () => chat.ask("Sure? ").then((text) => text || undefined)]) {
      shown = "";
      const given = ask();
      await expect.poll(() => shown).not.toBe("");
      keys.write("half a thou\u0003");
      expect(await given).toBeUndefined();
      expect(shown).not.toContain("again leaves");
    }
    keys.write("Why?\r");
    expect(await chat.next(">>> ")).toBe("Why?");
    expect(chat.hasLeft()).toBe(false);
  });

  it('takes a line as the answer, and several between """', async () => {
    keys.write("one\r");
    expect(await chat.nextOf("... ")).toBe("one");
    const given = chat.nextOf("... ");
    keys.write('"""\rtwo\rthree"""\r');
    expect(await given).toBe("two\nthree");
  });
});

it('a message that began with """ is taken back by Ctrl-C', async () => {
  const message = chat.next(">>> ");
  keys.write('"""\rhalf\r');
  await expect.poll(() => shown).toContain("... ");
  keys.write("\u0003");
  expect(await message).toBe("");
  keys.write("Why?\r");
  expect(await chat.next(">>> ")).toBe("Why?");
});

it("without a terminal gives line by line, without decorations, to the end", async () => {
  chat.close();
  start(false);
  keys.end('one\ntwo\n"""\nthree\nfour\n"""\nfive');
  const messages = [];
  for (;;) {
    const message = await chat.next("");
    if (message === undefined) break;
    messages.push(message);
  }
  expect(messages).toEqual(["one", "two", "three\nfour", "five"]);
  expect(shown).toBe("");
});
