import fc from "fast-check";
import type { LookupAddress, LookupAllOptions } from "node:dns";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { EngineUnreachable, PullFailed } from "../../../src/orchestrator/api/errors.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import type { NextStep } from "../../../src/orchestrator/api/next-step.ts";
import { createAddressGuard, kindOf, type AddressGuard } from "../../../src/orchestrator/engines/address-guard.ts";
import { createHttpGet } from "../../../src/orchestrator/engines/http.ts";
import { registryOf } from "../../../src/orchestrator/util/model-name.ts";
import { startFakeOllama } from "../../support/fake-ollama.ts";
import { ignore, never, storeFixture } from "./llama-cpp/store/store-fixture.ts";

const refuse = (message: string, next: NextStep) => new PullFailed(message, { next });

/** A name server with fixed entries. */
function nameServer(names: Readonly<Record<string, readonly string[]>>) {
  const lookup = (
    name: string,
    _options: LookupAllOptions,
    callback: (error: Error | null, addresses: LookupAddress[]) => void,
  ) => {
    const found = names[name];
    if (found === undefined)
      callback(Object.assign(new Error("ENOTFOUND"), { code: "ENOTFOUND", syscall: "getaddrinfo" }), []);
    else
      callback(
        null,
        found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
      );
  };
  return lookup as unknown as NonNullable<Parameters<typeof createAddressGuard>[0]["lookup"]>;
}

describe("an address", () => {
  it.each([
    "10.0.0.5",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::",
    "fd00::1",
    "fe80::1",
    "ff02::1",
    "::ffff:10.0.0.5",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a00:5",
    "2002:a00:5::1",
    "::10.0.0.5",
    "::2",
    "::ffff:0:10.0.0.5",
    "192.0.2.1",
    "2001:db8::1",
    "fe80::1%eth0",
  ])("%s is private", (address) => {
    expect(kindOf(address)).toBe("private");
  });

  it.each([
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "::ffff:0:127.0.0.1",
    "2002:7f00:1::",
  ])("%s is a loopback address", (address) => {
    expect(kindOf(address)).toBe("loopback");
  });

  it.each(["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"])(
    "%s is public",
    (address) => {
      expect(kindOf(address)).toBe("public");
    },
  );

  it("is recognised in every notation", () => {
    const guard = createAddressGuard({ allowedHosts: () => [], refuse });
    fc.assert(
      fc.property(fc.constantFrom("10.0.0.5", "127.0.0.1", "169.254.169.254", "192.168.7.9"), (address) => {
        const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
        const number = ((a * 256 + b) * 256 + c) * 256 + d;
        const hex = number.toString(16).padStart(8, "0");
        const spellings = [
          String(number),
          `0x${hex}`,
          `0${number.toString(8)}`,
          [a, b, c, d].map((part) => `0x${part.toString(16)}`).join("."),
          [a, b, c, d].map((part) => `0${part.toString(8)}`).join("."),
          `${a}.${b}.${c * 256 + d}`,
          `${address}.`,
          `[::ffff:${address}]`,
          `[::ffff:${hex.slice(0, 4)}:${hex.slice(4)}]`,
          `[64:ff9b::${address}]`,
        ];
        for (const host of spellings)
          expect(() => guard.check(new URL(`https://${host}/v2/`)), host).toThrow(PullFailed);
      }),
    );
  });
});

describe("a name to pull", () => {
  const guard = createAddressGuard({
    allowedHosts: () => ["named.lan", "10.0.0.7:5000"],
    refuse,
    lookup: nameServer({
      "metadata.example": ["169.254.169.254"],
      "mixed.example": ["1.1.1.1", "10.0.0.5"],
      "six.example": ["fd00::1"],
      localhost: ["127.0.0.1"],
      "named.lan": ["10.0.0.9"],
      "public.example": ["1.1.1.1"],
    }),
  });

  it.each([
    "10.0.0.5/x/y:z",
    "http://10.0.0.5/x/y:z",
    "169.254.169.254/x/y",
    "169.254.169.254:80/x/y:z",
    "2130706433/x/y:z",
    "0x7f000001/x/y:z",
    "0177.0.0.1/x/y:z",
    "127.1/x/y:z",
    "localhost/x/y:z",
    "localhost:5000/x/y:z",
    "localhost.:5000/x/y:z",
    "registry.localhost/x/y:z",
    "metadata.example.:443/x/y:z",
    "metadata:80/x/y:z",
    "metadata.google.internal/x/y:z",
    "printer.local/x/y:z",
    "metadata.example/x/y:z",
    "mixed.example/x/y:z",
    "six.example/x/y:z",
    "10.0.0.7:5001/x/y:z",
  ])("is refused as %s, with the setting that would allow it", async (name) => {
    const url = registryOf(name);
    if (url === undefined) throw new Error("no host was seen");
    const error: unknown = await guard.approve(url).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PullFailed);
    expect((error as PullFailed).message).toMatch(/a private address that is not listed in network\.allowedHosts$/);
    expect((error as PullFailed).next).toMatchObject([{ step: "allowHost", host: expect.any(String) as string }]);
  });

  it.each(["[::ffff:127.0.0.1]/x/y:z", "[::1]/x/y", "a:b:c/x/y:z", "../../x/y:z", "user@10.0.0.5/x/y:z"])(
    "is no name at all as %s",
    (name) => {
      expect(() => registryOf(name)).toThrow(/is not a model name/);
    },
  );

  it.each(["public.example/x/y:z", "named.lan/x/y:z", "10.0.0.7:5000/x/y:z", "unknown.example/x/y:z"])(
    "is let through as %s",
    async (name) => {
      const url = registryOf(name);
      if (url === undefined) throw new Error("no host was seen");
      await guard.approve(url);
      expect(url.protocol).toBe("https:");
    },
  );

  it("without a host comes from the default registry", () => {
    expect(registryOf("smollm2:135m")).toBeUndefined();
    expect(registryOf("library/smollm2")).toBeUndefined();
  });
});

describe("a download", () => {
  const closing: (() => void)[] = [];
  afterEach(() => {
    for (const close of closing.splice(0)) close();
  });

  async function server(handle: Parameters<typeof createServer>[1] & object): Promise<number> {
    const started = createServer(handle);
    await new Promise<void>((resolve) => started.listen(0, "127.0.0.1", resolve));
    closing.push(() => started.close());
    return (started.address() as AddressInfo).port;
  }

  it("does not connect to a name that leads to this machine, and does when the name is allowed", async () => {
    let asked = 0;
    const port = await server((_request, response) => {
      asked += 1;
      response.end("secret");
    });
    const lookup = nameServer({ "rebound.example": ["127.0.0.1"] });
    const url = new URL(`http://rebound.example:${port}/`);
    const get = createHttpGet({}, createAddressGuard({ allowedHosts: () => [], refuse, lookup }));
    await expect(get(url, {}, never)).rejects.toThrow("rebound.example leads to 127.0.0.1, a private address");
    expect(asked).toBe(0);
    await expect(get(new URL(`http://127.0.0.1:${port}/`), {}, never)).rejects.toThrow(PullFailed);
    expect(asked).toBe(0);
    const named = createHttpGet({}, createAddressGuard({ allowedHosts: () => [`127.0.0.1:${port}`], refuse }));
    const { status, discard } = await named(new URL(`http://127.0.0.1:${port}/`), {}, never);
    discard();
    expect([status, asked]).toEqual([200, 1]);
  });

  it("does not follow a registry's redirect to another address of this machine", async () => {
    const { store } = await storeFixture();
    let asked = 0;
    const inside = await server((_request, response) => {
      asked += 1;
      response.end("secret");
    });
    const outside = await server((_request, response) => {
      response.writeHead(307, { location: `http://127.0.0.1:${inside}/metadata` }).end();
    });
    const host = `127.0.0.1:${outside}`;
    const guard: AddressGuard = createAddressGuard({ allowedHosts: () => [host], refuse });
    const pulling = store({
      registry: { defaultHost: host, stallTimeoutMs: 1_000 },
      http: createHttpGet({}, guard),
    }).pull("smollm2:135m", ignore, never);
    await expect(pulling).rejects.toThrow(
      `${host} redirects the download of smollm2:135m to 127.0.0.1:${inside}: ` +
        `127.0.0.1:${inside} is a private address that is not listed in network.allowedHosts`,
    );
    expect(asked).toBe(0);
  });
});

describe("the Ollama engine", () => {
  const options = { now: Date.now, log: createLog("silent", () => {}) };

  it("may run on this machine, and at another private address only if that is allowed", async () => {
    const refused = createOllamaEngine({ ...options, host: "http://192.168.255.254:11434" });
    await expect(refused.list(never)).rejects.toThrow(EngineUnreachable);
    const health = await refused.health(never);
    expect(health).toMatchObject({
      isReachable: false,
      message: expect.stringContaining("network.allowedHosts") as string,
    });
    await refused.close();
    const ollama = await startFakeOllama();
    const own = createOllamaEngine({ ...options, host: ollama.url });
    expect((await own.list(never)).map(({ name }) => name)).toEqual(["smollm2:135m"]);
    await own.close();
    await ollama.close();
  });

  it("is not asked to pull from a private address", async () => {
    const ollama = await startFakeOllama();
    const engine = createOllamaEngine({ ...options, host: ollama.url });
    for (const name of ["10.0.0.5/x/y:z", "169.254.169.254/x/y:z", "http://127.0.0.1:9/x/y:z", "localhost/x/y:z"]) {
      await expect(engine.library?.pull(name, ignore, never), name).rejects.toThrow(PullFailed);
    }
    expect(ollama.requests.filter(({ path }) => path === "/api/pull")).toEqual([]);
    await engine.close();
    await ollama.close();
  });
});
