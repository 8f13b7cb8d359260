/** Variables that the daemon is started with; secrets of the client that starts it are not passed on. */
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
 * The part of a front's environment that the daemon is started with. Names match in any case, as on Windows and for
 * proxies; `home` is an absolute path, because the daemon's working directory differs.
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
