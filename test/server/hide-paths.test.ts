import { describe, expect, it } from "vitest";
import { StoreFailed } from "../../src/orchestrator/api/errors.ts";
import { textFor, withErrors } from "../../src/server/call/error-text.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { startListener } from "./http/listener-fixture.ts";

const home = { fileRoots: ["/srv/notes", "/srv/my docs"], configFile: "/home/ann/.ollm/config.yaml" };
const hidePaths = textFor({ mayOfferRoots: false }, home, { files: [{ deep: "/etc/passwd" }], none: null });
const hidden = "[a path on the server]";

describe("an error over HTTP", () => {
  it.each([
    ["/var/lib/models/a.gguf can't be read (EACCES)", `${hidden} can't be read (EACCES)`],
    ["can't open '/root/x y': no", `can't open '${hidden} y': no`],
    ['roots: ["/home/ann/My Documents"]', `roots: ["${hidden}"]`],
    ["put into /home/ann/.ollm/config.yaml\n  files", "put into OLLM_HOME/config.yaml\n  files"],
    ["/home/bob/config.yaml:3: options.topP is 7", `${hidden}: options.topP is 7`],
    ["~/Documents/a.txt and C:\\Users\\Ann\\a.txt, \\\\box\\share\\b", `${hidden} and ${hidden}, ${hidden}`],
    ["(it leads to /home/ann/secret.txt)", `(it leads to ${hidden})`],
    ["OLLM_FILES_ROOTS=/home/ann/x", `OLLM_FILES_ROOTS=${hidden}`],
  ])("hides %j", (text, expected) => {
    expect(hidePaths(text)).toBe(expected);
  });

  it.each([
    "none.txt was not found in /srv/notes, /srv/my docs",
    "/srv/notes/deep/a.txt is a folder",
    "/etc/passwd is outside the allowed folders (/srv/notes, /srv/my docs)",
    "no answer from http://127.0.0.1:11434/api/chat",
    "hf.co/org/model:q4, application/json, and/or, 3/4, ollm://models/x, registry.ollama.ai/library/x",
  ])("leaves %j as it is: roots, what the caller named, addresses and names", (text) => {
    expect(hidePaths(text)).toBe(text);
  });

  it("takes no path beside a root for one of it", () => {
    expect(hidePaths("/srv/notes-private/a /srv/notes/../b /srv/my docs/../c")).toBe(
      `${hidden} ${hidden} ${hidden} docs/../c`,
    );
  });
});

it("a caller with files of its own gets every path", () => {
  expect(textFor({ mayOfferRoots: true }, home, {})("/root/x")).toBe("/root/x");
});

it("withErrors changes only the texts under error", () => {
  const data = { text: "/a", error: "/b", results: [{ error: "/c", text: "/d" }, 1, null] };
  expect(withErrors(data, () => "-")).toEqual({
    text: "/a",
    error: "-",
    results: [{ error: "-", text: "/d" }, 1, null],
  });
});

it("a tool error over HTTP names no path of the server's machine", async () => {
  const orchestrator = createFakeOrchestrator({
    generate: () => Promise.reject(new StoreFailed("/home/ann/.ollama/models/blobs/sha256-1 can't be read (EACCES)")),
  });
  const listener = await startListener({ orchestrator });
  try {
    const call = async (name: string, input: Record<string, unknown>): Promise<string> => {
      const body = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: input } };
      const asked = { ...body, params: { ...body.params, _meta: modern } };
      const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name };
      return (await listener.ask("/mcp", { method: "POST", headers, body: asked })).text;
    };
    const failed = await call("route_and_generate", { prompt: "Hi" });
    expect(failed).toContain("isError");
    expect(failed).toContain("[a path on the server] can't be read (EACCES)");
    expect(failed).not.toContain("/home/ann");
    for (const input of [
      { prompt: "Hi", files: ["README.md"] },
      { prompt: "Hi", files: ["../../etc/passwd"] },
      { prompt: "Hi", files: ["/etc/passwd"] },
      { prompt: "Hi", files: ["git:staged"] },
      { prompt: "Hi", files: ["/etc/git:log:5"] },
      { prompt: "Hi", output_path: "a.md" },
      { prompt: "Hi", output_path: "/root/a.md" },
    ]) {
      const refused = await call("route_and_generate", input);
      expect(refused).toContain("isError");
      expect(refused).toContain("only they can allow a folder, where the server runs");
      for (const path of [listener.home, process.cwd(), "/home/", "roots: ["]) expect(refused).not.toContain(path);
    }
  } finally {
    await listener.close();
  }
});

const modern = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
