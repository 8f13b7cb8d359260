import { readFileSync, readdirSync } from "node:fs";
import { extname, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync, Visitor, type Statement } from "oxc-parser";

/** A file of `src`; every path is relative to `src`, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Its folder; "" is `src` itself. */
  readonly room: string;
  /** Files of `src` that it imports: static, type-only, re-exported, `import("…")` as an expression and as a type. */
  readonly imports: readonly string[];
  /** Names of its own `interface`, `type`, `class` and `enum` declarations, exported or not. */
  readonly types: readonly string[];
  /** How many names it exports. */
  readonly exports: number;
  /** Lines with anything but white space and comments. */
  readonly codeLines: number;
}

interface Comment {
  readonly start: number;
  readonly end: number;
}

const root = fileURLToPath(new URL("../../src/", import.meta.url));
const parsed = new Set([".ts", ".tsx"]);
const counted = new Set([...parsed, ".css"]);

/** The code of `src`: TypeScript and styles. */
export function readSources(folder = root): readonly SourceFile[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && counted.has(extname(entry.name)))
    .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll("\\", "/"))
    .toSorted()
    .map((file) => readSource(file.slice(folder.length).replace(/^\/+/, ""), readFileSync(file, "utf8")));
}

export function readSource(path: string, text: string): SourceFile {
  const room = posix.dirname(path).replace(/^\.$/, "");
  if (!parsed.has(extname(path))) {
    const comments = [...text.matchAll(/\/\*.*?\*\//gs)].map(({ index, 0: { length } }) => ({
      start: index,
      end: index + length,
    }));
    return { path, text, room, imports: [], types: [], exports: 0, codeLines: codeLines(text, comments) };
  }
  const { program, module, comments, errors } = parseSync(path, text);
  if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`);
  const specifiers = [
    ...module.staticImports.map(({ moduleRequest }) => moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest }) => moduleRequest?.value ?? []),
    ),
  ];
  new Visitor({
    // What is computed is no file of `src`: a child, the built program, an installed engine.
    ImportExpression: ({ source }) => {
      if (source.type === "Literal" && typeof source.value === "string") specifiers.push(source.value);
    },
    TSImportType: ({ source }) => void specifiers.push(source.value),
  }).visit(program);
  return {
    path,
    text,
    room,
    imports: [
      ...new Set(specifiers.filter((name) => name.startsWith(".")).map((name) => posix.join(room, name))),
    ].toSorted(),
    types: program.body.flatMap(typeNames),
    exports: module.staticExports.flatMap(({ entries }) => entries).length,
    codeLines: codeLines(text, comments),
  };
}

function typeNames(statement: Statement): readonly string[] {
  switch (statement.type) {
    case "ExportNamedDeclaration":
      return statement.declaration === null ? [] : typeNames(statement.declaration);
    case "TSInterfaceDeclaration":
    case "TSTypeAliasDeclaration":
    case "TSEnumDeclaration":
      return [statement.id.name];
    case "ClassDeclaration":
      return statement.id === null ? [] : [statement.id.name];
    default:
      return [];
  }
}

function codeLines(text: string, comments: readonly Comment[]): number {
  let code = "";
  let end = 0;
  for (const comment of comments) {
    code += text.slice(end, comment.start) + text.slice(comment.start, comment.end).replaceAll(/[^\n]/g, " ");
    end = comment.end;
  }
  // What is left of a comment in JSX, `{}`, is no code either.
  return (code + text.slice(end)).split("\n").filter((line) => line.replace(/\{\s*\}/, "").trim() !== "").length;
}
