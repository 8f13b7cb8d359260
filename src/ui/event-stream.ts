/** An event of a `text/event-stream`; `event` is `message` unless the stream names it. */
export interface StreamEvent {
  readonly event: string;
  readonly data: string;
}

/** Splits a `text/event-stream` into events; chunks may end anywhere, also between `\r` and `\n`. */
export class EventParser {
  #rest = "";
  #event = "";
  #data: string[] = [];

  push(chunk: string): readonly StreamEvent[] {
    const text = this.#rest + chunk;
    // A carriage return at the end may be half of a line break.
    const complete = text.endsWith("\r") ? text.slice(0, -1) : text;
    const lines = complete.split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + text.slice(complete.length);
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): readonly StreamEvent[] {
    if (line === "") {
      const found = this.#data.length === 0 ? [] : [{ event: this.#event || "message", data: this.#data.join("\n") }];
      this.#event = "";
      this.#data = [];
      return found;
    }
    const at = line.indexOf(":");
    const field = at === -1 ? line : line.slice(0, at);
    const value = at === -1 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    // Comments (`: ping`) have an empty field; ids and retry times are not used.
    else if (field === "data") this.#data.push(value);
    return [];
  }
}

/** The events of a body, until it ends. Rejects when its connection breaks. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
