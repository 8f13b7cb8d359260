import { readFile } from "node:fs/promises";
import * as z from "zod";
import { expect, test } from "vitest";
import { createCommands } from "../src/cli/commands/index.ts";

/**
 * What the registry's schema 2025-12-11 and its rules beside it ask of a server that is an npm package
 * (modelcontextprotocol/registry, docs/reference/server-json). Strict: a misspelt field would go unnoticed there.
 */
const input = {
  description: z.string().min(1),
  format: z.enum(["string", "number", "boolean", "filepath"]).optional(),
  isRequired: z.boolean().optional(),
  isSecret: z.boolean().optional(),
  default: z.string().optional(),
};
const exactVersion = z.string().regex(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
const serverSchema = z.strictObject({
  $schema: z.literal("https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"),
  name: z
    .string()
    .max(200)
    .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+\/[a-zA-Z0-9][a-zA-Z0-9._-]*[a-zA-Z0-9]$/),
  title: z.string().min(1).max(100),
  description: z.string().min(1).max(100),
  version: exactVersion,
  repository: z.strictObject({ url: z.url(), source: z.literal("github") }),
  websiteUrl: z.url(),
  icons: z.array(
    z.strictObject({
      src: z.url({ protocol: /^https$/ }).max(255),
      mimeType: z.enum(["image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"]),
      sizes: z.array(z.string().regex(/^(\d+x\d+|any)$/)),
    }),
  ),
  packages: z.tuple([
    z.strictObject({
      registryType: z.literal("npm"),
      identifier: z.string(),
      version: exactVersion,
      runtimeHint: z.literal("npx"),
      transport: z.strictObject({ type: z.literal("stdio") }),
      runtimeArguments: z.array(z.strictObject({ ...input, type: z.literal("positional"), value: z.string() })),
      packageArguments: z.array(
        z.strictObject({
          ...input,
          type: z.literal("named"),
          name: z.string().startsWith("--"),
          isRepeated: z.boolean(),
        }),
      ),
      environmentVariables: z.array(z.strictObject({ ...input, name: z.string().regex(/^[A-Z][A-Z0-9_]*$/) })),
    }),
  ]),
});

const read = async (name: string) =>
  JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), "utf8")) as unknown;

test("server.json is what the registry takes, and says what package.json says", async () => {
  const server = serverSchema.parse(await read("server.json"));
  const manifest = z
    .object({
      name: z.string(),
      version: z.string(),
      mcpName: z.string(),
      homepage: z.string(),
      repository: z.object({ url: z.string() }),
    })
    .parse(await read("package.json"));
  expect(server.websiteUrl).toBe(manifest.homepage);
  expect(manifest.repository.url).toBe(`git+${server.repository.url}.git`);
  expect(server).toMatchObject({ name: manifest.mcpName, version: manifest.version });
  expect(server.packages[0]).toMatchObject({ identifier: manifest.name, version: manifest.version });
});

test("the arguments in server.json are options of the server", async () => {
  const server = serverSchema.parse(await read("server.json"));
  const known = createCommands(() => Promise.resolve()).options.map((option) => option.long);
  for (const { name } of server.packages[0].packageArguments) expect(known).toContain(name);
});

test("the icon in server.json is a file of this repository, of the size that it states", async () => {
  const server = serverSchema.parse(await read("server.json"));
  for (const { src, sizes } of server.icons) {
    const file = src.replace("https://raw.githubusercontent.com/ollm-mcp/ollm-mcp/main/", "../");
    const png = await readFile(new URL(file, import.meta.url));
    expect(sizes).toEqual([`${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`]);
  }
});
