import type { JsonSchema } from "../../src/orchestrator/api/types.ts";
import { ground } from "../../src/orchestrator/checks/grounding.ts";
import type { Bench } from "../bench.ts";
import { rounded } from "../support/statistics.ts";
import { halves, readHalf } from "./sets.ts";

interface Extraction {
  readonly id: string;
  readonly kind: string;
  readonly source: string;
  readonly file: string;
  readonly prompt: string;
  readonly format: JsonSchema;
  readonly candidates: readonly {
    readonly answer: unknown;
    readonly fields: Readonly<Record<string, "present" | "absent" | "exempt">>;
  }[];
}

/** Each labelled value of the candidate answers, judged without a model. */
function judged({ source, file, prompt, format, candidates, kind, id }: Extraction) {
  return candidates.flatMap(({ answer, fields }) => {
    const { missing, notJudged } = ground(answer, format, [{ path: file, text: source }], { prompt });
    return Object.entries(fields).map(([pointer, label]) => {
      const status = missing.includes(pointer) ? "null" : notJudged.includes(pointer) ? "not judged" : "kept";
      return { id, kind, pointer, label, status };
    });
  });
}

export const extractions: Bench = {
  name: "extractions",
  summary: "values of extractions that stand in the text are kept, invented ones are not",
  runsSources: true,
  async run() {
    const rows = await Promise.all(
      halves.map(async (half) => {
        const values = (await readHalf<Extraction>("extractions", half)).flatMap(judged);
        const present = values.filter(({ label }) => label === "present");
        const absent = values.filter(({ label }) => label === "absent");
        // The value stands in the text, of something else: no search for it alone can tell.
        const elsewhere = absent.filter(({ kind }) => kind === "stated of another");
        const passed = absent.filter(({ status }) => status !== "null");
        const lost = present.filter(({ status }) => status === "null");
        const named = (failed: typeof values) => failed.map(({ id, pointer }) => `${id}${pointer}`).join(" ");
        return {
          half,
          present: present.length,
          kept: present.length === 0 ? 0 : rounded(1 - lost.length / present.length, 3),
          invented: absent.length - elsewhere.length,
          passed: passed.length - passed.filter((each) => elsewhere.includes(each)).length,
          "not judged": passed.filter(({ status }) => status === "not judged").length,
          "of another": elsewhere.length,
          "of another, passed": passed.filter((each) => elsewhere.includes(each)).length,
          ...(half === "dev" && { wrong: named([...lost, ...passed]) }),
        };
      }),
    );
    return { rows };
  },
};
