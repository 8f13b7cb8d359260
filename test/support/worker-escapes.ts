/** Ways out of a worker's copy: names of files, and commands of a verifier. */

const long = "x".repeat(201);

/** Names through which a model might leave its copy, or write what other programs obey. */
export const waysOut: readonly (readonly [what: string, name: string, words: RegExp])[] = [
  ["a folder above", "../secret.txt", /\.\./],
  ["a folder above, from below", "src/../../secret.txt", /\.\./],
  ["a folder above, behind a dot", "./../secret.txt", /\.\./],
  ["an absolute path", "/etc/passwd", /relative/],
  ["the home folder", "~/.ssh/id_rsa", /relative/],
  ["a drive", "C:/Users/ann/x.txt", /relative/],
  ["a drive's current folder", "C:x.txt", /relative/],
  ["a share", "//server/share/x.txt", /relative/],
  ["a share, as Windows writes it", "\\\\server\\share\\x.txt", /relative/],
  ["Windows' separators", "..\\secret.txt", /between its folders/],
  ["NUL", "a.ts\0.txt", /control/],
  ["a line break", "a\nb.ts", /control/],
  ["an invisible character", ".g\u200Cit/config", /invisible/],
  ["a right-to-left override", "a\u202Est.exe", /invisible/],
  ["the decomposed form", "cafe\u0301.ts", /NFC/],
  ["git's data", ".git/config", /git/],
  ["a hook", ".git/hooks/pre-commit", /git/],
  ["git's data in capitals", ".GIT/config", /git/],
  ["git's data by its short name", "GIT~1/config", /git/],
  ["git's data of a submodule", "sub/.git/hooks/post-checkout", /git/],
  ["git's data, with a dot behind", ".git./config", /dot or a space/],
  ["a space behind", "a.ts ", /dot or a space/],
  ["a slash behind", "src/", /empty part/],
  ["an empty part", "src//a.ts", /empty part/],
  ["nothing", "", /1 to 300/],
  ["a device", "nul.txt", /device/],
  ["a device in a folder", "src/COM1", /device/],
  ["a stream", "a.ts:hidden", /stream/],
  ["a long part", long, /more than 200/],
  ["another case", "SRC/A.ts", /is written src\/a\.ts/],
];

/** Files that other programs obey: a worker reads them, and writes none. */
export const obeyed =
  ".gitattributes .gitmodules .husky/pre-commit .githooks/pre-push .envrc .vscode/tasks.json .npmrc .mcp.json .claude/settings.json .github/workflows/ci.yml .ollm/project.yaml".split(
    " ",
  );

/** Each is a command that ends with 0 if it escaped. */
export const escapes: readonly (readonly [what: string, script: (at: { folder: string; port: number }) => string])[] = [
  ["read a file of the user", ({ folder }) => `cat ${folder}/secret.txt`],
  ["list the user's home", () => `ls -A "$HOME" | grep .`],
  ["read the tree of the user", ({ folder }) => `cat ${folder}/tree/a.txt`],
  ["write into the tree of the user", ({ folder }) => `echo x > ${folder}/tree/a.txt`],
  ["read what the system keeps of users", () => "cat /etc/shadow || cat /etc/passwd"],
  ["write to the system", () => "echo x > /usr/bin/ollm-escape"],
  ["see a variable of the daemon", () => `env | grep OLLM_TEST_SECRET`],
  ["see the daemon's variables through /proc", () => "cat /proc/*/environ | tr '\\0' '\\n' | grep OLLM_TEST_SECRET"],
  ["see processes outside", () => `test "$(ls -d /proc/[0-9]* | wc -l)" -gt 12`],
  [
    "connect to a port of this machine",
    ({ port }) => `node -e 'fetch("http://127.0.0.1:${port}").then(() => process.exit(0), () => process.exit(1))'`,
  ],
  [
    "have a network at all",
    () => `node -e 'process.exit(Object.keys(os.networkInterfaces()).some((name) => name !== "lo") ? 0 : 1)'`,
  ],
  ["mount anything", () => "mount -t tmpfs none /usr"],
  ["follow a link that it makes", ({ folder }) => `ln -s ${folder}/secret.txt link && cat link`],
];
