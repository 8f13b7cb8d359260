import { execFile } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { engineLimitMs, installedEngine } from "../support/engine.ts";
import { builtCommand } from "../support/stdio-client.ts";
import { writeTinyLora } from "../support/tiny-lora.ts";
import { smolLm2, weightsLimitMs } from "../support/weights.ts";

let daemon: DaemonHome;
afterEach(() => daemon.close());

async function ollm(...words: readonly string[]) {
  const { environment, folder } = daemon;
  const run = promisify(execFile)(process.execPath, [builtCommand, ...words], { env: environment, cwd: folder });
  run.child.stdin?.end();
  return run;
}

const weights = await smolLm2();
const reason = weights.reason === undefined ? "" : ` (skipped: ${weights.reason})`;

describe.skipIf(weights.file === undefined)(`the recipe of docs/custom-models.md${reason}`, () => {
  it(
    "goes from ratings to an adapter, here one that no training made, and to an eval of both models",
    async () => {
      const { enginesFolder } = await installedEngine();
      daemon = await makeDaemonHome({
        OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
        OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true",
      });
      const { folder, home } = daemon;
      await mkdir(home, { recursive: true });
      await symlink(enginesFolder, path.join(home, "engines"), "junction");
      await ollm("import", weights.file ?? "", "base");

      await ollm("config", "set", "training.tasks", "general");
      const asked = ["run", "--task", "general", "--model", "base", "--temperature", "0"];
      await ollm(...asked, "Say hello.");
      await ollm("good");
      const { stdout: exported } = await ollm("export", "--training", "-o", "train.jsonl", "--yes");
      expect(exported).toMatch(/^Wrote 1 line to /);
      const line = JSON.parse(await readFile(path.join(folder, "train.jsonl"), "utf8")) as object;
      expect(line).toMatchObject({
        messages: [
          { role: "user", content: "Say hello." },
          { role: "assistant", content: expect.stringMatching(/hello/i) },
        ],
      });
      expect(await readFile(path.join(folder, "train.card.md"), "utf8")).toContain("| model | base:latest | 1 |");

      // In place of training.
      await writeTinyLora(path.join(folder, "adapter.gguf"));
      await writeFile(path.join(folder, "Modelfile"), "FROM base\nADAPTER ./adapter.gguf\nPARAMETER temperature 0\n");
      const { stdout: created } = await ollm("create", "mine", "-f", "Modelfile");
      expect(created).toContain("Created mine:latest (llama-cpp, ");
      await writeFile(path.join(folder, "Templated"), 'FROM base\nTEMPLATE "{{ .Prompt }}"\n');
      await expect(ollm("create", "other", "-f", "Templated")).rejects.toThrow(
        "formats prompts by the template in the GGUF",
      );

      await writeFile(
        path.join(folder, "cases.jsonl"),
        '{"prompt": "Say hello.", "contains": "ello", "task": "general"}\n',
      );
      const { stdout: shown } = await ollm(
        "eval",
        "cases.jsonl",
        "--models",
        "base",
        "mine",
        "--max-tokens",
        "12",
        "--json",
      );
      const found = JSON.parse(shown) as {
        readonly rows: readonly { readonly model: string; readonly scored: number }[];
      };
      expect(found.rows.map(({ model, scored }) => `${model} ${scored}`).toSorted()).toEqual([
        "base:latest 1",
        "mine:latest 1",
      ]);
      const [base, mine] = await Promise.all(
        ["base", "mine"].map(async (model) => {
          return (await ollm("run", "--model", model, "--temperature", "0", "--max-tokens", "12", "Say hello.")).stdout;
        }),
      );
      expect(mine).toMatch(/\w/);
      expect(mine).not.toBe(base);
    },
    weightsLimitMs + engineLimitMs,
  );
});
