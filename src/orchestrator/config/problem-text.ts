/** What whoever looks is told of a `config.yaml` that is broken now: its message, and what holds meanwhile. */
export function settingsProblem(message: string): string {
  return `${message}; the settings before hold until it is mended`;
}
