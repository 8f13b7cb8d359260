import { createHash } from "node:crypto";
import { guideIn } from "../../src/cli/setup/guide-plan.ts";

type GuideForm = Parameters<typeof guideIn>[0];

const sumInMark = /((?:<!--|") ?ollm guide )[0-9a-f]{8}/;

/** A guide as an earlier version of setup would have written it. */
export function olderGuide(form: GuideForm): string {
  const text = guideIn(form).replace("Check before use", "Check it").replace("turns it off", "ends it");
  const sum = createHash("sha256").update(text.replace(sumInMark, "$1")).digest("hex").slice(0, 8);
  return text.replace(sumInMark, `$1${sum}`);
}
