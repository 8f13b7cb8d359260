import { buildAll } from "../../scripts/build.ts";

/** Process tests drive the built command: it is built once per run. */
export default async function setup(): Promise<void> {
  await buildAll();
}
