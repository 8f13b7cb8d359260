import { createHash } from "node:crypto";
import { expect, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { guideIn } from "../../src/cli/setup/guide-plan.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient } from "../support/memory-client.ts";

const uri = "skill://ollm/SKILL.md";
const entry = z.strictObject({
  uri: z.string(),
  frontmatter: z.strictObject({ name: z.string(), description: z.string() }),
  resources: z.array(
    z.strictObject({ uri: z.string(), digest: z.string().regex(/^sha256:[\da-f]{64}$/), size: z.int() }),
  ),
});

it.each(["legacy", "modern"] as const)("a %s client finds the guide as a skill, and can verify it", async (era) => {
  const { client, close } = await connectMemoryClient(createFakeOrchestrator(), { era });
  onTestFinished(close);
  const { extensions, resources } = client.getServerCapabilities() ?? {};
  expect([extensions?.["io.modelcontextprotocol/skills"], resources !== undefined]).toEqual([{}, true]);

  const listed = await client.request({ method: "skills/list", params: {} }, z.looseObject({ skills: z.array(entry) }));
  const got = await client.request({ method: "skills/get", params: { uri } }, z.looseObject({ skill: entry }));
  expect(listed.skills).toEqual([got.skill]);
  for (const answer of [listed, got]) {
    const hints = era === "modern" ? { ttlMs: 300_000, cacheScope: "public" } : {};
    expect([answer["ttlMs"], answer["cacheScope"]]).toEqual([Object.values(hints)[0], Object.values(hints)[1]]);
  }

  const { contents } = await client.readResource({ uri });
  expect(contents).toMatchObject([{ uri, mimeType: "text/markdown" }]);
  const { text } = contents[0] as { text: string };
  const bytes = Buffer.from(text);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  expect(got.skill.resources).toEqual([{ uri, digest, size: bytes.length }]);
  const [, head = ""] = text.split("---\n");
  expect(parse(head)).toEqual(got.skill.frontmatter);
  // The name is the last part of the skill's path.
  expect(uri).toBe(`skill://${got.skill.frontmatter.name}/SKILL.md`);
  // What setup writes, without the line by which it knows its own file.
  expect(text).toBe(guideIn("skill").replace(/^<!--.*\n/m, ""));

  // Lists of others are as long as before.
  const { resources: found } = await client.listResources();
  expect(found.filter((each) => each.uri.startsWith("skill:"))).toEqual([]);
  for (const wrong of [`${uri}x`, "skill://ollm", 7, undefined]) {
    const asked = client.request({ method: "skills/get", params: { uri: wrong } }, z.looseObject({}));
    await expect(asked).rejects.toMatchObject({ code: -32602 });
  }
});
