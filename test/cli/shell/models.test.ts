import { expect, it } from "vitest";
import { renderModels } from "../../../src/cli/shell/models.ts";
import { silentIo as io } from "../../support/silent-io.ts";

it("a pin is shown whether its model is in memory or not", () => {
  const model = (name: string, more: object) => ({
    name,
    engine: "ollama",
    size_bytes: 1e9,
    is_loaded: false,
    ...more,
  });
  const models = [
    model("a:1b", { is_loaded: true, is_pinned: true }),
    model("b:1b", { is_pinned: true }),
    model("c:1b", { is_loaded: true }),
    model("d:1b", {}),
  ];
  expect(renderModels({ models, total: 4 }, undefined, false, io)).toMatchInlineSnapshot(`
    "NAME    SIZE  STATE         ENGINE
    a:1b  1.0 GB  loaded, kept  ollama
    b:1b  1.0 GB  kept          ollama
    c:1b  1.0 GB  loaded        ollama
    d:1b  1.0 GB                ollama
    "
  `);
});
