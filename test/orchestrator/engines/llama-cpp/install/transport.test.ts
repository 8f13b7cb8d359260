import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { enginePackages } from "../../../../support/fake-npm-registry.ts";
import { selfSigned } from "../../../../support/self-signed.ts";
import { environmentFor, impatient, installFixture, type InstallFixture } from "./install-fixture.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
const start = async (tls?: typeof selfSigned): Promise<InstallFixture> => {
  const fixture = await installFixture(enginePackages(), tls);
  closers.push(() => fixture.close());
  return fixture;
};

/** A real proxy that records the targets and credentials of its tunnels. */
async function startProxy() {
  const tunnels: { readonly target: string; readonly authorization: string | undefined }[] = [];
  const server = createServer((_request, response) => response.writeHead(501).end());
  server.on("connect", (request, socket, head) => {
    tunnels.push({ target: request.url ?? "", authorization: request.headers["proxy-authorization"] });
    const { hostname, port } = new URL(`http://${request.url}`);
    const upstream = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { tunnels, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe("proxies", () => {
  test("HTTP_PROXY is used, with its credentials", async () => {
    const { install, registry, lockFolder } = await start();
    const proxy = await startProxy();
    const environment = {
      ...environmentFor(lockFolder, registry.address),
      HTTP_PROXY: `http://me:secret@${proxy.host}`,
    };
    expect(await (await install({ environment })).isInstalled()).toBe(true);
    const { host } = new URL(registry.address);
    expect(new Set(proxy.tunnels.map((tunnel) => tunnel.target))).toEqual(new Set([host]));
    expect(proxy.tunnels[0]?.authorization).toBe(`Basic ${Buffer.from("me:secret").toString("base64")}`);
  });

  test("npm's https-proxy is used for an HTTPS registry, whose certificate is still checked", async () => {
    const { install, registry, lockFolder } = await start(selfSigned);
    const proxy = await startProxy();
    const certificate = join(lockFolder, "ca.pem");
    await writeFile(certificate, selfSigned.cert);
    const environment = {
      ...environmentFor(lockFolder, registry.address),
      npm_config_https_proxy: `http://${proxy.host}`,
    };
    await expect(install({ environment })).rejects.toMatchObject({
      message: expect.stringContaining("is not trusted"),
    });
    await install({ environment: { ...environment, npm_config_cafile: certificate } });
    expect(proxy.tunnels.length).toBeGreaterThan(0);
  });

  test("hosts in NO_PROXY are connected to directly", async () => {
    const { install, registry, lockFolder } = await start();
    const proxy = await startProxy();
    const environment = {
      ...environmentFor(lockFolder, registry.address),
      HTTP_PROXY: `http://${proxy.host}`,
      NO_PROXY: "127.0.0.1",
    };
    await install({ environment });
    expect(proxy.tunnels).toEqual([]);
  });
});

describe("certificates", () => {
  test("an unknown authority is rejected at once with a next step", async () => {
    const { install, registry, leftovers } = await start(selfSigned);
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: `the certificate of ${new URL(registry.address).host} is not trusted: DEPTH_ZERO_SELF_SIGNED_CERT: self-signed certificate`,
      next: [{ step: "restartDaemon", after: expect.stringContaining("NODE_EXTRA_CA_CERTS") }],
    });
    expect([registry.asked, await leftovers()]).toEqual([[], []]);
  });

  test.each(["npm_config_cafile", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])("%s is trusted", async (variable) => {
    const { install, registry, lockFolder } = await start(selfSigned);
    const certificate = join(lockFolder, "ca.pem");
    await writeFile(certificate, selfSigned.cert);
    const environment = { ...environmentFor(lockFolder, registry.address), [variable]: certificate };
    expect(await (await install({ environment })).isInstalled()).toBe(true);
  });

  test("a missing certificate file is logged, and the usual authorities are trusted", async () => {
    const { install, registry, lockFolder } = await start();
    const warnings: string[] = [];
    const log = { debug: () => undefined, info: () => undefined, warn: (line: string) => void warnings.push(line) };
    const environment = {
      ...environmentFor(lockFolder, registry.address),
      SSL_CERT_FILE: join(lockFolder, "nope.pem"),
    };
    await install({ environment, log });
    expect(warnings).toEqual([expect.stringMatching(/certificates .*nope\.pem cannot be read \(ENOENT\)/)]);
  });

  test("strict-ssl=false trusts every certificate and logs a warning", async () => {
    const { install, registry, lockFolder } = await start(selfSigned);
    const warnings: string[] = [];
    const log = { debug: () => undefined, info: () => undefined, warn: (line: string) => void warnings.push(line) };
    await install({
      environment: { ...environmentFor(lockFolder, registry.address), npm_config_strict_ssl: "false" },
      log,
    });
    expect(warnings).toEqual([expect.stringContaining("strict-ssl is off")]);
  });
});

test("a token is sent to its own registry", async () => {
  const { install, registry, lockFolder } = await start();
  const key = `npm_config_//${new URL(registry.address).host}/:_authToken`;
  await install({ environment: { ...environmentFor(lockFolder, registry.address), [key]: "abc" } });
  expect(new Set(registry.authorizations)).toEqual(new Set(["Bearer abc"]));
});

describe("a registry that refers to another address", () => {
  const token = (address: string) => ({ [`npm_config_//${new URL(address).host}/:_authToken`]: "abc" });

  test("is followed to another path of its own host", async () => {
    const { install, registry } = await start();
    registry.redirect((path) => (path.startsWith("/moved") ? undefined : `/moved${path}`));
    expect(await (await install()).isInstalled()).toBe(true);
  });

  test.each([
    ["a redirect", (registry: InstallFixture["registry"], to: string) => registry.redirect((path) => `${to}${path}`)],
    ["the package's document", (registry: InstallFixture["registry"], to: string) => registry.moveArchives(to)],
  ])("by %s on another host is an error that names the host", async (_, send) => {
    const [{ install, registry, lockFolder, leftovers }, other] = [await start(), await start()];
    const { origin } = new URL(other.registry.address);
    send(registry, origin);
    const environment = { ...environmentFor(lockFolder, registry.address), ...token(registry.address) };
    await expect(install({ environment })).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining(`refers to ${origin}`),
      next: [{ step: "advice", text: expect.stringContaining("npm's setting registry") }],
    });
    expect([other.registry.authorizations, await leftovers()]).toEqual([[], []]);
  });

  test("in a loop is an error after a few steps", async () => {
    const { install, registry } = await start();
    registry.redirect((path) => `${path}/again`);
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("redirects"),
    });
  });

  test("on its own host without TLS is not followed from HTTPS", async () => {
    const secure = await start(selfSigned);
    secure.registry.redirect((path) => `http://${new URL(secure.registry.address).host}${path}`);
    const environment = {
      ...environmentFor(secure.lockFolder, secure.registry.address),
      npm_config_strict_ssl: "false",
    };
    await expect(secure.install({ environment })).rejects.toMatchObject({
      message: expect.stringContaining("refers to http://"),
    });
  });
});

test("what arrived before a stall is kept: only the rest is asked for", async () => {
  const { install, registry, lockFolder } = await start();
  registry.misbehave("node-llama-cpp", "stall");
  expect(await (await install({ patience: impatient })).isInstalled()).toBe(true);
  const sizes = await readFile(join(lockFolder, "linux-x64", "size.json"), "utf8");
  const half = Number(/node-llama-cpp":(\d+)/.exec(sizes)?.[1]) >> 1;
  expect(registry.ranges.filter((range) => range !== undefined)).toEqual([`bytes=${half}-`]);
  expect(registry.asked.filter((name) => name === "node-llama-cpp")).toHaveLength(2);
});
