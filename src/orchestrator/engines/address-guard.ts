import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import type { OrchestratorError } from "../api/errors.ts";
import type { NextStep } from "../api/next-step.ts";
import reservedSubnets from "./reserved-addresses.json" with { type: "json" };

/**
 * Keeps requests away from addresses that only the local network reaches, so that a model's name, a redirect or a name
 * server can't turn a pull into a probe of that network. An address is recognised in every notation (decimal, octal,
 * hexadecimal, IPv4 inside IPv6), and a name is judged by every address that it resolves to when the connection is made.
 */
export type AddressGuard = ReturnType<typeof createAddressGuard>;

export function createAddressGuard(options: {
  /** `host` or `host:port` that may be private: the setting `network.allowedHosts` as it is now, and hosts that other settings name. */
  readonly allowedHosts: () => readonly string[];
  /** Allows this machine's own addresses: for engines, whose address the user configured, not for names to pull. */
  readonly isLoopbackAllowed?: boolean;
  /** Creates the error of a refusal. */
  refuse(message: string, next: NextStep): OrchestratorError;
  readonly lookup?: typeof systemLookup;
}) {
  const { lookup: resolve = systemLookup } = options;

  /** Whether the settings name it: then its address is not checked. */
  function isNamed(url: URL): boolean {
    const port = url.port === "" ? { "http:": "80", "https:": "443" }[url.protocol] : url.port;
    const named = options.allowedHosts().map((entry) => normalEntry(entry));
    return named.includes(url.hostname) || named.includes(`${url.hostname}:${port ?? ""}`);
  }

  /** `leads` completes the host of a name. */
  function refusal(host: string, leads?: string): OrchestratorError {
    const what = leads === undefined ? `${host} is` : `${host} ${leads},`;
    return options.refuse(`${what} a private address that is not listed in network.allowedHosts`, {
      step: "allowHost",
      host,
    });
  }

  function isRefused(address: string): boolean {
    const kind = kindOf(address);
    return kind === "private" || (kind === "loopback" && options.isLoopbackAllowed !== true);
  }

  /** Throws the refusal of a numeric address. Names are judged by `lookup`. */
  function check(url: URL): void {
    const address = plainHost(url);
    if (isIP(address) !== 0 && isRefused(address) && !isNamed(url)) throw refusal(hostOf(url));
  }

  /** For `net.connect`: fails with the refusal if one of the addresses is private. */
  const lookup: LookupFunction = (hostname, asked, callback) => {
    // Check all of them: the connection may use any.
    resolve(hostname, { ...asked, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, []);
      const bad = addresses.find(({ address }) => isRefused(address));
      if (bad !== undefined) return callback(refusal(hostname, `leads to ${bad.address}`), []);
      const [first] = addresses;
      if (asked.all === true || first === undefined) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };

  return {
    isNamed,
    check,
    lookup,
    /** Like `check`, and resolves names; for addresses that another program will connect to. */
    async approve(url: URL) {
      check(url);
      if (isNamed(url) || isIP(plainHost(url)) !== 0) return;
      // A trailing dot doesn't change a name, but some resolvers know only one of the two forms.
      const host = plainHost(url).replace(/\.$/, "");
      if (host === "localhost" || host.endsWith(".localhost")) {
        if (options.isLoopbackAllowed === true) return;
        throw refusal(hostOf(url), "leads to 127.0.0.1");
      }
      await new Promise<void>((done, fail) => {
        lookup(host, { all: true }, (error) => {
          if (error === null) done();
          else if (!("syscall" in error)) fail(error);
          // A public name that can't be resolved here may be known to the other program, for example its proxy.
          else if (isLocalName(host)) fail(refusal(hostOf(url), "is a name of the local network"));
          else done();
        });
      });
    },
  };
}

/** A name that only a local name server knows: a single label, or a domain that can't be registered. */
function isLocalName(host: string): boolean {
  return !host.includes(".") || /\.(local|localdomain|internal|intranet|lan|home|corp|private|arpa)$/.test(host);
}

/** `URL` has normalized every notation of an IPv4 address. */
function plainHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

/** With its port, if the address has one: as `network.allowedHosts` takes it. */
function hostOf(url: URL): string {
  return url.port === "" ? plainHost(url) : url.host;
}

function normalEntry(entry: string): string {
  const [, host = entry, port] = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(entry.trim()) ?? [];
  const bracketed = isIP(host) === 6 ? `[${host}]` : host;
  const name = URL.canParse(`https://${bracketed}`)
    ? new URL(`https://${bracketed}`).hostname
    : bracketed.toLowerCase();
  return port === undefined ? name : `${name}:${Number(port)}`;
}

/** `loopback` reaches this machine only, `private` its network only or no single host. */
export function kindOf(address: string): "public" | "loopback" | "private" {
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const withoutZone = address.split("%")[0] ?? address;
  if (loopback.check(withoutZone, family)) return "loopback";
  return reserved.check(withoutZone, family) ? "private" : "public";
}

const loopback = blockList(["127.0.0.0/8", "::1/128"]);

/** IANA's special-purpose registries: private, link-local (with cloud metadata), shared, multicast, reserved. */
const reserved = blockList(reservedSubnets);

function blockList(subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [address = "", bits] = subnet.split("/");
    const prefix = Number(bits);
    list.addSubnet(address, prefix, isIP(address) === 6 ? "ipv6" : "ipv4");
    if (isIP(address) === 6) continue;
    // The same inside IPv6: compatible, translated (NAT64, SIIT), 6to4. Node itself finds mapped ones.
    for (const start of ["::", "64:ff9b::", "::ffff:0:"]) list.addSubnet(start + address, 96 + prefix, "ipv6");
    const hex = Buffer.from(address.split(".").map(Number)).toString("hex");
    list.addSubnet(`2002:${hex.slice(0, 4)}:${hex.slice(4)}::`, 16 + prefix, "ipv6");
  }
  return list;
}
