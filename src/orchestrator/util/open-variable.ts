/**
 * The variable without a value that a whole text (files, stdin) fills: `text`, else the only required one. Undefined if
 * there is none, or if it is ambiguous.
 */
export function openVariable(
  variables: readonly {
    readonly name: string;
    readonly type: string;
    readonly isRequired: boolean;
    readonly enum?: readonly string[];
  }[],
  given: Readonly<Record<string, unknown>>,
): string | undefined {
  const open = variables.filter(
    ({ name }) => !Object.hasOwn(given, name) || given[name] === undefined || given[name] === null,
  );
  const required = open.filter(({ isRequired }) => isRequired);
  const found = open.find(({ name }) => name === "text") ?? (required.length === 1 ? required[0] : undefined);
  // Files don't fill numbers and enums.
  return found?.type === "string" && found.enum === undefined ? found.name : undefined;
}
