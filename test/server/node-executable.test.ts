import { describe, expect, it } from "vitest";
import { findNode } from "../../src/orchestrator/util/programs.ts";

const inElectron = {
  execPath: "/Apps/Client.app/helper",
  isElectron: true,
  platform: "darwin",
  searchPath: "",
} as const;
const only = (file: string) => (candidate: string) => candidate === file;

describe("findNode", () => {
  it("is the running Node", () => {
    const program = { ...inElectron, execPath: "/usr/bin/node", isElectron: false };
    expect(findNode(program, () => false)).toBe("/usr/bin/node");
  });

  it("is never an Electron helper, but a Node on the PATH or in its usual folders", () => {
    const program = { ...inElectron, searchPath: "/a:/b" };
    expect(findNode(program, only("/b/node"))).toBe("/b/node");
    expect(findNode(program, only("/opt/homebrew/bin/node"))).toBe("/opt/homebrew/bin/node");
    expect(findNode(program, () => true)).toBe("/a/node");
    expect(findNode(program, () => false)).toBeUndefined();
  });

  it("is node.exe on Windows", () => {
    const program = { ...inElectron, platform: "win32", searchPath: "C:\\tools;D:\\x" } as const;
    expect(findNode(program, only("D:\\x\\node.exe"))).toBe("D:\\x\\node.exe");
    expect(findNode(program, only("C:\\Program Files\\nodejs\\node.exe"))).toBe("C:\\Program Files\\nodejs\\node.exe");
  });
});
