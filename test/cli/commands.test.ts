import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { createCommands, usageError } from "../../src/cli/commands/index.ts";
import texts from "../../src/cli/commands/commands.json" with { type: "json" };
import { firstScreen, helpText } from "../../src/cli/commands/options.ts";
import { clientTable } from "../../src/cli/setup/clients.ts";
import { terminalText } from "../../src/cli/terminal/terminal-text.ts";
import { flagOptions } from "../../src/orchestrator/config/flags.ts";

/** Commands of other programs, which are answered with what to do instead. */
const absent =
  "ask cp delete download info install login logout push remove search signin signout start update upgrade".split(" ");
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

function helpOf(command: Command, width: number): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => width });
  command.outputHelp();
  return text.trim();
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

  it("describes every command, argument and option", () => {
    const undescribed = shown(program).flatMap(({ path, command }) => [
      ...(command.description() === "" ? [path] : []),
      ...command.options.filter(({ description }) => description === "").map(({ flags }) => `${path} ${flags}`),
      ...command.registeredArguments.filter(({ description }) => description === "").map((a) => `${path} ${a.name()}`),
    ]);
    expect(undescribed).toEqual([]);
    // Of the hidden `logs`, too.
    const known = ["ollm", "logs", ...shown(program).map(({ path }) => path)];
    expect(Object.keys(texts.commands).filter((path) => !known.includes(path))).toEqual([]);
  });

  it("shows examples of every command, within the terminal's width", () => {
    const without = shown(program).filter(({ command }) => !helpOf(command, 100).includes("\nExamples:\n"));
    expect(without.map(({ path }) => path)).toEqual([]);
    const wide = shown(program).flatMap(({ command }) =>
      helpOf(command, 60)
        .split("\n")
        .filter((line) => line.startsWith("      ") && line.length > 66),
    );
    expect(wide).toEqual([]);
  });

  it("wraps help at words at any width, below its beginning, except commands to copy", () => {
    for (const columns of [50, 60, 80, 100]) {
      const wide = shown(program).flatMap(({ path, command }) => {
        const [help = ""] = helpText(helpOf(command, columns), { columns }).split("\nExamples:");
        return help.split("\n").flatMap((line) => (line.length < columns ? [] : [`${path} (${columns}): ${line}`]));
      });
      expect(wide).toEqual([]);
    }
    const page = "Usage: ollm x [options] <one> <two>\n\nOptions:\n  --json  print one JSON value: a, b\n";
    expect(terminalText(helpText(page, { columns: 30, hasColour: true }))).toBe(
      "\u001B[1mUsage:\u001B[22m ollm x [options] <one>\n       <two>\n\n\u001B[1mOptions:\u001B[22m\n" +
        "  --json  print one JSON\n          value: a, b\n",
    );
    expect(helpText(page, {})).toBe(page);
    expect(
      helpText("Examples:\n  ollm run a long line of words\n\nExit codes: 0 success, 1 failed", { columns: 20 }),
    ).toBe("Examples:\n  ollm run a long line of words\n\nExit codes: 0\nsuccess, 1 failed");
  });

  it("has --json for every command that prints data", () => {
    const leaves = shown(program).filter(({ command }) => command.commands.length === 0);
    const without = leaves.filter(({ command }) => !command.options.some(({ long }) => long === "--json"));
    // They are interactive, follow a log, or start another program.
    expect(without.map(({ path }) => path).toSorted()).toEqual([
      "agents install",
      "agents remove",
      "chat",
      "completion",
      "config edit",
      "daemon logs",
      "launch",
      "setup",
      "uninstall",
    ]);
  });

  it("points to the help of the command after wrong usage", async () => {
    let written = "";
    const quiet = createCommands(() => Promise.resolve());
    for (const { command } of shown(quiet)) command.configureOutput({ writeErr: (text) => (written += text) });
    await quiet.parseAsync(["config", "get", "a", "--jsn"], { from: "user" }).catch(() => undefined);
    expect(written).toBe(
      "ollm: unknown option '--jsn'; did you mean --json?\n  ollm config get --help shows its usage\n",
    );
  });

  it("names every assistant that setup supports", () => {
    const description = program.commands
      .find((command) => command.name() === "setup")
      ?.options.find(({ long }) => long === "--client")?.description;
    const ids = clientTable({ platform: "linux", userHome: "/home/me", environment: {} }).map(({ id }) => id);
    expect(description).toContain(`: ${ids.join(", ")} (`);
  });

  it("has every command's help in docs/commands.md (vitest -u writes it)", async () => {
    const help = (command: Command) => helpOf(command, 100);
    const sections = shown(program)
      .filter(({ command }) => command.commands.length === 0)
      .map(({ path, command }) => `## ollm ${path}\n\n\`\`\`text\n${help(command)}\n\`\`\`\n`);
    const head = "# Commands\n\nWritten by a test from the commands themselves.\n";
    const page = [head, `\`\`\`text\n${help(program)}\n\`\`\`\n`, ...sections].join("\n");
    await expect(page).toMatchFileSnapshot("../../docs/commands.md");
  });

  it("accepts the names that other programs use without listing them", async () => {
    const hidden = ["ls", "list", "logs", "help", "version", ...absent];
    const help = helpOf(program, 100).split("\n");
    expect(hidden.filter((name) => help.some((line) => line.startsWith(`  ${name} `)))).toEqual([]);
    let ran = 0;
    const quiet = createCommands(() => Promise.resolve(void (ran += 1)));
    for (const words of [["ls", "qwen"], ["list", "--json"], ["logs", "-n", "5"], ["version"]]) {
      await quiet.parseAsync(words, { from: "user" });
    }
    expect(ran).toBe(4);
    for (const name of absent) {
      const called = quiet.parseAsync([name, "a", "--help", "-x"], { from: "user" });
      await expect(called).rejects.toThrow(`ollm has no command ${name}`);
    }
    expect(ran).toBe(4);
  });

  it.each([
    [["help", "config", "set"], "Usage: ollm config set [options] <setting> <value>\n", ""],
    [["help", "ls"], "Usage: ollm models|ls [options] [query]\n", ""],
    [
      ["help", "modles"],
      "",
      "ollm: unknown command 'modles'; did you mean models?\n  ollm help lists commands and options\n",
    ],
    [
      ["help", "config", "gett"],
      "",
      "ollm: unknown command 'gett'; did you mean get?\n  ollm config --help lists its commands\n",
    ],
    [["pul", "a"], "", "ollm: unknown command 'pul'; did you mean pull?\n  ollm help lists commands and options\n"],
    [["zzz"], "", "ollm: unknown command 'zzz'\n  ollm help lists commands and options\n"],
    [
      ["llama3.2:1b", "Hi"],
      "",
      "ollm: unknown command 'llama3.2:1b'\n  To use the model llama3.2:1b: ollm run llama3.2:1b\n",
    ],
  ])("%j prints help, or the nearest command", async (words, out, err) => {
    const written = { out: "", err: "" };
    const quiet = createCommands(() => Promise.resolve());
    for (const command of [quiet, ...shown(quiet).map((each) => each.command)]) {
      command.configureOutput({
        writeOut: (text) => (written.out += text),
        writeErr: (text) => (written.err += text),
      });
    }
    const failed = await quiet.parseAsync(words, { from: "user" }).then(() => undefined, usageError);
    expect([failed, written.out.startsWith(out), written.err]).toEqual([err === "" ? undefined : 2, true, err]);
  });

  it("has a first screen of at most 30 lines at 80 columns, with ten commands, that says where the rest is", () => {
    const lines = firstScreen(program, 80).split("\n");
    expect(lines.length).toBeLessThanOrEqual(30);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    const listed = lines.slice(lines.indexOf("Commands:") + 1, lines.indexOf("Examples:") - 1);
    expect(listed).toHaveLength(10);
    expect(listed.every((line) => /^ {2}[a-z]+ {2,}\S/.test(line))).toBe(true);
    expect(lines.find((line) => line.includes("all commands"))).toContain("ollm help");
    // Narrower terminals wrap the meanings, never the examples.
    expect(
      firstScreen(program, 60)
        .split("\n")
        .filter((line) => line.length > 60),
    ).toEqual([]);
  });

  it("exits with 0 after help and with 2 after wrong usage", async () => {
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
