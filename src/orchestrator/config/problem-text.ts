/** Message for an invalid `config.yaml` while the previous settings stay in force. */
export function settingsProblem(message: string): string {
  return `${message}; the previous settings stay in force until it is corrected`;
}
