import type { ProjectKind } from "../api/types.ts";

/** The input of detection: which of `signNames` the folder contains, what its `package.json` says, and source files. */
export interface FolderListing {
  readonly files: ReadonlySet<string>;
  readonly folders: ReadonlySet<string>;
  /** `package.json` declares workspaces. */
  readonly hasWorkspaces: boolean;
  /** `package.json` depends on `typescript`. */
  readonly dependsOnTypeScript?: boolean;
  /** Names of source files, among the first of the folder and of `src`: `main.py`. */
  readonly sources?: readonly string[];
}

export interface Detected {
  readonly kind: ProjectKind;
  /** The signs of that kind, strongest first: `workspaces in package.json`. */
  readonly evidence: readonly string[];
}

const signs: readonly {
  readonly kind: ProjectKind;
  readonly files: readonly string[];
}[] = [
  {
    kind: "typescript-monorepo",
    files: ["pnpm-workspace.yaml", "pnpm-workspace.yml", "lerna.json", "turbo.json", "nx.json", "rush.json"],
  },
  { kind: "rust", files: ["Cargo.toml"] },
  { kind: "go", files: ["go.mod", "go.work"] },
  { kind: "typescript", files: ["tsconfig.json", "deno.json", "deno.jsonc"] },
  { kind: "python", files: ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"] },
  {
    kind: "documentation",
    files: ["mkdocs.yml", "mkdocs.yaml", "docusaurus.config.js", "docusaurus.config.ts", "book.toml", "conf.py"],
  },
];

const docsFolders = ["docs", "doc"];

/** All file and folder names that are looked for: signs of a kind, and `package.json`, whose text may have one. */
export const signNames: readonly string[] = ["package.json", ...signs.flatMap(({ files }) => files), ...docsFolders];

const sourcesOf = { typescript: /(?<!\.d)\.[cm]?tsx?$/, python: /\.py$/ } as const;

/** Whether a file's name is evidence of a kind of project. */
export function isSourceName(name: string): boolean {
  return Object.values(sourcesOf).some((pattern) => pattern.test(name));
}

/**
 * The kind of a project, from the names in its folder. Of several signs, the first in this table decides:
 *
 * | order | sign                                                               | kind                |
 * |-------|--------------------------------------------------------------------|---------------------|
 * | 1     | `workspaces` in `package.json`, pnpm, lerna, turbo, nx, rush       | typescript-monorepo |
 * | 2     | `Cargo.toml`                                                       | rust                |
 * | 3     | `go.mod`, `go.work`                                                | go                  |
 * | 4     | `tsconfig.json`, `deno.json`                                       | typescript          |
 * | 5     | `pyproject.toml`, `setup.py`, `setup.cfg`, `requirements.txt`, ... | python              |
 * | 6     | `mkdocs.yml`, `docusaurus.config.*`, `book.toml`, `conf.py`        | documentation       |
 * | 7     | `typescript` among the dependencies of `package.json`              | typescript          |
 * | 8     | source files in the folder or in `src`, if most are of one kind    | typescript, python  |
 * | 9     | a folder `docs` and none of the above, and no `package.json`       | documentation       |
 *
 * A `package.json` alone says nothing: Python, Rust and documentation projects have one for their tools, and JavaScript is
 * not TypeScript. Undefined without any sign.
 */
export function detect(listing: FolderListing): Detected | undefined {
  const { files, folders, hasWorkspaces, dependsOnTypeScript = false, sources = [] } = listing;
  const found: { readonly kind: ProjectKind; readonly evidence: string }[] = hasWorkspaces
    ? [{ kind: "typescript-monorepo", evidence: "workspaces in package.json" }]
    : [];
  for (const { kind, files: names } of signs) {
    for (const name of names) if (files.has(name)) found.push({ kind, evidence: name });
  }
  if (dependsOnTypeScript) found.push({ kind: "typescript", evidence: "typescript in package.json" });
  const ofKind = Object.entries(sourcesOf).map(([kind, pattern]) => {
    const names = sources.filter((name) => pattern.test(name));
    return { kind: kind as keyof typeof sourcesOf, count: names.length, evidence: names[0] ?? "" };
  });
  const [most, next] = ofKind.toSorted((a, b) => b.count - a.count);
  if (most !== undefined && most.count > (next?.count ?? 0)) found.push({ kind: most.kind, evidence: most.evidence });
  if (!files.has("package.json")) {
    for (const name of docsFolders) if (folders.has(name)) found.push({ kind: "documentation", evidence: `${name}/` });
  }
  const [first] = found;
  if (first === undefined) return undefined;
  // In a monorepo, other signs of TypeScript support the same kind.
  const isOwn = (kind: ProjectKind): boolean =>
    kind === first.kind || (first.kind === "typescript-monorepo" && kind === "typescript");
  return { kind: first.kind, evidence: found.filter(({ kind }) => isOwn(kind)).map(({ evidence }) => evidence) };
}
