import { createHash } from "node:crypto";
import path from "node:path";
import { nameToSegments, type ModelName } from "../../../util/model-name.ts";

/** An inactive download is `sha256-HEX-partial`; an active one has its owner's mark as a suffix. */
export interface PartialOwner {
  /** First 8 hex digits of the sha256 of the machine's name: process ids are valid on one machine only. */
  readonly machine: string;
  readonly processId: number;
  /** Unique per claim. */
  readonly token: string;
}

const PARTIAL = /^sha256-([0-9a-f]{64})-partial(?:-([0-9a-f]{8})-(\d+)-([0-9a-f]{8}))?$/;

/** Paths in one store folder, in Ollama's layout: `blobs/sha256-HEX` and `manifests/HOST/NAMESPACE/MODEL/TAG`. */
export interface StoreLayout {
  readonly folder: string;
  readonly blobsFolder: string;
  readonly manifestsFolder: string;
  readonly platform: NodeJS.Platform;
  /** `hex` must be 64 lower-case hex digits, as in parsed manifests. */
  blobFile(hex: string): string;
  manifestFile(name: ModelName): string;
  partialFile(hex: string, owner?: PartialOwner): string;
}

export function storeLayout(folder: string, platform: NodeJS.Platform): StoreLayout {
  const paths = platform === "win32" ? path.win32 : path.posix;
  const blobsFolder = paths.join(folder, "blobs");
  const manifestsFolder = paths.join(folder, "manifests");
  const blobFile = (hex: string) => paths.join(blobsFolder, `sha256-${hex}`);
  return {
    folder,
    blobsFolder,
    manifestsFolder,
    platform,
    blobFile,
    manifestFile: (name) => paths.join(manifestsFolder, ...nameToSegments(name, platform)),
    partialFile: (hex, owner) =>
      `${blobFile(hex)}-partial${owner === undefined ? "" : `-${owner.machine}-${owner.processId}-${owner.token}`}`,
  };
}

/** The digest and owner in the name of a file in `blobs/`; `undefined` if it isn't a partial download. */
export function parsePartialName(
  fileName: string,
): { readonly hex: string; readonly owner?: PartialOwner } | undefined {
  const [, hex, machine, processId, token] = PARTIAL.exec(fileName) ?? [];
  if (hex === undefined) return undefined;
  if (machine === undefined || processId === undefined || token === undefined) return { hex };
  return { hex, owner: { machine, processId: Number(processId), token } };
}

/** The mark of this machine in the names of partials. */
export function machineMark(hostname: string): string {
  return createHash("sha256").update(hostname).digest("hex").slice(0, 8);
}

/**
 * Folders in which an Ollama on this machine may store its models, most likely first: `OLLAMA_MODELS`, the user's own,
 * and those of its Linux services (official installer, NixOS, Arch). They need not exist.
 */
export function ollamaStoreCandidates(
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
  home: string,
): readonly string[] {
  const paths = platform === "win32" ? path.win32 : path.posix;
  // Ollama strips spaces and quotes from its variables.
  const configured = (env["OLLAMA_MODELS"] ?? "").trim().replace(/^["']+|["']+$/g, "");
  const services = ["/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama"];
  const candidates = [
    ...(paths.isAbsolute(configured) ? [configured] : []),
    paths.join(home, ".ollama", "models"),
    ...(platform === "linux" ? services : []),
  ];
  return [...new Set(candidates.map((folder) => paths.normalize(folder)))];
}
