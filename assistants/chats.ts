import { setTimeout as delay } from "node:timers/promises";
import type { Result, Turn } from "./models.ts";
import { type Row, expectIn, generate, limitMs, once, quoted, slowly, underWay } from "./row.ts";
import type { Terminal } from "./terminal.ts";
import { type Assistant, type World, end } from "./world.ts";

const idleWithinMs = 150;

/** Allows the call, where the assistant asks its user before it makes one. */
async function approve(terminal: Terminal, asks: Assistant["chat"]["asks"]): Promise<void> {
  if (asks === undefined) return;
  await terminal.shows(asks.shown, limitMs).then(
    () => delay(300).then(() => terminal.type(asks.yes)),
    () => undefined,
  );
}

/** Types a prompt for a row into a new session. The caller ends the session. */
async function chatAbout(world: World, row: string, turn: Turn) {
  const { chat } = world.assistant;
  world.models.plays.set(row, once(turn));
  const before = world.models.asked.filter((each) => each.row === row).length;
  const terminal = world.chat();
  try {
    void approve(terminal, chat.asks);
    await terminal.shows(chat.ready, limitMs);
    await delay(1_000);
    const hasAsked = (): boolean => world.models.asked.filter((each) => each.row === row).length > before;
    for (let tries = 0; tries < 4 && !hasAsked(); tries += 1) {
      // What is typed while it starts may be lost, and a key right after a text is taken for a part of it.
      if (!terminal.text.includes(`[[${row}]]`)) terminal.type(`Please do this: [[${row}]]`);
      await delay(500);
      terminal.type("\r");
      for (let waits = 0; waits < 40 && !hasAsked(); waits += 1) await delay(100);
    }
    return terminal;
  } catch (error) {
    end(terminal.pid);
    throw error;
  }
}

/** The first result of a row, once its assistant has told its model. */
async function toldTo(world: World, row: string): Promise<Result> {
  const endAt = performance.now() + limitMs;
  for (;;) {
    const [result] = world.models.results(row);
    if (result !== undefined) return result;
    if (performance.now() > endAt) throw new Error("its model heard nothing of the call");
    await delay(50);
  }
}

async function answerForm(world: World, row: string, model: string, isYes: boolean): Promise<string> {
  const { form } = world.assistant.chat;
  const turn = { name: world.assistant.tool("manage_model"), input: { action: "delete", model } };
  const terminal = await chatAbout(world, row, turn);
  try {
    if (form === undefined) {
      const { text } = await toldTo(world, row);
      if (!world.ollama.models.has(model)) throw new Error("deleted without a question");
      return `no form; told "${quoted(text)}"`;
    }
    await terminal.shows(form.shown, limitMs);
    await delay(500);
    for (const key of isYes ? form.accept : form.decline) {
      terminal.type(key);
      await delay(400);
    }
    const { text } = await toldTo(world, row).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${terminal.text}`);
    });
    if (world.ollama.models.has(model) === isYes)
      throw new Error(`the model is ${isYes ? "still there" : "gone"}: ${text}`);
    return `✓ told "${quoted(text)}"`;
  } finally {
    end(terminal.pid);
  }
}

/** Milliseconds from the key to the end of the engine's work. */
async function cancelled(world: World): Promise<number> {
  world.ollama.reset();
  slowly(world);
  const terminal = await chatAbout(world, "cancel", generate(world, { prompt: "Count." }));
  try {
    const request = await underWay(world);
    await delay(800);
    const pressedAt = performance.now();
    for (const key of world.assistant.chat.cancel) terminal.type(key);
    await Promise.race([request.closed, delay(15_000)]);
    if (request.wasCutByClient !== true || request.closedAt === undefined) throw new Error("the engine went on");
    return Math.round(request.closedAt - pressedAt);
  } finally {
    end(terminal.pid);
  }
}

/** In a terminal, as a person uses them. */
export const chats: readonly Row[] = [
  {
    id: "progress",
    title: "progress lines",
    async run(world) {
      slowly(world);
      const terminal = await chatAbout(world, "progress", generate(world, { prompt: "Count." }));
      try {
        await underWay(world);
        const pattern = /loading \S+:135m.*|\S+:135m: \d+ tokens.*/;
        // Afterwards, the answer to a call that became a job says the same.
        while (world.models.results("progress").length === 0) {
          const line = pattern.exec(terminal.text)?.[0];
          if (line !== undefined) return `✓ "${line.trim()}"`;
          await delay(20);
        }
        return "none are shown";
      } finally {
        end(terminal.pid);
      }
    },
  },
  { id: "accept", title: "a form accepted", run: (world) => answerForm(world, "accept", "spare:1b", true) },
  { id: "decline", title: "a form declined", run: (world) => answerForm(world, "decline", "extra:1b", false) },
  {
    id: "cancel",
    title: "Escape cancels",
    async run(world) {
      const tookMs: number[] = [];
      for (let press = 0; press < 3; press += 1) tookMs.push(await cancelled(world));
      tookMs.sort((one, other) => one - other);
      const [least = 0, median = 0, most = 0] = tookMs;
      return `${median <= idleWithinMs ? "✓" : "✗"} engine idle after ${median} ms (${least} to ${most})`;
    },
  },
  {
    id: "error",
    title: "an error with its next step",
    async run(world) {
      const terminal = await chatAbout(world, "error", generate(world, { prompt: "Hello.", model: "nowhere:1b" }));
      try {
        const { text, isError } = await toldTo(world, "error");
        expectIn(text, /call \w+|use model/, "no next step");
        const line = await terminal.shows(/^.*(nowhere:1b|fail|error(?!\])).*$/im, 5_000).catch(() => "nothing of it");
        return `✓ ${isError ? "as an error" : "as a text"}; its screen: "${line.trim()}"`;
      } finally {
        end(terminal.pid);
      }
    },
  },
];
