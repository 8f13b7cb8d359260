import { describe, expect, test } from "vitest";
import { npmVariables, parseNpmrc } from "../../../../../src/orchestrator/engines/llama-cpp/install/registry.ts";

const environment = { TOKEN: "abc", EMPTY: "" };

describe("parseNpmrc reads files like npm", () => {
  test.each<[string, string, Record<string, string[]>]>([
    [
      "keys and values",
      "registry=https://a.example/\nproxy = http://p:1",
      { registry: ["https://a.example/"], proxy: ["http://p:1"] },
    ],
    ["Windows line ends", "a=1\r\nb=2\r\n", { a: ["1"], b: ["2"] }],
    ["comments and sections are not keys", "; c=1\n# d=2\n[section]\na=1", { a: ["1"] }],
    ["comments after a value", "a=1 ; one\nb=2 # two", { a: ["1"], b: ["2"] }],
    ["an escaped comment character belongs to the value", String.raw`a=x\;y\#z`, { a: ["x;y#z"] }],
    ["quotes keep blanks and comment characters", `a="x ; y"\nb='z # w'`, { a: ["x ; y"], b: ["z # w"] }],
    ["double quotes unescape", String.raw`ca="A\nB"`, { ca: ["A\nB"] }],
    ["a value may contain an equals sign", "//h/:_authToken=ab==", { "//h/:_authToken": ["ab=="] }],
    ["a key without a value is true", "strict-ssl", { "strict-ssl": ["true"] }],
    ["lists are collected", "ca[]=A\nca[]=B", { ca: ["A", "B"] }],
    ["the last of two equal keys wins", "a=1\na=2", { a: ["2"] }],
    ["variables are replaced from the environment", "//h/:_authToken=${TOKEN}", { "//h/:_authToken": ["abc"] }],
    ["an unset variable is not replaced", "a=${NOPE}", { a: ["${NOPE}"] }],
    ["an unset optional variable is empty", "a=x${NOPE?}y", { a: ["xy"] }],
    ["a set optional variable is its value", "a=${TOKEN?}", { a: ["abc"] }],
    ["an escaped reference is not replaced", String.raw`a="\\${"$"}{TOKEN}"`, { a: ["${TOKEN}"] }],
    ["an empty file", "", {}],
  ])("%s", (_rule, text, expected) => {
    expect(Object.fromEntries(parseNpmrc(text, environment))).toEqual(expected);
  });
});

describe("npmVariables", () => {
  test("reads npm_config_ variables of any case and converts their names to npm's keys", () => {
    const variables = { npm_config_registry: "r", NPM_CONFIG_HTTPS_PROXY: "p", PATH: "x", npm_config_cafile: "" };
    expect(Object.fromEntries(npmVariables(variables))).toEqual({ registry: ["r"], "https-proxy": ["p"] });
  });

  test("keeps the spelling of addresses and scopes", () => {
    const variables = { "npm_config_//Host/:_authToken": "t", "npm_config_@My_Scope:registry": "r" };
    expect([...npmVariables(variables).keys()]).toEqual(["//Host/:_authToken", "@My_Scope:registry"]);
  });
});
