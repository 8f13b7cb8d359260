import { describe, expect, it } from "vitest";
import { InvalidConfig } from "../../../src/orchestrator/api/errors.ts";
import { parseOllamaHost } from "../../../src/orchestrator/util/ollama-host.ts";

describe("the address of an Ollama server", () => {
  it.each([
    ["", "http://127.0.0.1:11434", true],
    ["  ", "http://127.0.0.1:11434", true],
    ["localhost", "http://localhost:11434", true],
    ["127.0.0.1", "http://127.0.0.1:11434", true],
    ["127.3.2.1:80", "http://127.3.2.1:80", true],
    [":1234", "http://127.0.0.1:1234", true],
    ["0.0.0.0", "http://127.0.0.1:11434", true],
    ["0.0.0.0:8080", "http://127.0.0.1:8080", true],
    ["http://0.0.0.0:8080", "http://127.0.0.1:8080", true],
    ["::1", "http://[::1]:11434", true],
    ["[::1]", "http://[::1]:11434", true],
    ["[::1]:99", "http://[::1]:99", true],
    ["::", "http://[::1]:11434", true],
    ["[::]:99", "http://[::1]:99", true],
    ["fd00::7", "http://[fd00::7]:11434", false],
    ["box.lan", "http://box.lan:11434", false],
    ["box.lan:11500", "http://box.lan:11500", false],
    ["192.168.1.20", "http://192.168.1.20:11434", false],
    ["http://box.lan", "http://box.lan:80", false],
    ["https://box.lan", "https://box.lan:443", false],
    ["HTTPS://box.lan/", "https://box.lan:443", false],
    ["http://box.lan:80", "http://box.lan:80", false],
    ["https://box.lan/ollama/", "https://box.lan:443/ollama", false],
    ["box.lan:11500/ollama", "http://box.lan:11500/ollama", false],
    ["'box.lan'", "http://box.lan:11434", false],
    ["ollama.com", "https://ollama.com:443", false],
    ["127.0.0.1.evil.example", "http://127.0.0.1.evil.example:11434", false],
    ["localhost.evil.example", "http://localhost.evil.example:11434", false],
  ])("%j is %s, on loopback: %s", (value, baseUrl, isLoopback) => {
    expect(parseOllamaHost(value)).toMatchObject({ baseUrl, isLoopback });
  });

  it.each([
    "ftp://box.lan",
    "box.lan:99999",
    "box.lan:port",
    "a b",
    "http://user:secret@box.lan",
    "ftp://user:secret@box.lan",
    "http://user:se/secret@box.lan",
    "unix:///tmp/socket",
  ])("%j is refused with what is allowed", (value) => {
    const parse = (): unknown => parseOllamaHost(value);
    expect(parse).toThrow(InvalidConfig);
    expect(parse).not.toThrow("secret");
  });
});
