import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type DaemonHome, makeDaemonHome } from "../../support/daemon-home.ts";
import { type FakeRegistry, startFakeRegistry } from "../../support/fake-registry.ts";
import { startProjectClient } from "../../support/project-client.ts";
import { runHere } from "./built-shell.ts";

let registry: FakeRegistry;
let home: DaemonHome;
beforeEach(async () => {
  registry = await startFakeRegistry();
  onTestFinished(() => registry.close());
  const layers = [{ type: "application/vnd.ollama.image.model", data: Buffer.alloc(3_000_000) }];
  registry.publish("library/strange:7b", { layers });
  home = await makeDaemonHome({ OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true", OLLM_TEST_REGISTRY: registry.host });
  onTestFinished(() => home.close());
});

const show = async (name: string) => {
  const startedAtMs = performance.now();
  const { code, stdout, stderr } = await runHere(home, ["show", name]);
  return { code, stdout, said: stderr.replaceAll(/\n +/g, " "), ms: performance.now() - startedAtMs };
};
const manifests = () => registry.requests.map(({ path }) => path).filter((path) => path.includes("/manifests/"));

describe("ollm show of a model that is not installed", () => {
  it("states what its pull downloads by the registry, and what it would need", async () => {
    const { code, stdout, said } = await show("strange:7b");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(said).toMatch(
      /^ollm: no model strange:7b Run `ollm pull strange:7b` \(3\.0 MB download, needs .* available.*; the size is from registry\.ollama\.ai, the rest estimated from it\), or/,
    );
    expect(registry.requests.every(({ path }) => path.includes("/manifests/"))).toBe(true);
  });

  it("says that the registry has none of that name", async () => {
    const { code, said } = await show("nothing:7b");
    expect(code).toBe(1);
    expect(said).toContain(`ollm: no model nothing:7b; ${registry.host} has no model nothing:7b`);
    expect(said).toContain("https://ollama.com/library");
    expect(said).not.toContain("ollm pull nothing:7b");
  });

  it("says that the registry can't be reached, and ends soon if it does not answer", async () => {
    registry.misbehave({ on: "manifest", kind: "hold", afterBytes: 0 });
    const slow = await show("strange:7b");
    expect(slow.said).toContain("ollm: no model strange:7b; the registry did not answer within 4 s");
    expect(slow.said).toContain("ollm pull strange:7b");
    expect(slow.ms).toBeLessThan(20_000);
    registry.release();
    await registry.close();
    expect((await show("strange:7b")).said).toContain("no model strange:7b; the registry can't be reached: ");
  });

  it.each(["smolm2:135m", "smollm2:1b", "qwen3:4b-instruct", "big:cloud", "gpt-5", "not a name"])(
    "asks no registry about %s: like an installed one, known, in a cloud, or no name",
    async (name) => {
      const { code } = await show(name);
      expect(code).not.toBe(0);
      expect(manifests()).toEqual([]);
    },
  );

  it("asks no registry for an assistant", async () => {
    const client = await startProjectClient({ env: home.environment, cwd: home.folder });
    onTestFinished(() => client.close());
    expect(await client.call("manage_model", { action: "show", model: "strange:7b" })).toMatchObject({ isError: true });
    expect(manifests()).toEqual([]);
  });
});
