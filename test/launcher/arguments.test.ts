import { describe, expect, it } from "vitest";
import { serverArguments } from "../../src/launcher/decide.ts";

const all = () => true;

describe("serverArguments", () => {
  it("makes a root of each folder", () => {
    expect(serverArguments(["--folders", "/a b", "/c"], all).arguments).toEqual(["--root", "/a b", "--root", "/c"]);
  });

  it("treats a placeholder that the client didn't replace like no folder", () => {
    expect(serverArguments(["--folders", "${user_config.folders}"], all).arguments).toEqual([]);
    expect(serverArguments(["--folders", ""], all).arguments).toEqual([]);
    expect(serverArguments(["--folders"], all).arguments).toEqual([]);
    expect(serverArguments([], all).arguments).toEqual([]);
  });

  it("leaves out a folder that doesn't exist, and reports it", () => {
    expect(serverArguments(["--folders", "/gone", "/here"], (folder) => folder === "/here")).toEqual({
      arguments: ["--root", "/here"],
      missing: ["/gone"],
    });
  });

  it("passes on preceding arguments", () => {
    expect(serverArguments(["--model", "m", "--folders", "/a"], all).arguments).toEqual([
      "--model",
      "m",
      "--root",
      "/a",
    ]);
  });
});
