import fc from "fast-check";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { replaceConfigFile } from "../../../src/cli/setup/config-file.ts";
import { type ClientTarget, clientTable } from "../../../src/cli/setup/clients.ts";
import { planAdd } from "../../../src/cli/setup/plan.ts";
import { removeEntryOf } from "../../../src/cli/setup/uninstall.ts";
import { jsoncDocument, tomlDocument, yamlDocument } from "./documents.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-plan-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function targetOf(id: string): ClientTarget {
  const client = clientTable({ platform: "linux", userHome: folder, environment: {} }).find((one) => one.id === id);
  if (client === undefined) throw new Error(id);
  return { client, file: join(folder, "settings"), isFound: true };
}

async function write(target: ClientTarget, script: string, home: string | undefined): Promise<void> {
  const program = { node: "/usr/bin/node", script, ...(home !== undefined && { home }) };
  const plan = await planAdd(target, program, undefined);
  if (plan.kind !== "change") throw new Error(JSON.stringify(plan));
  await replaceConfigFile(plan.file, plan.text, new Date());
}

test.each([
  ["zed", jsoncDocument],
  ["codex", tomlDocument],
  ["goose", yamlDocument],
])(
  "any file of %s is the same to the byte after set-up, an upgrade and undo, and no backup is left",
  async (id, documents) => {
    const target = targetOf(id);
    await fc.assert(
      fc.asyncProperty(documents, fc.boolean(), fc.boolean(), async (text, hasMark, isElsewhere) => {
        const original = (hasMark ? "\uFEFF" : "") + text;
        await writeFile(target.file, original);
        await write(target, "/old/cli.mjs", isElsewhere ? "/data" : undefined);
        await write(target, "/new/cli.mjs", isElsewhere ? "/data" : undefined);
        await removeEntryOf(target);
        expect(await readFile(target.file, "utf8")).toBe(original);
        expect(await readdir(folder)).toEqual(["settings"]);
      }),
      { numRuns: 60 },
    );
  },
);
