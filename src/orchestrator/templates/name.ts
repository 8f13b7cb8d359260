const pattern = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$/;

/** Names of the server's other prompts, under which a template could not be offered. */
export const reservedNames: readonly string[] = ["memory"];

/** Names that Windows treats as devices, with any extension. */
const devices = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$/i;

/** Why a name is invalid for a template and its file; follows the name. Undefined for a valid name. */
export function nameProblem(name: string): string | undefined {
  if (!pattern.test(name)) {
    return "is not a valid name: use 1 to 64 letters, digits, - and _, with a letter or digit first and last";
  }
  if (reservedNames.includes(name.toLowerCase())) return "is the name of another prompt of ollm: choose another name";
  return devices.test(name) ? "is the name of a device on Windows: choose another name" : undefined;
}
