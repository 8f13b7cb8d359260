import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";

const dist = new URL("../../dist/", import.meta.url);
const sources = new URL("../../src/ui/", import.meta.url);

test("no page makes HTML or code of text: names, prompts and answers are hostile", async () => {
  const files = (await readdir(sources)).filter((name) => /\.tsx?$/.test(name));
  expect(files.length).toBeGreaterThan(10);
  const ways =
    /dangerouslySetInnerHTML|(inner|outer)HTML|insertAdjacentHTML|createContextualFragment|document\.write|\beval\(|new Function|javascript:|DOMParser|srcdoc/;
  const found = await Promise.all(
    files.map(async (name) => (ways.test(await readFile(new URL(name, sources), "utf8")) ? [name] : [])),
  );
  expect(found.flat()).toEqual([]);
});

describe("the built dashboard", async () => {
  const file = await readFile(new URL("dashboard.html.gz", dist));
  const html = gunzipSync(file).toString();
  const policy = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(html)?.[1] ?? "";
  const code = /<script type="module">([\s\S]+?)<\/script>/.exec(html)?.[1] ?? "";
  const style = /<style>([\s\S]+?)<\/style>/.exec(html)?.[1] ?? "";
  const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

  test("is one file, stored and sent with less than 110 KB", () => {
    expect(file.length).toBeLessThan(110_000);
  });

  test("runs one script and one style, by their hashes, and connects to its own daemon only", () => {
    expect(code).toContain("ollm-dashboard");
    expect(policy.split("; ").toSorted()).toEqual(
      [
        "default-src 'none'",
        `script-src ${hash(code)}`,
        `style-src ${hash(style)}`,
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "manifest-src 'self'",
      ].toSorted(),
    );
  });

  test("keeps the colours of its memory bar where the system forces others", () => {
    expect(style).toMatch(/forced-colors:\s?active\)\{[^@]*\.part[^{}]*\{forced-color-adjust:\s?none/);
  });

  test("has an icon of its own, in the page", () => {
    expect(html).toContain('<link rel="icon" href="data:image/svg+xml,');
  });

  test("is installed by its manifest, as an app of one window", async () => {
    expect(html).toContain('<link rel="manifest" href="/dashboard/app.webmanifest">');
    const manifest = JSON.parse(gunzipSync(await readFile(new URL("dashboard.webmanifest.gz", dist))).toString()) as {
      readonly icons: readonly { readonly src: string }[];
      readonly background_color: string;
    };
    expect(manifest).toMatchObject({ start_url: "/dashboard", scope: "/dashboard", display: "standalone" });
    expect(manifest).toMatchObject({ launch_handler: { client_mode: ["navigate-existing", "auto"] } });
    expect(manifest.icons.map(({ src }) => src.slice(0, 19))).toEqual(["data:image/svg+xml,"]);
    for (const [, colour] of html.matchAll(/name="theme-color" [^>]*content="(#\w+)"/g))
      expect(style).toContain(colour);
    expect(style).toContain(manifest.background_color);
  });

  test("names no other address that it could ask", () => {
    const addresses = html.match(/\bhttps?:\/\/[\w.-]+/g) ?? [];
    // A name of XML, and where a message of marked sends who reads it.
    expect(addresses.filter((address) => !["http://www.w3.org", "https://github.com"].includes(address))).toEqual([]);
  });
});
