import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { createFolderStates, readFolder } from "../../../src/orchestrator/projects/folder-state.ts";
import { writeFiles } from "../../support/project-client.ts";

it("says when a folder that was read hides other tools: not every system can watch folders", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-folder-state-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  let [nowMs, said] = [0, 0];
  const states = createFolderStates(
    () => nowMs,
    () => [],
    undefined,
    () => (said += 1),
  );
  /** How often it was said until a second later. */
  const readWith = async (text: string) => {
    await writeFiles(folder, { ".ollm/project.yaml": text });
    nowMs += 1_000;
    await states.of(folder);
    return said;
  };
  expect(await readWith("profile: rust\n")).toBe(0);
  expect(await readWith("tools: {disabled: [recall]}\n")).toBe(1);
  nowMs += 1_000;
  await states.of(folder);
  expect(said).toBe(1);
  expect(await readWith("tools: {disabled: [compare]}\n")).toBe(2);
  expect(await readWith("profile: go\n")).toBe(3);
  expect(await readWith("profile: python\n")).toBe(3);
});

it.skipIf(process.platform === "win32")("a name with a line break is that of no template", async () => {
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-folder-state-")));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const names = ["a.yaml", "a\nb.yaml", "\nc.yaml", "d.yaml\n", ".e.yaml"];
  await writeFiles(folder, Object.fromEntries(names.map((name) => [`.ollm/templates/${name}`, "template: x\n"])));
  const { ollm } = await readFolder(folder, []);
  expect(ollm.templates.map(({ name }) => name)).toEqual(["a.yaml"]);
});
