import type { InspectGguf } from "../../gguf/inspect.ts";
import type { Log } from "../../../api/log.ts";
import type { DownloadEvent } from "./download.ts";
import type { WriteAt } from "./files.ts";
import type { HttpGet } from "./http.ts";
import type { ModelName } from "../../../util/model-name.ts";
import type { Mutex } from "../../../util/mutex.ts";
import type { StoreReader } from "./reader.ts";
import type { RegistrySettings } from "./registry-client.ts";
import type { Share } from "../../../util/share.ts";
import type { StoredModel } from "./store.ts";
import type { RetryOptions } from "./transient.ts";

/** Everything outside a model store that it uses, and its limits. */
export interface StoreDependencies {
  readonly registry: RegistrySettings;
  readonly http: HttpGet;
  readonly userAgent: string;
  readonly inspect?: InspectGguf;
  /** Milliseconds since the epoch; compared with the times of files. */
  readonly now: () => number;
  /** Bytes that this user may write to the file system of an existing folder. */
  readonly freeDiskBytes: (folder: string) => Promise<number>;
  readonly log: Log;
  readonly retry: RetryOptions;
  readonly writeAt: WriteAt;
}

/** Shared by the store's operations. */
export interface StoreContext {
  readonly options: StoreDependencies;
  readonly own: StoreReader;
  /** Held while manifests are written or deleted. */
  readonly lock: Mutex;
  /** Downloads in progress, by digest. */
  readonly share: Share<DownloadEvent, void>;
  /** The model that the engine would use for that name: own before foreign. */
  findUsable(name: ModelName): Promise<StoredModel | undefined>;
}
