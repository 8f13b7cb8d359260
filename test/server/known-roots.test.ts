import { describe, expect, it } from "vitest";
import { createKnownRoots } from "../../src/server/known-roots.ts";

describe("the roots of a client", () => {
  it("are asked for once, and again after they changed", async () => {
    const roots = createKnownRoots(
      () => undefined,
      () => 0,
    );
    let asked = 0;
    const ask = () => Promise.resolve([`file:///${(asked += 1)}`]);
    const [first, second] = await Promise.all([roots.get(ask), roots.get(ask)]);
    expect(first).toBe(second);
    expect(asked).toBe(1);
    roots.forget();
    expect(await roots.get(ask)).toEqual(["file:///2"]);
  });

  it("are none of a client that can't tell, which is asked again a minute later", async () => {
    const failures: string[] = [];
    let now = 0;
    const roots = createKnownRoots(
      (message) => failures.push(message),
      () => now,
    );
    expect(await roots.get(() => Promise.reject(new Error("timed out")))).toEqual([]);
    expect(failures).toEqual(["roots/list: timed out"]);
    now = 59_999;
    expect(await roots.get(() => Promise.resolve(["file:///a"]))).toEqual([]);
    now = 60_000;
    expect(await roots.get(() => Promise.resolve(["file:///a"]))).toEqual(["file:///a"]);
  });
});
