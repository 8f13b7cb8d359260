import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLineSplitter, idInEdge } from "../../src/ipc/lines.ts";

function split(chunks: readonly Buffer[], maxLineBytes: number) {
  const lines: string[] = [];
  const refused: string[] = [];
  const splitter = createLineSplitter({
    maxLineBytes,
    onLine: (text) => void lines.push(text),
    onRefused: ({ why, head, tail }) => {
      refused.push(why);
      expect(Buffer.byteLength(head)).toBeLessThanOrEqual(3 * 1024);
      expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(3 * 1024);
    },
  });
  for (const chunk of chunks) splitter.push(chunk);
  return { lines, refused };
}

describe("createLineSplitter", () => {
  it("returns the same lines however the bytes are cut", () => {
    const bytes = fc
      .uint8Array({ maxLength: 300 })
      .map((array) => Buffer.from(array.map((byte) => (byte < 40 ? 10 : byte))));
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(300)), fc.integer({ min: 1, max: 60 }), (all, cuts, limit) => {
        const at = [0, ...cuts.map((cut) => Math.min(cut, all.length)).toSorted((a, b) => a - b), all.length];
        const chunks = at.slice(1).map((end, index) => all.subarray(at[index], end));
        const parts = all.toString("latin1").split("\n").slice(0, -1);
        const expected = parts
          .filter((part) => part.length <= limit)
          .map((part) => Buffer.from(part, "latin1").toString("utf8").trim());
        expect(split(chunks, limit)).toEqual({
          lines: expected.filter((text) => text !== ""),
          refused: parts
            .map((part) => part.length)
            .filter((length) => length > limit)
            .map((length) => `message of ${length} bytes is over the limit of 0 MiB; name files instead`),
        });
      }),
    );
  });

  it("refuses a line that nests too deep, and passes on the edges, where its id may be", () => {
    const deep = `{"id":7,"params":${"[".repeat(1_000)}${"]".repeat(1_000)},"last":1}`;
    expect(split([Buffer.from(`${deep}\n{"id":8}\n`)], 10_000)).toEqual({
      lines: ['{"id":8}'],
      refused: ["message nests deeper than 128 levels"],
    });
  });

  it("discards an incomplete line when cleared", () => {
    const lines: string[] = [];
    const splitter = createLineSplitter({
      maxLineBytes: 10,
      onLine: (text) => void lines.push(text),
      onRefused: () => undefined,
    });
    splitter.push(Buffer.from("half"));
    splitter.clear();
    splitter.push(Buffer.from("whole\n"));
    expect(lines).toEqual(["whole"]);
  });
});

describe("idInEdge", () => {
  it.each([
    ['{"jsonrpc":"2.0","id":7,"method', 7],
    ['...."}},"id" : "seven"}', "seven"],
    ["xxxxxx", undefined],
  ])("finds the id in %s", (text, id) => {
    expect(idInEdge(text)).toBe(id);
  });
});
