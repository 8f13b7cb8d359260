import { describe, expect, it } from "vitest";
import { createResemblance } from "../../../src/orchestrator/recall/similar.ts";

const everything = () => true;

async function similarTo(key: string, value: string, others: Readonly<Record<string, string>>) {
  const resemblance = createResemblance();
  for (const [other, text] of Object.entries(others)) resemblance.put(other, { key: other, value: text });
  resemblance.put(key, { key, value });
  return resemblance.find(key, { key, value }, everything);
}

describe("similar keys", () => {
  it.each([
    ["with another case or separator", "Preferred_Editor", "preferred-editor"],
    ["in camelCase", "preferredEditor", "preferred editor"],
    ["in full-width letters", "ｅｄｉｔｏｒ", "editor"],
    ["with a typo", "databse", "database"],
  ])("include keys %s", async (_what, key, other) => {
    expect(await similarTo(key, "one", { [other]: "two", unrelated: "three" })).toEqual([other]);
  });

  it.each([
    ["that differ in a number", "server-1", "server-2"],
    ["that only start alike", "db", "db-password"],
    ["that are short", "cat", "car"],
  ])("don't include keys %s", async (_what, key, other) => {
    expect(await similarTo(key, "one", { [other]: "two" })).toEqual([]);
  });

  it("include keys with nearly the same value", async () => {
    const others = {
      editor: "The user edits text with Neovim on Linux",
      shell: "The user works in the fish shell",
    };
    expect(await similarTo("tool", "the user edits text with neovim on linux now", others)).toEqual(["editor"]);
  });

  it("include keys with the same short value, a common word and no different number", async () => {
    const others = { "favourite editor": "Helix", pet: "helix", "editor 2": "helix", "which editor": "vim" };
    expect(await similarTo("preferred editor", "helix", others)).toEqual(["favourite editor"]);
  });

  it("never include the key itself, removed entries or hidden ones", async () => {
    const resemblance = createResemblance();
    for (const id of ["a", "b", "c"]) resemblance.put(id, { key: "editor", value: id });
    await resemblance.find("a", { key: "editor", value: "a" }, everything);
    resemblance.remove("b");
    expect(await resemblance.find("a", { key: "editor", value: "a" }, everything)).toEqual(["c"]);
    expect(await resemblance.find("a", { key: "editor", value: "a" }, (id) => id !== "c")).toEqual([]);
  });

  it("are few among thousands of copies", async () => {
    const copies = Object.fromEntries(
      Array.from({ length: 2_000 }, (_unused, index) => [`note ${index}`, "the same few words again"]),
    );
    expect((await similarTo("new", "the same few words again", copies)).length).toBe(5);
  });
});
