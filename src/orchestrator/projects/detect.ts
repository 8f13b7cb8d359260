import type { ProjectKind } from "../facade-projects.ts";

/** What detection looks at: which of `signNames` lie in the folder itself, and what its `package.json` says of workspaces. */
export interface FolderListing {
  readonly files: ReadonlySet<string>;
  readonly folders: ReadonlySet<string>;
  /** `package.json` declares workspaces. */
  readonly hasWorkspaces: boolean;
}

export interface Detected {
  readonly kind: ProjectKind;
  /** What made it that kind, the strongest first: `workspaces in package.json`. */
  readonly evidence: readonly string[];
}

interface Sign {
  readonly kind: ProjectKind;
  readonly files?: readonly string[];
  readonly folders?: readonly string[];
}

const signs: readonly Sign[] = [
  {
    kind: "typescript-monorepo",
    files: ["pnpm-workspace.yaml", "pnpm-workspace.yml", "lerna.json", "turbo.json", "nx.json", "rush.json"],
  },
  { kind: "rust", files: ["Cargo.toml"] },
  { kind: "go", files: ["go.mod", "go.work"] },
  { kind: "typescript", files: ["tsconfig.json"] },
  { kind: "python", files: ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"] },
  {
    kind: "documentation",
    files: ["mkdocs.yml", "mkdocs.yaml", "docusaurus.config.js", "docusaurus.config.ts", "book.toml", "conf.py"],
  },
  { kind: "typescript", files: ["package.json", "deno.json", "jsconfig.json"] },
  { kind: "documentation", folders: ["docs", "doc"] },
];

/** Every name that speaks for a kind. */
export const signNames: readonly string[] = signs.flatMap(({ files = [], folders = [] }) => [...files, ...folders]);

/**
 * The kind of a project, from the names in its folder. A folder with several signs is what stands first here:
 *
 * | order | sign                                                               | kind                |
 * |-------|--------------------------------------------------------------------|---------------------|
 * | 1     | `workspaces` in `package.json`, pnpm, lerna, turbo, nx, rush       | typescript-monorepo |
 * | 2     | `Cargo.toml`                                                       | rust                |
 * | 3     | `go.mod`, `go.work`                                                | go                  |
 * | 4     | `tsconfig.json`                                                    | typescript          |
 * | 5     | `pyproject.toml`, `setup.py`, `setup.cfg`, `requirements.txt`, ... | python              |
 * | 6     | `mkdocs.yml`, `docusaurus.config.*`, `book.toml`, `conf.py`        | documentation       |
 * | 7     | `package.json` alone                                               | typescript          |
 * | 8     | a folder `docs` and nothing of the above                           | documentation       |
 *
 * `package.json` comes late: Python, Rust and documentation projects have one for their tools. Undefined: none of these.
 */
export function detect({ files, folders, hasWorkspaces }: FolderListing): Detected | undefined {
  const found: { readonly kind: ProjectKind; readonly evidence: string }[] = hasWorkspaces
    ? [{ kind: "typescript-monorepo", evidence: "workspaces in package.json" }]
    : [];
  for (const sign of signs) {
    for (const name of sign.files ?? []) if (files.has(name)) found.push({ kind: sign.kind, evidence: name });
    for (const name of sign.folders ?? []) if (folders.has(name)) found.push({ kind: sign.kind, evidence: `${name}/` });
  }
  const [first] = found;
  if (first === undefined) return undefined;
  // A monorepo's other signs of TypeScript are its own.
  const isOwn = (kind: ProjectKind): boolean =>
    kind === first.kind || (first.kind === "typescript-monorepo" && kind === "typescript");
  return { kind: first.kind, evidence: found.filter(({ kind }) => isOwn(kind)).map(({ evidence }) => evidence) };
}

/** The routing profile that suits a kind of project, for prompts that match no other. */
export const profileOfKind: Readonly<Record<ProjectKind, string>> = {
  typescript: "code",
  "typescript-monorepo": "code",
  python: "code",
  rust: "code",
  go: "code",
  documentation: "general",
};

/** Every kind, as `profile` of a project file may name them. */
export const projectKinds = Object.keys(profileOfKind) as readonly ProjectKind[];

/** Undefined for a name that is no kind, `constructor` included. */
export function kindOf(name: string): ProjectKind | undefined {
  return projectKinds.find((kind) => kind === name);
}
