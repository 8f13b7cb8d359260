const pattern = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$/;

/** Prompts that this server has besides templates: a template of that name could not be shown as one. */
export const reservedNames: readonly string[] = ["memory"];

/** Files that Windows takes for devices, whatever their ending. */
const devices = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$/i;

/** Why this can't be a template's name, in words that follow it; undefined when it can. It is a file's name too. */
export function nameProblem(name: string): string | undefined {
  if (!pattern.test(name)) {
    return "is no name: use 1 to 64 letters, digits, - and _, with a letter or digit first and last";
  }
  if (reservedNames.includes(name.toLowerCase())) return "is the name of a prompt of ollm: choose another";
  return devices.test(name) ? "is a device on Windows: choose another name" : undefined;
}
