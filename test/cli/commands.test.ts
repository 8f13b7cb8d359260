import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { createCommands, usageError } from "../../src/cli/commands.ts";
import { flagOptions } from "../../src/orchestrator/config/flags.ts";

const program = createCommands(() => Promise.reject(new Error("nothing runs here")));

/** Every command that is shown, with those below it. */
function shown(command: Command, path: readonly string[] = []): readonly { readonly path: string; command: Command }[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .flatMap((child) => [
      { path: [...path, child.name()].join(" "), command: child },
      ...shown(child, [...path, child.name()]),
    ]);
}

describe("createCommands", () => {
  it("offers the server's flags, those that the server reads and no others", () => {
    const own = ["--version"];
    const long = program.options.map((option) => option.long ?? "").filter((name) => !own.includes(name));
    expect(long.toSorted()).toEqual(
      Object.keys(flagOptions)
        .map((name) => `--${name}`)
        .toSorted(),
    );
    for (const [name, { type }] of Object.entries(flagOptions)) {
      const option = program.options.find(({ long: flag }) => flag === `--${name}`);
      expect([name, option?.required]).toEqual([name, type === "string"]);
    }
  });

  it("says of every command, argument and option what it means", () => {
    const silent = shown(program).flatMap(({ path, command }) => [
      ...(command.description() === "" ? [path] : []),
      ...command.options.filter(({ description }) => description === "").map(({ flags }) => `${path} ${flags}`),
      ...command.registeredArguments.filter(({ description }) => description === "").map((a) => `${path} ${a.name()}`),
    ]);
    expect(silent).toEqual([]);
  });

  it("tells help that was asked for from wrong usage", async () => {
    const outcome = (...words: string[]) => {
      const quiet = createCommands(() => Promise.resolve()).configureOutput({
        writeOut: () => undefined,
        writeErr: () => undefined,
      });
      return quiet.parseAsync(words, { from: "user" }).then(() => undefined, usageError);
    };
    expect(await outcome("--help")).toBe(0);
    expect(await outcome("-v")).toBe(0);
    expect(await outcome("import")).toBe(2);
    expect(await outcome("nonsense")).toBe(2);
    expect(usageError(new Error("of the work"))).toBeUndefined();
  });
});
