import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../../../../../src/orchestrator/api/log.ts";
import {
  parseNpmrc,
  publicRegistry,
  readRegistrySettings,
  registrySettings,
} from "../../../../../src/orchestrator/engines/llama-cpp/install/registry.ts";

const settingsOf = (npmrc: string, environment: Record<string, string> = {}) =>
  registrySettings([parseNpmrc(npmrc, environment)], environment, "/home/someone");

describe("the registry of a package", () => {
  test.each([
    ["nothing configured", "", "ms", publicRegistry],
    ["a registry without a slash", "registry=https://m.example/npm", "ms", "https://m.example/npm/"],
    [
      "a scope's own registry",
      "registry=https://m.example/\n@a:registry=https://a.example/x",
      "@a/b",
      "https://a.example/x/",
    ],
    ["another scope", "@a:registry=https://a.example/", "@b/c", publicRegistry],
    ["a package whose name starts like a scope", "@a:registry=https://a.example/", "a", publicRegistry],
    ["null means not set", "registry=null", "ms", publicRegistry],
  ])("%s", (_rule, npmrc, name, expected) => {
    expect(settingsOf(npmrc).registryFor(name)).toBe(expected);
  });

  test("an invalid registry address is rejected without quoting it", () => {
    expect(() => settingsOf("registry=secret-token").registryFor("ms")).toThrow(
      expect.objectContaining({ name: "InvalidConfig", message: expect.not.stringContaining("secret-token") }),
    );
  });
});

describe("credentials are sent only to their own address", () => {
  const npmrc = [
    "//m.example/npm/:_authToken=deep",
    "//m.example/:_authToken=shallow",
    "//m.example:8080/:_auth=dXNlcjpwYXNz",
    "//old.example/:username=user",
    `//old.example/:_password=${Buffer.from("pass").toString("base64")}`,
  ].join("\n");
  test.each([
    ["the nearest folder's token", "https://m.example/npm/ms/-/ms-2.1.3.tgz", "Bearer deep"],
    ["the host's token elsewhere", "https://m.example/other/ms", "Bearer shallow"],
    ["another port is another host", "https://m.example:8080/ms", "Basic dXNlcjpwYXNz"],
    ["user and password", "https://old.example/a/b", "Basic dXNlcjpwYXNz"],
    ["a host with a similar name has none", "https://m.example.evil/npm/ms", undefined],
  ])("%s", (_rule, address, expected) => {
    expect(settingsOf(npmrc).authorizationFor(address)).toBe(expected);
  });
});

describe("proxies and certificates", () => {
  test.each<[string, string, Record<string, string>, Record<string, unknown>]>([
    ["no proxy", "", {}, { httpProxy: undefined, httpsProxy: undefined, noProxy: undefined }],
    [
      "the environment's, upper case",
      "",
      { HTTPS_PROXY: "http://p:1", NO_PROXY: "a,b" },
      { httpsProxy: "http://p:1", noProxy: "a,b" },
    ],
    [
      "the environment's, lower case first",
      "",
      { https_proxy: "http://l:1", HTTPS_PROXY: "http://u:1" },
      { httpsProxy: "http://l:1" },
    ],
    [
      "npm's before the environment's",
      "https-proxy=http://n:1",
      { HTTPS_PROXY: "http://p:1" },
      { httpsProxy: "http://n:1" },
    ],
    ["npm's proxy serves both", "proxy=http://n:1", {}, { httpProxy: "http://n:1", httpsProxy: "http://n:1" }],
    [
      "HTTP_PROXY alone serves both",
      "",
      { HTTP_PROXY: "http://p:1" },
      { httpProxy: "http://p:1", httpsProxy: "http://p:1" },
    ],
    ["a proxy without protocol", "proxy=p.example:3128", {}, { httpProxy: "http://p.example:3128" }],
    ["a list of exceptions", "noproxy[]=a\nnoproxy[]=b", {}, { noProxy: "a,b" }],
    ["an empty variable is unset", "", { HTTPS_PROXY: "", HTTP_PROXY: "" }, { httpsProxy: undefined }],
    ["strict-ssl=false", "strict-ssl=false", {}, { isCertificateChecked: false }],
    ["strict-ssl by default", "", {}, { isCertificateChecked: true }],
    ["inline certificates", String.raw`ca=A\nB`, {}, { certificates: ["A\nB"] }],
    [
      "certificate files of npm, OpenSSL and Node",
      "cafile=~/corp.pem",
      { SSL_CERT_FILE: "/etc/a.pem", NODE_EXTRA_CA_CERTS: "/etc/b.pem" },
      { certificateFiles: [join("/home/someone", "corp.pem"), "/etc/a.pem", "/etc/b.pem"] },
    ],
  ])("%s", (_rule, npmrc, environment, expected) => {
    const absent = { httpProxy: undefined, httpsProxy: undefined, noProxy: undefined };
    expect({ ...absent, ...settingsOf(npmrc, environment) }).toMatchObject(expected);
  });
});

describe("npm's files", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ollm-npmrc-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  const read = (environment: Record<string, string>, lines: string[] = []) =>
    readRegistrySettings(
      { HOME: folder, ...environment },
      { platform: "linux", arch: "x64", node: { execPath: join(folder, "prefix", "bin", "node") } },
      createLog("warn", (line) => lines.push(line)),
    );
  const write = async (path: string, text: string) => {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), text);
  };

  test("a variable overrides the user's file, which overrides the global file", async () => {
    await write(
      "prefix/etc/npmrc",
      "registry=https://global.example/\nproxy=http://global:1\n@a:registry=https://a.example/",
    );
    expect((await read({})).registryFor("ms")).toBe("https://global.example/");
    await write(".npmrc", "registry=https://user.example/");
    expect((await read({})).registryFor("ms")).toBe("https://user.example/");
    const settings = await read({ npm_config_registry: "https://variable.example/" });
    expect([settings.registryFor("ms"), settings.registryFor("@a/b"), settings.httpProxy]).toEqual([
      "https://variable.example/",
      "https://a.example/",
      "http://global:1",
    ]);
  });

  test("variables may set the paths of the files", async () => {
    await write("u.npmrc", "registry=https://u.example/");
    await write("g.npmrc", "proxy=http://g:1");
    const settings = await read({
      npm_config_userconfig: join(folder, "u.npmrc"),
      npm_config_globalconfig: join(folder, "g.npmrc"),
    });
    expect([settings.registryFor("ms"), settings.httpProxy]).toEqual(["https://u.example/", "http://g:1"]);
  });

  test("an unreadable file is logged and skipped", async () => {
    await mkdir(join(folder, ".npmrc"));
    const lines: string[] = [];
    expect((await read({}, lines)).registryFor("ms")).toBe(publicRegistry);
    expect(lines).toEqual([expect.stringContaining("cannot be read (EISDIR)")]);
  });
});
