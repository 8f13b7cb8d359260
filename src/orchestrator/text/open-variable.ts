/** What is looked at of a template's variable. */
export interface OpenVariable {
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly enum?: readonly string[];
}

/**
 * The variable that a whole text goes into (files, what is piped in): `text`, else the only required one, of those
 * without a value. Undefined where there is none, or several could be meant.
 */
export function openVariable(
  variables: readonly OpenVariable[],
  given: Readonly<Record<string, unknown>>,
): string | undefined {
  const open = variables.filter(
    ({ name }) => !Object.hasOwn(given, name) || given[name] === undefined || given[name] === null,
  );
  const required = open.filter(({ isRequired }) => isRequired);
  const found = open.find(({ name }) => name === "text") ?? (required.length === 1 ? required[0] : undefined);
  // A number, or one of a few words, is in no file.
  return found?.type === "string" && found.enum === undefined ? found.name : undefined;
}
