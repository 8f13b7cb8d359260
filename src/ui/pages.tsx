import type { ComponentType } from "preact";
import { Compare } from "./compare.tsx";
import { Decisions } from "./decisions.tsx";
import { Engines } from "./engines.tsx";
import { Evals } from "./evals.tsx";
import type { IconName } from "./icons.tsx";
import { History } from "./history.tsx";
import { Models } from "./models.tsx";
import { Jobs } from "./jobs.tsx";
import { Memory } from "./memory.tsx";
import { Overview } from "./overview.tsx";
import { Profiles } from "./profiles.tsx";
import { Settings } from "./settings.tsx";
import { Templates } from "./templates.tsx";

/** A page of the dashboard. To add one, write its component in a file of its own and list it here. */
export interface Page {
  /** Its address: `#/models`; the first page also has the empty one. */
  readonly id: string;
  readonly title: string;
  readonly icon: IconName;
  /** The key after `g` that opens it. */
  readonly key: string;
  readonly View: ComponentType;
  /** The heading above it in the navigation; absent: that of the page before. */
  readonly group?: string;
}

/** In the order of the navigation. On a phone the first three are shown, the rest under "More". */
export const pages: readonly [Page, ...Page[]] = [
  { id: "overview", title: "Overview", icon: "overview", key: "o", View: Overview, group: "This machine" },
  { id: "models", title: "Models", icon: "models", key: "m", View: Models },
  { id: "history", title: "History", icon: "history", key: "h", View: History },
  { id: "engines", title: "Engines", icon: "engines", key: "e", View: Engines },
  { id: "jobs", title: "Jobs", icon: "jobs", key: "j", View: Jobs, group: "Work" },
  { id: "compare", title: "Compare", icon: "compare", key: "c", View: Compare },
  { id: "evals", title: "Evals", icon: "evals", key: "v", View: Evals },
  { id: "decisions", title: "Decisions", icon: "decisions", key: "d", View: Decisions },
  { id: "profiles", title: "Profiles", icon: "profiles", key: "p", View: Profiles },
  { id: "memory", title: "Memories", icon: "memory", key: "r", View: Memory, group: "Yours" },
  { id: "templates", title: "Templates", icon: "templates", key: "t", View: Templates },
  { id: "settings", title: "Settings", icon: "settings", key: "s", View: Settings },
];
