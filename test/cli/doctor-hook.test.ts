import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Check } from "../../src/cli/setup/check.ts";
import { doctor } from "../../src/cli/setup/doctor.ts";
import { guideIn } from "../../src/cli/setup/guide-plan.ts";
import { olderGuide } from "../support/older-guide.ts";
import { silentIo } from "../support/silent-io.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-doctor-"));
  await mkdir(path.join(folder, "home"), { mode: 0o700 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("the hook, for ollm doctor,", () => {
  const hookIn = (program: string, script: string) =>
    guideIn(`hook ${JSON.stringify(program)} ${JSON.stringify(script)} hook`);
  const write = async (name: string, text: string) => {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  };
  const hookOf = async (name: string) => {
    const environment = { OLLM_HOME: path.join(folder, "home"), OLLAMA_HOST: "127.0.0.1:1" };
    let written = "";
    const stdout = (part: string): void => void (written += part);
    const machine = { platform: process.platform, node: process.execPath, script: path.join(folder, "cli.mjs") };
    const places = { userHome: folder, workingDirectory: folder };
    await doctor({ json: true }, { ...silentIo, ...machine, ...places, environment, stdout });
    const { checks } = JSON.parse(written) as { readonly checks: readonly Check[] };
    return checks.filter((check) => check.name === `${name} hook`);
  };
  const skill = ".claude/skills/ollm";

  it("is off until it is set up, and a file of hooks of the user's is none of ours", async () => {
    for (const name of [".claude", ".codex", ".cursor"]) await mkdir(path.join(folder, name));
    const off = [{ status: "ok", message: "off; ollm setup --plugin offers it" }];
    expect(await hookOf("Claude Code")).toMatchObject(off);
    expect(await hookOf("Codex")).toMatchObject(off);
    expect(await hookOf("Cursor")).toEqual([]);
    await write(".codex/hooks.json", '{ "hooks": {} }\n');
    expect(await hookOf("Codex")).toMatchObject([
      { status: "ok", message: expect.stringMatching(/hooks\.json has others, which setup leaves/) },
    ]);
  });

  it("is fine if what it starts is there, and stale if that is gone", async () => {
    const script = path.join(folder, "with $ and space", "cli.mjs");
    await write("with $ and space/cli.mjs", "");
    const quoted = `hook "${process.execPath}" "${script.replace("$", String.raw`\$`)}" hook` as const;
    await write(".codex/hooks.json", guideIn(quoted));
    expect(await hookOf("Codex")).toMatchObject([{ status: "ok", message: path.join(folder, ".codex/hooks.json") }]);
    await rm(script);
    expect(await hookOf("Codex")).toMatchObject([
      {
        status: "warn",
        message: expect.stringContaining(`${script} does not exist`),
        hint: "Run `ollm setup --client codex`.",
      },
    ]);
    await write(".codex/hooks.json", hookIn("/gone/node", "/gone/cli.mjs"));
    expect((await hookOf("Codex"))[0]?.message).toContain("/gone/node does not exist");
    await write("cli.mjs", "");
    const current = `hook "${process.execPath}" "${path.join(folder, "cli.mjs")}" hook` as const;
    await write(".codex/hooks.json", olderGuide(current));
    expect((await hookOf("Codex"))[0]?.message).toContain("hooks.json: out of date");
  });

  it("is no plugin of Claude Code without its manifest, and off where Claude Code says so", async () => {
    await write("cli.mjs", "");
    await write(`${skill}/hooks/hooks.json`, hookIn(process.execPath, path.join(folder, "cli.mjs")));
    expect((await hookOf("Claude Code"))[0]?.message).toContain("plugin.json does not exist");
    await write(`${skill}/.claude-plugin/plugin.json`, guideIn("plugin"));
    expect(await hookOf("Claude Code")).toMatchObject([{ status: "ok" }]);
    for (const text of ['{ "disableAllHooks": true }', '{ "enabledPlugins": { "ollm@skills-dir": false } }']) {
      await write(".claude/settings.json", text);
      expect((await hookOf("Claude Code"))[0]?.message).toBe("off in the settings of Claude Code");
    }
  });
});
