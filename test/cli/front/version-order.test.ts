import { describe, expect, it } from "vitest";
import { isServerCall } from "../../../src/cli/front/front.ts";
import { isUpgrade } from "../../../src/ipc/version.ts";

describe("isUpgrade", () => {
  it.each([
    ["0.2.0+a", "0.1.9+a", true],
    ["0.10.0+a", "0.9.0+a", true],
    ["1.0.0+a", "1.0.0-rc.1+a", true],
    ["1.0.0-rc.2+a", "1.0.0-rc.1+a", true],
    ["1.0.0-rc.10+a", "1.0.0-rc.9+a", true],
    ["1.0.0-rc.1.1+a", "1.0.0-rc.1+a", true],
    ["1.0.0-beta+a", "1.0.0-2+a", true],
    ["1.0.0+a", "1.0.0+b", true],
    ["1.0.0+a", "1.0.0+a", false],
    ["0.9.0+a", "0.10.0+b", false],
    ["1.0.0-rc.1+a", "1.0.0+a", false],
    ["1.0.0+source", "1.0.0+a", false],
    ["1.0.0+a", "1.0.0+source", false],
  ])("a front of %s and a daemon of %s: %s", (own, theirs, expected) => {
    expect(isUpgrade(own, theirs, true)).toBe(expected);
  });

  it("compares only versions once a front serves its client: two builds would take the home from each other", () => {
    expect(isUpgrade("1.0.0+a", "1.0.0+b", false)).toBe(false);
    expect(isUpgrade("1.1.0+a", "1.0.0+b", false)).toBe(true);
  });
});

describe("isServerCall", () => {
  it.each([
    [[], true],
    [["--root", "/x", "--root=/y", "--model", "m", "--max-tokens", "9"], true],
    [["--standalone"], false],
    [["--help"], false],
    [["doctor"], false],
    [["--root", "/x", "import", "f", "n"], false],
    [["--root"], false],
    [["--model", "--help"], false],
    [["--rot", "x"], false],
  ])("%j: %s", (words, expected) => {
    expect(isServerCall(words, () => false)).toBe(expected);
  });

  it("is false at a terminal, where help is shown", () => {
    expect(isServerCall([], () => true)).toBe(false);
    expect(isServerCall(["--root", "/x"], () => true)).toBe(true);
  });
});
