import type { Plugin } from "esbuild";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The files that build schemas of all types of the protocol, and of OAuth, when they are loaded. */
const schemaFiles = /[\\/]@modelcontextprotocol[\\/]core[\\/]dist[\\/](?:schemas|auth)-[\w-]+\.mjs$/;
/** The files that put all of them into tables, and build those of a connection by the first message. */
const runtimeFiles = /[\\/]@modelcontextprotocol[\\/](?:server|client)[\\/]dist[\\/]src-[\w-]+\.mjs$/;

/** `const NameSchema = …;` at the top of a module, to the `;` after which a line starts that isn't indented. */
const schemaStatement = /^const (\w+Schema) = ([\s\S]*?);\n(?=\n|[^\s})\]])/gm;
const tableLoops = /^for \(const (?:key of SPEC_SCHEMA_KEYS|\[key, schema\] of Object\.entries\(authSchemas\)\)).*\n/gm;
/** All schemas of the legacy revision, built in one function; and what maps methods to them. */
const legacyBuilder = /^function (build\$1)\(\) \{\n([\s\S]*?)\n\treturn \{\n([\s\S]*?)\n\t\};\n\}\n/m;
const methodMaps = /^\t\t\t("[\w/]+"|\w+): (s\.\w+)(?=,?\n)/gm;

/** Asked of every message several times: `safeParse` of a schema that mostly doesn't match is what costs. */
const guards =
  /^const (isJSONRPC(?:Request|Notification|ResultResponse|ErrorResponse)) = \(value\) => (\w+\.safeParse)/gm;
/** What a message must have before its schema is worth a look; all four are strict about other keys. */
const necessary: Readonly<Record<string, string>> = {
  isJSONRPCRequest: `"method" in value && "id" in value`,
  isJSONRPCNotification: `"method" in value && !("id" in value)`,
  isJSONRPCResultResponse: `"result" in value`,
  isJSONRPCErrorResponse: `"error" in value`,
};

/** Copies all of zod into an object when it is loaded. */
const jsonSchemaFile = /[\\/]zod[\\/]v4[\\/]classic[\\/]from-json-schema\.js$/;

const forClient = "?client";
const asIs = Symbol("resolved by this plugin");

/**
 * Leaves out of a start what it doesn't need of the SDK, whose messages are checked as before. Every start would build
 * some 400 schemas, of which an `initialize` uses 20:
 *
 * - the tables `specTypeSchemas` and `isSpecType` name them all; we use neither, and both are empty in the bundle;
 * - without the tables a schema is needed by those alone that name it: marked as pure, the others are dropped;
 * - the legacy revision's own schemas are built one by one when they are asked for.
 *
 * And every call would ask eight times by schema whether a message is a request, a notification or a response: a look at
 * its keys comes first.
 */
export const leanSdk: Plugin = {
  name: "lean-sdk",
  setup(build) {
    // The client, which few commands use, gets a copy of its own: a shared one would hold what either needs.
    build.onResolve({ filter: /^@modelcontextprotocol\/core\/internal$/ }, async ({ path, pluginData, ...from }) => {
      if (pluginData === asIs || !/[\\/]client[\\/]dist[\\/]/.test(from.importer)) return undefined;
      const { importer, kind, resolveDir } = from;
      const found = await build.resolve(path, { importer, kind, resolveDir, pluginData: asIs });
      return { path: found.path, suffix: forClient, pluginData: forClient };
    });
    build.onLoad({ filter: /[\\/]core[\\/]dist[\\/]internal\.mjs$/ }, async ({ path, pluginData, suffix }) => ({
      contents: await readFile(path, "utf8"),
      pluginData: suffix === "" ? undefined : pluginData,
    }));
    build.onResolve({ filter: /^\.\/(?:schemas|auth)-[\w-]+\.mjs$/ }, ({ path, pluginData, resolveDir }) =>
      pluginData === forClient ? { path: join(resolveDir, path), suffix: forClient } : undefined,
    );
    build.onLoad({ filter: schemaFiles }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const lean = replaced(path, text, schemaStatement, (_, name, value) => {
        return `const ${name} = /* @__PURE__ */ (() => ${value})();\n`;
      });
      return { contents: lean, loader: "js" };
    });
    build.onLoad({ filter: jsonSchemaFile }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const asked = text.replaceAll(/\bz(?=\s*\.)/g, () => "z()");
      const lean = replaced(path, asked, /^const z = (\{[\s\S]*?^\});\n/m, (_, value) => {
        return `let made;\nconst z = () => (made ??= ${value});\n`;
      });
      return { contents: lean, loader: "js" };
    });
    build.onLoad({ filter: runtimeFiles }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const empty = replaced(path, text, tableLoops, () => "");
      const built = replaced(path, empty, legacyBuilder, (_, name = "", statements = "", members = "") =>
        lazyBuilder(path, { name, statements, members }),
      );
      const mapped = replaced(path, built, methodMaps, (_, key, value) => `\t\t\tget ${key}() { return ${value}; }`);
      const guarded = replaced(path, mapped, guards, (_, name = "", parse) => {
        return `const ${name} = (value) => typeof value === "object" && value !== null && ${necessary[name]} && ${parse}`;
      });
      return { contents: guarded, loader: "js" };
    });
  },
};

/** The function again, each of its constants behind a function that makes it once. */
function lazyBuilder(
  path: string,
  {
    name: builder,
    statements,
    members,
  }: { readonly name: string; readonly statements: string; readonly members: string },
): string {
  const names = [...statements.matchAll(/^\tconst ([\w$]+) = /gm)].map(([, name = ""]) => name);
  const isOne = new Set(names);
  const asked = (text: string): string =>
    text.replaceAll(/(?<![\w$"']|(?<!\.\.)\.)[\w$]+(?![\w$"']|\s*:)/g, (name) =>
      isOne.has(name) ? `${name}()` : name,
    );
  const lazily = replaced(
    path,
    `${statements}\n\t;`,
    /^\tconst ([\w$]+) = ([\s\S]*?);\n(?=\t[^\s})\]])/gm,
    (_, name, value = "") => `\tconst ${name} = once(() => ${asked(value)});\n`,
  );
  const made: string[] = [];
  const getters = replaced(
    path,
    `${members},\n\t\tend`,
    /^\t\t(\w+)(?:: ([\s\S]*?))?,\n(?=\t\t\w)/gm,
    (_, name = "", value = name) => {
      made.push(`\tconst $${name} = once(() => ${asked(value)});\n`);
      return `\t\tget ${name}() { return $${name}(); },\n`;
    },
  ).replace(/\t\tend$/, "");
  return `function ${builder}() {\n\tconst once = (make) => { let made; return () => (made ??= make()); };\n${lazily}\n${made.join("")}\n\treturn {\n${getters}\n\t};\n}\n`;
}

/** A new version of the SDK may have another shape: then the build fails. */
function replaced(
  path: string,
  text: string,
  pattern: RegExp,
  replacement: (...groups: readonly string[]) => string,
): string {
  const result = text.replace(pattern, replacement);
  if (result === text) throw new Error(`${path} isn't as scripts/lean-sdk.ts expects: what has changed in the SDK?`);
  return result;
}
