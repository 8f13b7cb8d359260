/**
 * Bundles each page of `src/ui` into one HTML file that requests nothing else: script and style are in it, and its policy
 * names both by their hash, so that no other script runs, whatever a model or a file is called.
 */
import { type Metafile, build } from "esbuild";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

interface Page {
  readonly source: string;
  readonly style: string;
  readonly title: string;
  /** What it may connect to: its daemon, or nothing. A view reaches the server through its host. */
  readonly connects: "'self'" | "'none'";
  /** Served by the daemon: stored, and sent, as gzip; with a manifest. */
  readonly isApp?: true;
}

const view = { style: "src/ui/view.css", connects: "'none'" } as const;

/** By the name in `dist/`. */
const pages: Readonly<Record<string, Page>> = {
  dashboard: {
    source: "src/ui/dashboard.tsx",
    style: "src/ui/style.css",
    title: "ollm",
    connects: "'self'",
    isApp: true,
  },
  "compare-view": { ...view, source: "src/ui/compare-view.tsx", title: "Comparison" },
  "status-view": { ...view, source: "src/ui/status-view.tsx", title: "Status" },
};

export interface BuiltPage {
  /** File name in `dist/`: `dashboard.html.gz`, `status-view.html`. */
  readonly name: string;
  readonly contents: Buffer;
  readonly metafile: Metafile;
}

/** Throws when esbuild reports errors. */
export async function buildPages(root: string): Promise<readonly BuiltPage[]> {
  const built: BuiltPage[] = [];
  for (const [name, page] of Object.entries(pages)) {
    const { outputFiles, metafile } = await build({
      entryPoints: { page: page.source, style: page.style },
      absWorkingDir: root,
      outdir: join(root, "dist"),
      write: false,
      metafile: true,
      bundle: true,
      format: "esm",
      platform: "browser",
      target: "es2022",
      minify: true,
      legalComments: "none",
      logLevel: "warning",
      jsx: "automatic",
      jsxImportSource: "preact",
    });
    const text = (ending: string): string =>
      outputFiles
        .filter(({ path }) => path.endsWith(ending))
        .map((file) => file.text)
        .join("");
    const html = Buffer.from(pageOf(page, text(".js"), text(".css")));
    if (page.isApp === true) {
      built.push(
        { name: `${name}.html.gz`, contents: gzipSync(html, { level: 9 }), metafile },
        { name: `${name}.webmanifest.gz`, contents: gzipSync(JSON.stringify(manifest), { level: 9 }), metafile },
      );
    } else built.push({ name: `${name}.html`, contents: html, metafile });
  }
  return built;
}

/** A bar of memory; in the page and the manifest, since they request nothing. */
const icon = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2563eb"/>' +
    '<path d="M4 4v8M8 7v5M12 9v3" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>',
)}`;

/** As `--background` in `theme.css`. */
const background = { light: "#f6f6f8", dark: "#101114" } as const;

/** What a browser installs the dashboard by, as an app of one window. */
const manifest = {
  id: "/dashboard",
  name: "ollm",
  description: "Language models on this machine",
  start_url: "/dashboard",
  scope: "/dashboard",
  display: "standalone",
  // A link of `ollm dashboard` opens in the window that is there.
  launch_handler: { client_mode: ["navigate-existing", "auto"] },
  background_color: background.light,
  theme_color: background.light,
  icons: [{ src: icon, sizes: "any", type: "image/svg+xml" }],
} as const;

function headOf(): string {
  const colours = Object.entries(background).map(
    ([scheme, colour]) => `<meta name="theme-color" media="(prefers-color-scheme: ${scheme})" content="${colour}">`,
  );
  return `<link rel="manifest" href="/dashboard/app.webmanifest">${colours.join("")}`;
}

function pageOf({ title, connects, isApp }: Page, script: string, style: string): string {
  const code = script.replaceAll("</script", String.raw`<\/script`);
  const policy = [
    "default-src 'none'",
    `script-src '${hashOf(code)}'`,
    `style-src '${hashOf(style)}'`,
    "img-src data:",
    `connect-src ${connects}`,
    "base-uri 'none'",
    "form-action 'none'",
    ...(isApp === true ? ["manifest-src 'self'"] : []),
  ].join("; ");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="${icon}">${isApp === true ? headOf() : ""}<title>${title}</title><style>${style}</style></head>
<body><script type="module">${code}</script></body></html>
`;
}

function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
