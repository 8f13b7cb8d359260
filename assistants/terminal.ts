import { spawn } from "@lydell/node-pty";
import xterm from "@xterm/headless";
import { setTimeout as delay } from "node:timers/promises";

const columns = 120;
const rows = 50;
/** A form is at the bottom; above it may be a clock. */
const formLines = 10;

/** A program in a pseudo-terminal, and what its screen shows. */
export class Terminal {
  readonly #program: ReturnType<typeof spawn>;
  readonly #screen = new xterm.Terminal({ cols: columns, rows, scrollback: 5_000, allowProposedApi: true });
  readonly pid: number;
  readonly columns = columns;
  hasEnded = false;

  constructor(
    file: string,
    words: readonly string[],
    options: { readonly cwd: string; readonly env: Readonly<Record<string, string>> },
  ) {
    this.#program = spawn(file, [...words], { ...options, name: "xterm-256color", cols: columns, rows });
    this.pid = this.#program.pid;
    this.#program.onData((data) => this.#screen.write(data));
    // Programs ask a terminal for its colours and its cursor before they draw.
    this.#screen.onData((data) => this.type(data));
    this.#program.onExit(() => (this.hasEnded = true));
  }

  /** All that was shown, with its colours. */
  get buffer() {
    return this.#screen.buffer.active;
  }

  /** What can be seen now. */
  get text(): string {
    const { active } = this.#screen.buffer;
    const lines = Array.from({ length: rows }, (_, at) =>
      active.getLine(active.viewportY + at)?.translateToString(true),
    );
    return lines.join("\n").trimEnd();
  }

  type(keys: string): void {
    if (!this.hasEnded) this.#program.write(keys);
  }

  /** Types a key of a form, and again if its lines didn't change: keys are lost while it is drawn. */
  async press(key: string): Promise<void> {
    const form = (): string => this.text.split("\n").slice(-formLines).join("\n");
    for (let tries = 0; tries < 3; tries += 1) {
      const before = form();
      this.type(key);
      for (let waits = 0; waits < 15; waits += 1) {
        await delay(100);
        if (this.hasEnded || form() !== before) return;
      }
    }
  }

  /** The first match on the screen. Rejects with the screen when there is none within `limitMs`. */
  async shows(pattern: RegExp, limitMs: number): Promise<string> {
    const endAt = performance.now() + limitMs;
    for (;;) {
      const found = pattern.exec(this.text);
      if (found !== null) return found[0];
      if (performance.now() > endAt || this.hasEnded)
        throw new Error(`${this.hasEnded ? "ended" : "the screen"} without ${String(pattern)}:\n${this.text}`);
      await delay(20);
    }
  }
}
