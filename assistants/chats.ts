import { setTimeout as delay } from "node:timers/promises";
import type { Result, Turn } from "./models.ts";
import { type Row, expectIn, generate, limitMs, quoted, slowly, underWay } from "./row.ts";
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

/** Types a prompt for a row into a new session, and ends it after `work`. Rejects with what its screen showed. */
async function inChat<Done>(
  world: World,
  row: string,
  turn: Turn | undefined,
  work: (terminal: Terminal) => Promise<Done>,
  typed = `Please do this: [[${row}]]`,
): Promise<Done> {
  const { chat } = world.assistant;
  world.models.plays.set(row, (results) => (results.length === 0 ? turn : undefined));
  const requests = (): number => world.models.asked.filter((each) => each.row === row).length;
  const before = requests();
  const terminal = world.chat();
  try {
    void approve(terminal, chat.asks);
    await terminal.shows(chat.ready, limitMs);
    await delay(2_000);
    for (let tries = 0; tries < 6 && requests() === before; tries += 1) {
      // What is typed while it starts may be lost, and a key right after a text is taken for a part of it.
      if (!terminal.text.includes(`[[${row}]]`)) terminal.type(typed);
      await delay(500);
      terminal.type("\r");
      for (let waits = 0; waits < 40 && requests() === before; waits += 1) await delay(100);
    }
    return await work(terminal);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${terminal.text}`, { cause: error });
  } finally {
    end(terminal.pid);
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

function answerForm(world: World, row: string, model: string, isYes: boolean): Promise<string> {
  const { form } = world.assistant.chat;
  const turn = { name: world.assistant.tool("manage_model"), input: { action: "delete", model } };
  const work = async (terminal: Terminal): Promise<string> => {
    if (form === undefined) {
      const { text } = await toldTo(world, row);
      if (!world.ollama.models.has(model)) throw new Error("deleted without a question");
      return /ask the user/i.test(text) ? "no form: told to ask the user" : `no form: told "${quoted(text)}"`;
    }
    await terminal.shows(form.shown, limitMs);
    await delay(500);
    if (isYes) await world.picture("form", terminal, row);
    for (const key of isYes ? form.accept : form.decline) await terminal.press(key);
    const { text } = await toldTo(world, row);
    const isThere = world.ollama.models.has(model);
    if (isThere === isYes) throw new Error(`the model is ${isThere ? "still there" : "gone"}: ${text}`);
    expectIn(text, isYes ? "freed" : "the user declined", "its model is told otherwise");
    return isYes ? "✓ deleted" : "✓ kept; told that the user declined";
  };
  return inChat(world, row, turn, work, `Delete ${model}, please. [[${row}]]`);
}

/** Milliseconds from the key to the end of the engine's work; undefined when only the assistant stopped. */
async function cancelled(world: World, row: string): Promise<number | undefined> {
  world.ollama.reset();
  slowly(world);
  return inChat(world, row, generate(world, { prompt: "Count." }), async (terminal) => {
    const request = await underWay(world);
    await delay(800);
    let pressedAt = performance.now();
    for (const [at, key] of world.assistant.chat.cancel.entries()) {
      if (at > 0) await delay(300);
      pressedAt = performance.now();
      terminal.type(key);
    }
    await Promise.race([request.closed, delay(15_000)]);
    if (request.wasCutByClient === true && request.closedAt !== undefined)
      return Math.round(request.closedAt - pressedAt);
    if (world.assistant.chat.stopped?.test(terminal.text) === true) return undefined;
    throw new Error("neither it nor the engine stopped");
  });
}

/** Of the template that the row `slash` fills. */
const [template, inTemplate] = ["explain-error", "You explain errors to developers."];

/** What an assistant without such commands shows when a person types one. */
async function withoutCommand(world: World): Promise<string> {
  const terminal = world.chat();
  try {
    await terminal.shows(world.assistant.chat.ready, limitMs);
    await delay(4_000);
    terminal.type(`/${template.slice(0, -2)}`);
    await delay(3_000);
    if (terminal.text.includes(template)) throw new Error(`not tried: it lists ${template}\n${terminal.text}`);
    return "it has none: prompts of a server are not in its list";
  } finally {
    end(terminal.pid);
  }
}

/** In a terminal, as a person uses them. */
export const chats: readonly Row[] = [
  {
    id: "progress",
    title: "progress lines",
    run(world) {
      slowly(world);
      const work = async (terminal: Terminal): Promise<string> => {
        await underWay(world);
        const pattern = /(?<=^|\s)(loading \S+:135m|[\w.-]+:135m: \d+ tokens?).*/m;
        const endAt = performance.now() + limitMs;
        // Afterwards, the answer to a call that became a job says the same, in brackets.
        while (world.models.results("progress").length === 0 && performance.now() < endAt) {
          const line = pattern.exec(terminal.text)?.[0];
          if (line !== undefined) await world.picture("progress", terminal, "[[progress]]");
          if (line !== undefined) return `✓ "${quoted(line.replaceAll(/[│┃]/g, "")).trim()}"`;
          await delay(20);
        }
        return "none are shown";
      };
      const turn = generate(world, { prompt: "Count." });
      return inChat(world, "progress", turn, work, "Have a local model count. [[progress]]");
    },
  },
  { id: "accept", title: "a form accepted", run: (world) => answerForm(world, "accept", "spare:1b", true) },
  { id: "decline", title: "a form declined", run: (world) => answerForm(world, "decline", "extra:1b", false) },
  {
    id: "cancel",
    title: "Escape cancels",
    async run(world) {
      const tookMs: number[] = [];
      for (let press = 0; press < 3; press += 1) {
        // Some ask their model about an earlier session when the next one begins.
        const each = await cancelled(world, `cancel-${press}`);
        if (each === undefined) return "it stops, but does not tell the server: the engine goes on";
        tookMs.push(each);
      }
      tookMs.sort((one, other) => one - other);
      const [least = 0, median = 0, most = 0] = tookMs;
      return `${median <= idleWithinMs ? "✓" : "✗"} engine idle after ${median} ms (${least} to ${most})`;
    },
  },
  {
    id: "slash",
    title: "a prompt as a slash command",
    run(world) {
      const command = world.assistant.chat.command?.(template, "[[slash]]");
      if (command === undefined) return withoutCommand(world);
      const work = async (terminal: Terminal): Promise<string> => {
        const { items = [] } = world.models.asked.findLast(({ row }) => row === "slash") ?? {};
        const filled = items.find(({ text }) => text.includes(inTemplate))?.text;
        if (filled === undefined) throw new Error(`its model did not get the template\n${terminal.text}`);
        const [place] = /<error>(\n|\\n)\[\[slash\]\]/.exec(filled) ?? [];
        if (place === undefined) throw new Error(`the argument is not in its place: ${filled.slice(-600)}`);
        return `✓ \`${command.replace("[[slash]]", "…")}\`${place.includes("\\n") ? ", as a JSON string" : ""}`;
      };
      return inChat(world, "slash", undefined, work, command);
    },
  },
  {
    id: "error",
    title: "an error with its next step",
    run(world) {
      const turn = generate(world, { prompt: "Hello.", model: "nowhere:1b" });
      return inChat(world, "error", turn, async (terminal) => {
        const { text, isError } = await toldTo(world, "error");
        expectIn(text, /call \w+|use model/, "no next step");
        await delay(1_000);
        const shown = /no model nowhere.*/.exec(terminal.text) ?? /^.*(\d failed|• Failed).*$/m.exec(terminal.text);
        const screen = shown === null ? "nothing" : `"${shown[0].trim()}"`;
        return `✓ told ${isError ? "as an error" : "as a text"}; on its screen ${screen}`;
      });
    },
  },
];
