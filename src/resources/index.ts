import { guideText, skill } from "./guide.ts";
import { type ResourceDefinition, defineResource } from "./definition.ts";
import { modelResources } from "./models.ts";
import { savedResources } from "./settings.ts";
import { statusResources } from "./status.ts";

/** A build's page never changes: a host may keep it for an hour. */
const ttlMs = 3_600_000;

const compareView = defineResource({
  name: "compare-view",
  title: "Comparison",
  description: "Answers side by side, with a button that picks the winner. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/compare",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("compare-view.html"),
});

const statusView = defineResource({
  name: "status-view",
  title: "Status",
  description: "Memory, models in it, queue and engines. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/status",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("status-view.html"),
});

/** The guide that setup offers, for clients of the Skills extension, which list it by a method of its own. */
const guideSkill = defineResource({
  name: skill.fields.name,
  title: "When to use local models",
  description: "The guide that ollm setup offers, as a skill for clients of the Skills extension.",
  uri: skill.uri,
  mimeType: "text/markdown",
  isUnlisted: true,
  ttlMs,
  read: async () => skill.head + guideText,
});

const definitions = [
  ...statusResources,
  ...modelResources,
  ...savedResources,
  compareView,
  statusView,
  guideSkill,
] as const;

/** Every resource, in the order of `resources/list`. */
export const resources: readonly ResourceDefinition[] = definitions;

/** `Data` as a client reads it from JSON: properties whose value is undefined are absent. */
type JsonOf<Data> = Data extends readonly (infer Item)[]
  ? readonly JsonOf<Item>[]
  : Data extends object
    ? { readonly [Key in keyof Data as undefined extends Data[Key] ? never : Key]: JsonOf<Data[Key]> } & {
        readonly [Key in keyof Data as undefined extends Data[Key] ? Key : never]?: JsonOf<
          Exclude<Data[Key], undefined>
        >;
      }
    : Data;

/** The data of each resource, by its URI or template. */
export type ResourceData = {
  readonly [Resource in (typeof definitions)[number] as Resource["uri"]]: JsonOf<Awaited<ReturnType<Resource["read"]>>>;
};
