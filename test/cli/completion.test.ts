import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { access, chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCommands } from "../../src/cli/commands/index.ts";
import { complete } from "../../src/cli/commands/complete.ts";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";
import { runBuilt } from "./terminal/built-shell.ts";

const names = ["big:7b", "smollm2:135m", "smollm2:360m"];
const hostile = "evil$(touch pwned):1b";

let home: DaemonHome;
let environment: Record<string, string>;

beforeAll(async () => {
  home = await makeDaemonHome({}, { models: ["served:8b", hostile, "--yes"].map((name) => ({ name, reply: "Yes." })) });
  const bin = path.join(home.folder, "bin");
  await mkdir(bin);
  const command = path.join(bin, "ollm");
  await writeFile(command, `#!/bin/sh\nexec "${process.execPath}" "${builtCommand}" "$@"\n`);
  await chmod(command, 0o755);
  await writeFile(path.join(home.folder, "report.md"), "");
  environment = { ...home.environment, PATH: `${bin}${path.delimiter}${home.environment["PATH"] ?? ""}` };
  for (const name of names) {
    const file = path.join(home.home, "models", "manifests", "registry.ollama.ai", "library", ...name.split(":"));
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, "{}");
  }
});

afterAll(() => home.close());

/** The candidates of a line whose last word is being typed. */
async function candidates(...words: string[]): Promise<readonly string[]> {
  const { code, stdout, stderr } = await runBuilt(home, ["__complete", String(words.length - 1), ...words]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.split("\t")[0] ?? ""]));
}

describe("ollm __complete", () => {
  it("names the models of Ollama and of the own store without a daemon, but none that a shell would evaluate", async () => {
    const io = home.io();
    await complete(
      createCommands(() => Promise.resolve()),
      ["1", "rm", ""],
      io,
      new AbortController().signal,
    );
    expect(io.out.join("")).toBe("big:7b\nserved:8b\nsmollm2:135m\nsmollm2:360m\n");
    expect(await candidates("run", "--model=smol")).toEqual(["--model=smollm2:135m", "--model=smollm2:360m"]);
    expect(await candidates("pu")).toEqual(["pull"]);
    await expect(access(path.join(home.home, "run"))).rejects.toThrow("ENOENT");
  });

  it("doesn't wait for an Ollama that hangs", async () => {
    home.ollama.misbehave({ kind: "hang", on: "/api/tags", afterLines: 0 });
    expect(await candidates("rm", "")).toEqual(names);
  });

  it("says nothing for a wrong call, or settings that are broken", async () => {
    expect(await candidates("nonsense", "")).toEqual([]);
    const config = path.join(home.home, "config.yaml");
    await writeFile(config, "options: [");
    expect(await candidates("rm", "b")).toEqual(["big:7b"]);
    await writeFile(config, "");
    const wrong = await runBuilt(home, ["__complete", "many"]);
    expect(wrong).toMatchObject({ code: 0, stderr: "" });
  });
});

const hasShell = (shell: string): boolean => spawnSync(shell, ["-c", "exit 0"]).status === 0;

/** What a shell prints for a script. */
async function inShell(shell: string, args: readonly string[], script: string): Promise<string> {
  const child = spawn(shell, [...args, script], {
    env: environment,
    cwd: home.folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "close");
  expect(await readdir(home.folder)).not.toContain("pwned");
  return output.trim();
}

describe.skipIf(!hasShell("bash"))("the script for bash", () => {
  /** `words` as bash splits a line: at : and = too. */
  const completed = (...words: string[]) =>
    inShell(
      "bash",
      ["--norc", "-c"],
      `eval "$(ollm completion bash)"; COMP_WORDS=(ollm ${words.map((word) => `'${word}'`).join(" ")})
       COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _ollm_complete 2>&1; printf '%s\\n' "\${COMPREPLY[@]}"`,
    );

  it("completes commands, options and models, of which it replaces only the part behind : or =", async () => {
    expect(await completed("pu")).toBe("pull");
    expect(await completed("rm", "smollm2", ":", "1")).toBe("135m");
    expect(await completed("rm", "smollm2", ":")).toBe("135m\n360m");
    expect(await completed("run", "--model", "=", "smollm2", ":", "1")).toBe("135m");
    expect(await completed("run", "--model", "=", "b")).toBe("big:7b");
    expect(await completed("rm", "smollm2", ":", "135m", "b")).toBe("big:7b");
    expect(await completed("run", "$(touch pwned)", "")).toBe("");
  });
});

describe.skipIf(!hasShell("fish"))("the script for fish", () => {
  const completed = (line: string) =>
    inShell("fish", ["--no-config", "-c"], `ollm completion fish | source; complete -C '${line}'`);

  it("completes commands, options, models and files", async () => {
    expect(await completed("ollm pu")).toMatch(/^pull\tdownload a model/);
    expect(await completed("ollm rm smollm2:1")).toBe("smollm2:135m");
    expect(await completed("ollm run --model=b")).toBe("--model=big:7b");
    expect(await completed("ollm run --file=rep")).toBe("--file=report.md");
    expect(await completed("ollm run --file rep")).toBe("report.md");
    expect(await completed("ollm run (touch pwned) ")).toBe("");
  });
});

describe.skipIf(!hasShell("zsh"))("the script for zsh", () => {
  /** The line after Tab in an interactive zsh at a pseudo terminal, as its completion system leaves it. */
  const completed = (line: string) =>
    inShell(
      "zsh",
      ["-f", "-c"],
      `zmodload zsh/zpty
       zpty shell zsh -f -i
       zpty -w shell 'PS1=; eval "$(ollm completion zsh)"; show() { print -r -- "<$BUFFER>"; zle kill-whole-line; }; zle -N show; bindkey "^X" show; print ready-$((1 + 1))'
       zpty -r shell found '*ready-2*'
       zpty -w -n shell $'${line}\\t\\x18'
       zpty -r shell found '*<ollm*>*'
       print -r -- "\${\${found##*<}%%>*}"
       zpty -d shell`,
    );

  it("completes commands, options, models and files", async () => {
    expect(await completed("ollm pu")).toBe("ollm pull");
    expect(await completed("ollm rm smollm2:1")).toBe("ollm rm smollm2:135m");
    expect(await completed("ollm run --model=b")).toBe("ollm run --model=big:7b");
    expect(await completed("ollm run --file=rep")).toBe("ollm run --file=report.md");
  });
});
