import type { InspectGguf } from "../gguf/inspect.ts";
import type { Log } from "../log.ts";
import type { DownloadEvent } from "./download.ts";
import type { WriteAt } from "./files.ts";
import type { HttpGet } from "./http.ts";
import type { ModelName } from "./model-name.ts";
import type { Mutex } from "../async/mutex.ts";
import type { StoreReader } from "./reader.ts";
import type { RegistrySettings } from "./registry-client.ts";
import type { Share } from "../async/share.ts";
import type { StoredModel } from "./store.ts";
import type { RetryOptions } from "./transient.ts";

/** Everything outside that a model store touches, and its rules; all of it given. */
export interface StoreDependencies {
  readonly registry: RegistrySettings;
  readonly http: HttpGet;
  readonly userAgent: string;
  readonly inspect?: InspectGguf;
  /** Milliseconds since the epoch; compared with the times of files. */
  readonly now: () => number;
  /** Bytes this user may still write in the file system of an existing folder. */
  readonly freeDiskBytes: (folder: string) => Promise<number>;
  readonly log: Log;
  readonly retry: RetryOptions;
  readonly writeAt: WriteAt;
}

/** What the store's operations share. */
export interface StoreContext {
  readonly options: StoreDependencies;
  readonly own: StoreReader;
  /** Held while manifests are written or removed. */
  readonly lock: Mutex;
  /** Downloads under way, by digest. */
  readonly share: Share<DownloadEvent, void>;
  /** The model of that name that the engine would get: own before foreign. */
  findUsable(name: ModelName): Promise<StoredModel | undefined>;
}
