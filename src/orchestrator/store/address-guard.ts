import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import type { OrchestratorError } from "../errors.ts";
import type { NextStep } from "../next-step.ts";

export interface GuardOptions {
  /** `host` or `host:port` that may be private: the setting `network.allowedHosts`, and hosts that other settings name. */
  readonly allowedHosts: readonly string[];
  /** This machine's own addresses are no secret to whoever configured them: for engines, not for names to pull. */
  readonly isLoopbackAllowed?: boolean;
  /** Makes the error of a refusal. */
  refuse(message: string, next: NextStep): OrchestratorError;
  readonly lookup?: typeof systemLookup;
}

/**
 * Keeps requests away from addresses that only this machine's network reaches: a model's name, a redirect or a name
 * server must not turn a pull into a look around there. An address counts however it is written (decimal, octal,
 * hexadecimal, IPv4 in IPv6 clothes), and a name by every address that it resolves to at the moment of connecting.
 */
export interface AddressGuard {
  /** Named in the settings: connected to without a look at its address. */
  isNamed(url: URL): boolean;
  /** Throws the refusal of a number address. Names are judged by `lookup`. */
  check(url: URL): void;
  /** For `net.connect`: fails with the refusal when one of the addresses is private. */
  readonly lookup: LookupFunction;
  /** `check`, and a look at what the name resolves to; for addresses that another program will connect to. */
  approve(url: URL): Promise<void>;
}

export function createAddressGuard(options: GuardOptions): AddressGuard {
  const { lookup: resolve = systemLookup } = options;
  const named = new Set(options.allowedHosts.map((entry) => normalEntry(entry)));

  function isNamed(url: URL): boolean {
    const port = url.port === "" ? { "http:": "80", "https:": "443" }[url.protocol] : url.port;
    return named.has(url.hostname) || named.has(`${url.hostname}:${port ?? ""}`);
  }

  /** Without an address: of a name that says where it belongs. */
  function refusal(host: string, address?: string): OrchestratorError {
    const leads = address === undefined ? "is a name of the local network," : `leads to ${address},`;
    const what = host === address ? `${host} is` : `${host} ${leads}`;
    return options.refuse(`${what} a private address that is not listed in network.allowedHosts`, {
      step: "allowHost",
      host,
    });
  }

  function isRefused(address: string): boolean {
    const kind = kindOf(address);
    return kind === "private" || (kind === "loopback" && options.isLoopbackAllowed !== true);
  }

  function check(url: URL): void {
    const address = plainHost(url);
    if (isIP(address) !== 0 && isRefused(address) && !isNamed(url)) throw refusal(address, address);
  }

  const lookup: LookupFunction = (hostname, asked, callback) => {
    // All of them: with one public and one private address the connection could end at either.
    resolve(hostname, { ...asked, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, []);
      const bad = addresses.find(({ address }) => isRefused(address));
      if (bad !== undefined) return callback(refusal(hostname, bad.address), []);
      const [first] = addresses;
      if (asked.all === true || first === undefined) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };

  return {
    isNamed,
    check,
    lookup,
    async approve(url) {
      check(url);
      if (isNamed(url) || isIP(plainHost(url)) !== 0) return;
      // With a dot at its end a name is the same name, and some resolvers know only one of the two.
      const host = plainHost(url).replace(/\.$/, "");
      if (host === "localhost" || host.endsWith(".localhost")) {
        if (options.isLoopbackAllowed === true) return;
        throw refusal(plainHost(url), "127.0.0.1");
      }
      await new Promise<void>((done, fail) => {
        lookup(host, { all: true }, (error) => {
          if (error === null) done();
          else if (!("syscall" in error)) fail(error);
          // A public name that we can't resolve may be known to whoever connects, through a proxy say.
          else if (isLocalName(host)) fail(refusal(plainHost(url)));
          else done();
        });
      });
    },
  };
}

/** A name that only a local network's name server knows: one label, or a domain that nobody can register. */
function isLocalName(host: string): boolean {
  return !host.includes(".") || /\.(local|localdomain|internal|intranet|lan|home|corp|private|arpa)$/.test(host);
}

/** `URL` has turned every way of writing an IPv4 address into the usual one. */
function plainHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function normalEntry(entry: string): string {
  const [, host = entry, port] = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(entry.trim()) ?? [];
  const bracketed = isIP(host) === 6 ? `[${host}]` : host;
  const name = URL.canParse(`https://${bracketed}`)
    ? new URL(`https://${bracketed}`).hostname
    : bracketed.toLowerCase();
  return port === undefined ? name : `${name}:${Number(port)}`;
}

/** What only reaches this machine, only its network, or nobody in particular. */
export function kindOf(address: string): "public" | "loopback" | "private" {
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const inner = family === "ipv6" ? innerAddress(address) : undefined;
  if (inner !== undefined) return kindOf(inner);
  if (loopback.check(address, family)) return "loopback";
  return reserved.check(address, family) ? "private" : "public";
}

const loopback = blockList([
  ["127.0.0.0", 8],
  ["::1", 128],
]);

/** IANA's special-purpose address registries: private, link-local (with the clouds' metadata), shared, multicast, not for use. */
const reserved = blockList([
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  ["::", 96],
  ["64:ff9b:1::", 48],
  ["100::", 64],
  ["2001::", 32],
  ["2001:db8::", 32],
  ["3fff::", 20],
  ["5f00::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
]);

function blockList(subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of subnets) list.addSubnet(address, prefix, isIP(address) === 6 ? "ipv6" : "ipv4");
  return list;
}

/** The IPv4 address that an IPv6 address stands for: mapped, compatible, translated (NAT64, SIIT), 6to4. */
function innerAddress(address: string): string | undefined {
  const plain = address.split("%")[0] ?? address;
  if (!URL.canParse(`http://[${plain}]`)) return undefined;
  const groups = groupsOf(new URL(`http://[${plain}]`).hostname.slice(1, -1));
  const [a = 0, b = 0, c = 0] = groups;
  const start = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(":");
  if (["0:0:0:0:0:ffff", "0:0:0:0:ffff:0", "64:ff9b:0:0:0:0"].includes(start)) return dotted(groups[6], groups[7]);
  // ::1 and :: are themselves.
  if (start === "0:0:0:0:0:0" && (groups[6] ?? 0) > 0) return dotted(groups[6], groups[7]);
  return a === 0x2002 ? dotted(b, c) : undefined;
}

/** The eight groups of an IPv6 address as `URL` writes it: without dots, zeros shortened once. */
function groupsOf(address: string): readonly number[] {
  const [head = "", tail] = address.split("::");
  const parse = (text: string) => (text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16)));
  const before = parse(head);
  if (tail === undefined) return before;
  const after = parse(tail);
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}

function dotted(high = 0, low = 0): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
