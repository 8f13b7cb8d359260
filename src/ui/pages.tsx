import type { ComponentType } from "preact";
import type { IconName } from "./icons.tsx";
import { Models } from "./models.tsx";
import { Overview } from "./overview.tsx";

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
];
