/** Variables that hold for the daemon's life, whoever starts it; a client's own secrets never reach it. */
const names: ReadonlySet<string> = new Set([
  "PATH",
  "HOME",
  "USERPROFILE",
  // temporary folder
  "TMPDIR",
  "TMP",
  "TEMP",
  // proxy
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
  // certificates
  "NODE_EXTRA_CA_CERTS",
  "NODE_USE_SYSTEM_CA",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  // without these many programs don't start on Windows
  "SYSTEMROOT",
  "SYSTEMDRIVE",
  "WINDIR",
  "COMSPEC",
  "PATHEXT",
  "APPDATA",
  "LOCALAPPDATA",
  "PROGRAMDATA",
  "PROGRAMFILES",
  "USERNAME",
  "HOMEDRIVE",
  "HOMEPATH",
  "NUMBER_OF_PROCESSORS",
  "PROCESSOR_ARCHITECTURE",
]);

const prefixes: readonly string[] = ["NPM_CONFIG_", "OLLAMA_", "OLLM_"];

/**
 * What of a front's environment the daemon is started with. Names count in any case, as on Windows and as with proxies;
 * `home` is named in full, because a relative `OLLM_HOME` would mean another folder there.
 */
export function daemonEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  home: string,
): Record<string, string> {
  const passed = Object.entries(environment).filter((entry): entry is [string, string] => {
    const name = entry[0].toUpperCase();
    return entry[1] !== undefined && (names.has(name) || prefixes.some((prefix) => name.startsWith(prefix)));
  });
  return { ...Object.fromEntries(passed), OLLM_HOME: home };
}
