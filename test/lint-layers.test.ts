import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parse } from "jsonc-parser";
import picomatch from "picomatch";
import { readSources } from "../scripts/house/sources.ts";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** [file, what it imports, whether the layers allow it] */
const imports: readonly (readonly [string, string, "allowed" | "refused"])[] = [
  ["src/tools/a.ts", "zod", "allowed"],
  ["src/tools/a.ts", "./b.ts", "allowed"],
  ["src/tools/a.ts", "../orchestrator/api/types.ts", "allowed"],
  ["src/tools/a.ts", "../orchestrator/util/nearest.ts", "allowed"],
  ["src/tools/a.ts", "../orchestrator/engines/engine.ts", "refused"],
  ["src/tools/a.ts", "../orchestrator/world.ts", "refused"],
  ["src/tools/a.ts", "../server/mcp/pipeline.ts", "refused"],
  ["src/tools/a.ts", "../resources/models.ts", "refused"],
  ["src/tools/a.ts", "@modelcontextprotocol/server", "refused"],
  ["src/tools/a.ts", "node:fs", "refused"],
  ["src/tools/a.ts", "node:fs/promises", "refused"],
  ["src/resources/a.ts", "../orchestrator/api/types.ts", "allowed"],
  ["src/resources/a.ts", "../tools/list-models.ts", "refused"],
  ["src/resources/a.ts", "../orchestrator/storage/document.ts", "refused"],
  ["src/prompts/a.ts", "../orchestrator/util/nearest.ts", "allowed"],
  ["src/prompts/a.ts", "../tools/template-input.ts", "refused"],
  ["src/prompts/a.ts", "../orchestrator/templates/templates.ts", "refused"],
  ["src/prompts/a.ts", "@modelcontextprotocol/server", "refused"],
  ["src/cli/main.ts", "../server/daemon/standalone.ts", "allowed"],
  ["src/cli/main.ts", "../tools/list-models.ts", "refused"],
  ["src/cli/a.ts", "../server/daemon/client.ts", "allowed"],
  ["src/cli/a.ts", "../orchestrator/config/load.ts", "allowed"],
  ["src/cli/a.ts", "../orchestrator/util/control-characters.ts", "allowed"],
  ["src/cli/a.ts", "./table.ts", "allowed"],
  ["src/cli/a.ts", "../server/daemon/standalone.ts", "refused"],
  ["src/cli/a.ts", "../orchestrator/orchestrator.ts", "refused"],
  ["src/cli/a.ts", "@modelcontextprotocol/client", "refused"],
  ["src/cli/commands/a.ts", "../../server/daemon/client.ts", "allowed"],
  ["src/cli/commands/a.ts", "../../ipc/claim.ts", "allowed"],
  ["src/cli/commands/a.ts", "../../orchestrator/util/columns.ts", "allowed"],
  ["src/cli/commands/a.ts", "../../server/daemon/standalone.ts", "refused"],
  ["src/cli/commands/a.ts", "../../server/mcp/pipeline.ts", "refused"],
  ["src/cli/commands/a.ts", "../../tools/compare.ts", "refused"],
  ["src/cli/commands/a.ts", "../../resources/models.ts", "refused"],
  ["src/cli/commands/a.ts", "../../orchestrator/recall/memories.ts", "refused"],
  ["src/cli/commands/a.ts", "@modelcontextprotocol/client", "refused"],
  ["src/cli/terminal/a.ts", "../../server/daemon/client.ts", "allowed"],
  ["src/cli/terminal/a.ts", "../../ipc/claim.ts", "allowed"],
  ["src/cli/terminal/a.ts", "../../orchestrator/util/columns.ts", "allowed"],
  ["src/cli/terminal/a.ts", "../../server/daemon/standalone.ts", "refused"],
  ["src/cli/terminal/a.ts", "../../server/mcp/pipeline.ts", "refused"],
  ["src/cli/terminal/a.ts", "../../tools/compare.ts", "refused"],
  ["src/cli/terminal/a.ts", "../../resources/models.ts", "refused"],
  ["src/cli/terminal/a.ts", "../../orchestrator/recall/memories.ts", "refused"],
  ["src/cli/terminal/a.ts", "@modelcontextprotocol/client", "refused"],
  ["src/cli/commands/a.ts", "../setup/plan.ts", "allowed"],
  ["src/cli/commands/a.ts", "../terminal/io.ts", "allowed"],
  ["src/cli/commands/a.ts", "../program.ts", "refused"],
  ["src/cli/terminal/a.ts", "../front/shell-front.ts", "allowed"],
  ["src/cli/terminal/a.ts", "./table.ts", "allowed"],
  ["src/cli/terminal/a.ts", "../setup/plan.ts", "refused"],
  ["src/cli/terminal/a.ts", "../commands/rate.ts", "refused"],
  ["src/cli/terminal/a.ts", "../program.ts", "refused"],
  ["src/cli/setup/a.ts", "../commands/setup.ts", "refused"],
  ["src/cli/setup/a.ts", "../program.ts", "refused"],
  ["src/cli/setup/a.ts", "jsonc-parser", "allowed"],
  ["src/cli/setup/a.ts", "node:fs/promises", "allowed"],
  ["src/cli/setup/a.ts", "../terminal/io.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../ipc/handshake.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/config/load.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/storage/replace-file.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/util/ollama-host.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/engines/llama-cpp/store/reader.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/engines/llama-cpp/install/lock.ts", "allowed"],
  ["src/cli/setup/a.ts", "../../orchestrator/orchestrator.ts", "refused"],
  ["src/cli/setup/a.ts", "../../orchestrator/engines/llama-cpp/store/pull.ts", "refused"],
  ["src/cli/setup/a.ts", "../../orchestrator/engines/ollama/index.ts", "refused"],
  ["src/cli/setup/a.ts", "../../orchestrator/engines/llama-cpp/index.ts", "refused"],
  ["src/cli/setup/a.ts", "../../server/mcp/pipeline.ts", "refused"],
  ["src/cli/setup/a.ts", "@modelcontextprotocol/client", "refused"],
  ["src/cli/front/a.ts", "../terminal/io.ts", "refused"],
  ["src/cli/front/a.ts", "node:net", "allowed"],
  ["src/cli/front/a.ts", "../../ipc/claim.ts", "allowed"],
  ["src/cli/front/a.ts", "../../server/daemon/client.ts", "refused"],
  ["src/cli/front/a.ts", "zod", "refused"],
  ["src/launcher/a.ts", "node:child_process", "allowed"],
  ["src/launcher/a.ts", "./node-folders.ts", "allowed"],
  ["src/launcher/a.ts", "../orchestrator/util/programs.ts", "allowed"],
  ["src/launcher/a.ts", "../server/daemon/standalone.ts", "refused"],
  ["src/launcher/a.ts", "../ipc/claim.ts", "refused"],
  ["src/launcher/a.ts", "../orchestrator/api/errors.ts", "refused"],
  ["src/launcher/a.ts", "zod", "refused"],
  ["src/ipc/a.ts", "node:net", "allowed"],
  ["src/ipc/a.ts", "../orchestrator/api/errors.ts", "allowed"],
  ["src/ipc/a.ts", "../orchestrator/storage/process-alive.ts", "allowed"],
  ["src/ipc/a.ts", "../orchestrator/storage/replace-file.ts", "refused"],
  ["src/ipc/a.ts", "zod", "refused"],
  ["src/ipc/a.ts", "../server/daemon/client.ts", "refused"],
  ["src/orchestrator/a.ts", "./engines/engine.ts", "allowed"],
  ["src/orchestrator/a.ts", "../tools/definition.ts", "refused"],
  ["src/orchestrator/a.ts", "../server/mcp/pipeline.ts", "refused"],
  ["src/orchestrator/a.ts", "../cli/main.ts", "refused"],
  ["src/orchestrator/a.ts", "@modelcontextprotocol/server", "refused"],
  ["src/orchestrator/a.ts", "@modelcontextprotocol/sdk/types.js", "refused"],
  ["src/orchestrator/api/a.ts", "../util/values.ts", "refused"],
  ["src/orchestrator/util/a.ts", "../api/errors.ts", "allowed"],
  ["src/orchestrator/util/a.ts", "../storage/document.ts", "refused"],
  ["src/orchestrator/util/a.ts", "../engines/engine.ts", "refused"],
  ["src/orchestrator/config/a.ts", "../storage/replace-file.ts", "allowed"],
  ["src/orchestrator/config/a.ts", "../api/types.ts", "allowed"],
  ["src/orchestrator/config/a.ts", "../world.ts", "refused"],
  ["src/orchestrator/storage/a.ts", "../util/parse-yaml.ts", "allowed"],
  ["src/orchestrator/storage/a.ts", "./document.ts", "allowed"],
  ["src/orchestrator/storage/a.ts", "../recall/memories.ts", "refused"],
  ["src/orchestrator/jobs/a.ts", "../storage/regular-file.ts", "allowed"],
  ["src/orchestrator/jobs/a.ts", "../generation/runner.ts", "refused"],
  ["src/orchestrator/memory/measure/a.ts", "../../storage/replace-file.ts", "allowed"],
  ["src/orchestrator/memory/measure/a.ts", "node:os", "allowed"],
  ["src/orchestrator/memory/measure/a.ts", "../plan.ts", "refused"],
  ["src/orchestrator/memory/measure/a.ts", "../../residency/loader.ts", "refused"],
  ["src/orchestrator/memory/measure/a.ts", "../../recall/memories.ts", "refused"],
  ["src/orchestrator/catalog/a.ts", "../engines/engine.ts", "allowed"],
  ["src/orchestrator/catalog/a.ts", "../routing/database.ts", "allowed"],
  ["src/orchestrator/catalog/a.ts", "../residency/slot.ts", "refused"],
  ["src/orchestrator/catalog/a.ts", "../views/listing.ts", "refused"],
  ["src/orchestrator/residency/a.ts", "../catalog/inventory.ts", "allowed"],
  ["src/orchestrator/residency/a.ts", "../memory/plan.ts", "allowed"],
  ["src/orchestrator/residency/a.ts", "./decide/queue-order.ts", "allowed"],
  ["src/orchestrator/residency/a.ts", "../storage/document.ts", "allowed"],
  ["src/orchestrator/residency/a.ts", "../generation/runner.ts", "refused"],
  ["src/orchestrator/residency/a.ts", "../watch/metrics/store.ts", "refused"],
  ["src/orchestrator/residency/a.ts", "../engines/ollama/index.ts", "refused"],
  ["src/orchestrator/residency/a.ts", "../views/listing.ts", "refused"],
  ["src/orchestrator/money/a.ts", "../routing/cost.ts", "allowed"],
  ["src/orchestrator/money/a.ts", "../storage/document.ts", "allowed"],
  ["src/orchestrator/money/a.ts", "../generation/runner.ts", "refused"],
  ["src/orchestrator/money/a.ts", "../residency/slot.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../residency/slots.ts", "allowed"],
  ["src/orchestrator/generation/a.ts", "../catalog/located-model.ts", "allowed"],
  ["src/orchestrator/generation/a.ts", "../routing/choose.ts", "allowed"],
  ["src/orchestrator/generation/a.ts", "../views/listing.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../compare/comparisons.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../storage/document.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../orchestrator.ts", "refused"],
  ["src/orchestrator/checks/a.ts", "../residency/slots.ts", "refused"],
  ["src/orchestrator/checks/a.ts", "../reading/parts.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../checks/checks.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../reading/reader.ts", "refused"],
  ["src/orchestrator/checks/a.ts", "../generation/chain.ts", "refused"],
  ["src/orchestrator/reading/a.ts", "../generation/prompt.ts", "refused"],
  ["src/orchestrator/reading/a.ts", "../recall/text-index.ts", "allowed"],
  ["src/orchestrator/reading/a.ts", "../recall/memories.ts", "refused"],
  ["src/orchestrator/reading/a.ts", "../checks/checks.ts", "refused"],
  ...["recall", "templates", "projects"].flatMap(
    (kept) =>
      [
        [`src/orchestrator/${kept}/a.ts`, "../storage/document.ts", "allowed"],
        [`src/orchestrator/${kept}/a.ts`, "../api/facade-recall.ts", "allowed"],
        [`src/orchestrator/${kept}/a.ts`, "../config/profiles.ts", "allowed"],
        [`src/orchestrator/${kept}/a.ts`, "../generation/runner.ts", "refused"],
        [`src/orchestrator/${kept}/a.ts`, "../config/live.ts", "refused"],
      ] as const,
  ),
  ["src/orchestrator/projects/a.ts", "../config/renamed.ts", "allowed"],
  ["src/orchestrator/compare/a.ts", "../generation/runner.ts", "allowed"],
  ["src/orchestrator/compare/a.ts", "../storage/document.ts", "allowed"],
  ["src/orchestrator/compare/a.ts", "../residency/loader.ts", "refused"],
  ["src/orchestrator/compare/a.ts", "../config/live.ts", "refused"],
  ["src/orchestrator/watch/metrics/a.ts", "../../api/types.ts", "allowed"],
  ["src/orchestrator/watch/metrics/a.ts", "../../storage/document.ts", "allowed"],
  ["src/orchestrator/watch/metrics/a.ts", "../../generation/tally.ts", "refused"],
  ["src/orchestrator/watch/metrics/a.ts", "../../residency/slots.ts", "refused"],
  ["src/orchestrator/watch/metrics/a.ts", "../../views/listing.ts", "refused"],
  ["src/orchestrator/watch/metrics/a.ts", "../learning.ts", "refused"],
  ["src/orchestrator/watch/a.ts", "../api/events.ts", "allowed"],
  ["src/orchestrator/watch/a.ts", "../catalog/inventory.ts", "refused"],
  ["src/orchestrator/watch/a.ts", "./metrics/store.ts", "refused"],
  ["src/orchestrator/generation/a.ts", "../watch/metrics/store.ts", "refused"],
  ["src/orchestrator/views/a.ts", "../watch/metrics/store.ts", "refused"],
  ["src/orchestrator/views/a.ts", "../residency/slots.ts", "allowed"],
  ["src/orchestrator/views/a.ts", "../catalog/inventory.ts", "allowed"],
  ["src/orchestrator/views/a.ts", "../orchestrator.ts", "refused"],
  ["src/orchestrator/views/a.ts", "../generation/runner.ts", "refused"],
  ["src/orchestrator/views/a.ts", "../../server/call/pipeline.ts", "refused"],
  ["src/server/files/a.ts", "../../orchestrator/storage/work-tree.ts", "allowed"],
  ["src/server/files/a.ts", "../call/pipeline.ts", "refused"],
  ["src/server/files/a.ts", "../daemon/run.ts", "refused"],
  ["src/server/files/a.ts", "@modelcontextprotocol/server", "refused"],
  ["src/server/call/a.ts", "../files/files.ts", "allowed"],
  ["src/server/call/a.ts", "../../tools/index.ts", "allowed"],
  ["src/server/call/a.ts", "@modelcontextprotocol/server", "allowed"],
  ["src/server/call/a.ts", "../mcp/create-server.ts", "refused"],
  ["src/server/call/a.ts", "../daemon/run.ts", "refused"],
  ["src/server/call/a.ts", "../../orchestrator/orchestrator.ts", "refused"],
  ["src/server/mcp/a.ts", "../call/pipeline.ts", "allowed"],
  ["src/server/mcp/a.ts", "../../resources/index.ts", "allowed"],
  ["src/server/mcp/a.ts", "../http/listener.ts", "refused"],
  ["src/server/mcp/a.ts", "../daemon/run.ts", "refused"],
  ["src/server/mcp/a.ts", "../../orchestrator/orchestrator.ts", "refused"],
  ["src/server/http/a.ts", "../mcp/create-server.ts", "allowed"],
  ["src/server/http/a.ts", "../daemon/run.ts", "refused"],
  ["src/server/http/a.ts", "../../tools/index.ts", "refused"],
  ["src/server/http/a.ts", "../../orchestrator/orchestrator.ts", "refused"],
  ["src/server/daemon/a.ts", "../../orchestrator/orchestrator.ts", "allowed"],
  ["src/server/daemon/a.ts", "../http/listener.ts", "allowed"],
  ["src/server/daemon/a.ts", "../../cli/main.ts", "refused"],
  ["src/orchestrator/engines/a.ts", "../api/types.ts", "allowed"],
  ["src/orchestrator/engines/a.ts", "../memory/measure/system-probe.ts", "refused"],
  ["src/orchestrator/engines/a.ts", "./ollama/index.ts", "refused"],
  ["src/orchestrator/engines/gguf/a.ts", "../../api/types.ts", "allowed"],
  ["src/orchestrator/engines/gguf/a.ts", "node:fs", "allowed"],
  ["src/orchestrator/engines/gguf/a.ts", "../engine.ts", "allowed"],
  ["src/orchestrator/engines/gguf/a.ts", "../../orchestrator.ts", "refused"],
  ["src/orchestrator/engines/gguf/a.ts", "../../memory/estimate.ts", "refused"],
  ["src/orchestrator/engines/ollama/a.ts", "../gguf/inspect.ts", "allowed"],
  ["src/orchestrator/engines/ollama/a.ts", "../../storage/replace-file.ts", "allowed"],
  ["src/orchestrator/engines/ollama/a.ts", "../engine.ts", "allowed"],
  ["src/orchestrator/engines/ollama/a.ts", "../../memory/estimate.ts", "refused"],
  ["src/orchestrator/engines/ollama/a.ts", "../openai/index.ts", "refused"],
  ["src/orchestrator/engines/openai/a.ts", "../transport.ts", "allowed"],
  ["src/orchestrator/engines/openai/a.ts", "../llama-cpp/store/layout.ts", "refused"],
  ["src/orchestrator/engines/llama-cpp/a.ts", "./child/protocol.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/a.ts", "../ollama/index.ts", "refused"],
  ["src/orchestrator/engines/llama-cpp/store/a.ts", "../index.ts", "refused"],
  ["src/orchestrator/engines/llama-cpp/store/a.ts", "../../engine.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/store/a.ts", "../../gguf/inspect.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/store/a.ts", "../../../storage/replace-file.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/store/a.ts", "../../../memory/measure/system-probe.ts", "refused"],
  ["src/orchestrator/engines/llama-cpp/child/a.ts", "../../../api/errors.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/child/a.ts", "../../engine.ts", "allowed"],
  ["src/orchestrator/engines/llama-cpp/child/a.ts", "../../../residency/decide/eviction.ts", "refused"],
  ...["memory", "routing"].flatMap(
    (pure) =>
      [
        [`src/orchestrator/${pure}/a.ts`, "../api/types.ts", "allowed"],
        [`src/orchestrator/${pure}/a.ts`, "picomatch", "allowed"],
        [`src/orchestrator/${pure}/a.ts`, "node:fs/promises", "refused"],
        [`src/orchestrator/${pure}/a.ts`, "undici", "refused"],
        [`src/orchestrator/${pure}/a.ts`, "../engines/engine.ts", "refused"],
        [`src/orchestrator/${pure}/a.ts`, "../orchestrator.ts", "refused"],
      ] as const,
  ),
  ["src/orchestrator/residency/decide/a.ts", "../../api/types.ts", "allowed"],
  ["src/orchestrator/residency/decide/a.ts", "../../memory/plan.ts", "allowed"],
  ["src/orchestrator/residency/decide/a.ts", "node:os", "refused"],
  ["src/orchestrator/residency/decide/a.ts", "undici", "refused"],
  ["src/orchestrator/residency/decide/a.ts", "../queue.ts", "refused"],
  ["src/orchestrator/residency/decide/a.ts", "../../engines/engine.ts", "refused"],
];

/** [file, what it may import the types of, and nothing else] */
const typeImports: readonly (readonly [string, string])[] = [
  ["src/cli/commands/types.ts", "../../tools/index.ts"],
  ["src/cli/commands/more-types.ts", "../../resources/index.ts"],
  ["src/orchestrator/residency/types.ts", "../config/schema.ts"],
  ["src/orchestrator/money/types.ts", "../engines/engine.ts"],
  ["src/orchestrator/generation/types.ts", "../engines/engine.ts"],
  ["src/orchestrator/checks/types.ts", "../generation/ports.ts"],
  ["src/orchestrator/reading/types.ts", "../generation/ports.ts"],
  ["src/orchestrator/views/types.ts", "../engines/engine.ts"],
  ["src/server/http/types.ts", "../../orchestrator/config/schema.ts"],
];

/** [statement, whether it stays when the types are taken away] */
const waysToImport: readonly (readonly [statement: (specifier: string) => string, "type" | "value"])[] = [
  [(specifier) => `import type { A } from "${specifier}"; export type B = A;`, "type"],
  [(specifier) => `export type { C } from "${specifier}";`, "type"],
  // Stays as `import "..."`.
  [(specifier) => `import { type L } from "${specifier}"; export type M = L;`, "value"],
  [(specifier) => `import { d } from "${specifier}"; export const e = d;`, "value"],
  [(specifier) => `export { f } from "${specifier}";`, "value"],
  [(specifier) => `export * as g from "${specifier}";`, "value"],
  [(specifier) => `export const h = (): Promise<unknown> => import("${specifier}");`, "value"],
];

interface Diagnostic {
  readonly code: string;
  readonly filename: string;
  readonly labels: readonly { readonly span: { readonly line: number } }[];
}

/** All folders of the sources but `src` itself and the wiring of the orchestrator. */
const rooms = [...new Set(readSources().map(({ room }) => `src/${room}`))].filter(
  (room) => room !== "src/orchestrator",
);
/** The globs of each row that restricts imports, but those for several rooms at any depth. */
const rows: readonly (readonly string[])[] = (
  parse(readFileSync(join(root, ".oxlintrc.json"), "utf8")) as {
    overrides: readonly { readonly files: readonly string[]; readonly rules: Readonly<Record<string, unknown>> }[];
  }
).overrides
  .filter(({ files, rules }) => "no-restricted-imports" in rules && !files.includes("src/orchestrator/**/*.ts"))
  .map(({ files }) => files);

let folder: string;
let refused: ReadonlySet<string>;
/** `rule file` of every finding. */
let others: readonly string[];

/** Line of an import in its file: all imports of one file stand in one file, one a line. */
const lineOf = (file: string, specifier: string): number =>
  imports.filter(([other]) => other === file).findIndex(([, other]) => other === specifier) + 1;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-layers-"));
  // Layers need no types, and reading those of every dependency takes 20 s.
  const config = (await readFile(join(root, ".oxlintrc.json"), "utf8")).replace(
    '"typeAware": true',
    '"typeAware": false',
  );
  await writeFile(join(folder, ".oxlintrc.json"), config);
  for (const file of new Set(imports.map(([path]) => path))) {
    const lines = imports
      .filter(([path]) => path === file)
      .map(
        ([, specifier], index) =>
          [
            `export * as name${index} from "${specifier}";`,
            `import type * as name${index} from "${specifier}"; export type Name${index} = typeof name${index};`,
            `export const name${index} = (): Promise<unknown> => import("${specifier}");`,
          ][index % 3],
      );
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), `${lines.join("\n")}\n`);
  }
  for (const [file, specifier] of typeImports) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), waysToImport.map(([statement]) => `${statement(specifier)}\n`).join(""));
  }
  await writeFile(
    join(folder, "src/orchestrator/circle-a.ts"),
    'import type { B } from "./circle-b.ts";\nexport type A = B;\n',
  );
  await writeFile(
    join(folder, "src/orchestrator/circle-b.ts"),
    `import type { A } from "./circle-a.ts";\nexport type B = A;\nexport function long() {\n${"  Math.random();\n".repeat(120)}}\n`,
  );
  const oxlint = join(root, "node_modules/oxlint/bin/oxlint");
  // Exits with 1 because there are findings: the report is what counts.
  const { stdout } = await promisify(execFile)(process.execPath, [oxlint, "--format", "json", "--threads", "1"], {
    cwd: folder,
    maxBuffer: 64 * 1024 ** 2,
  }).catch((error: { stdout: string }) => error);
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: readonly Diagnostic[] };
  others = diagnostics.map(({ code, filename }) => `${code} ${filename.replaceAll("\\", "/")}`);
  refused = new Set(
    diagnostics
      .filter(({ code }) => /no-restricted-imports|no-import-type-side-effects/.test(code))
      .map(({ filename, labels }) => `${filename.replaceAll("\\", "/")}:${labels[0]?.span.line}`),
  );
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test.each(rooms)("%s has a row of its own in .oxlintrc.json", (room) => {
  expect(rows.filter((files) => picomatch.isMatch(`${room}/a.ts`, [...files]))).not.toEqual([]);
});

test.each(imports)("%s importing %s is %s", (file, specifier, verdict) => {
  expect(refused.has(`${file}:${lineOf(file, specifier)}`)).toBe(verdict === "refused");
});

test.each(typeImports)("%s may import the types of %s, not its values", (file) => {
  expect(waysToImport.map((_way, index) => (refused.has(`${file}:${index + 1}`) ? "value" : "type"))).toEqual(
    waysToImport.map(([, kind]) => kind),
  );
});

test("a circle of imports is refused, of types alone, too", () => {
  for (const name of ["a", "b"]) expect(others).toContain(`import(no-cycle) src/orchestrator/circle-${name}.ts`);
});

test("a function of more than 120 lines is refused", () => {
  expect(others).toContain("eslint(max-lines-per-function) src/orchestrator/circle-b.ts");
});
