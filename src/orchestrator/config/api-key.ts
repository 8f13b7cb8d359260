import type { FileHandle } from "node:fs/promises";
import { InvalidConfig } from "../api/errors.ts";
import { type NextSteps, advice } from "../api/next-step.ts";
import { expandHome } from "./home.ts";
import type { OpenAiServer } from "./openai-servers.ts";
import { openRegular } from "../storage/replace-file.ts";
import { codeOf } from "../util/values.ts";

/** Far more than a key has. */
const maxKeyBytes = 16_384;

/**
 * The key of a server, read anew each time, so that a replaced one applies at once; undefined if it needs none. Throws
 * `InvalidConfig` with what to do, and never with the key.
 */
export async function readApiKey(
  { apiKeyEnv, apiKeyFile }: Pick<OpenAiServer, "apiKeyEnv" | "apiKeyFile">,
  {
    variable,
    userHome,
    platform,
  }: {
    /** The value of a variable. */
    readonly variable: (name: string) => string | undefined;
    readonly userHome: string;
    readonly platform: NodeJS.Platform;
  },
): Promise<string | undefined> {
  if (apiKeyEnv !== undefined) {
    const key = variable(apiKeyEnv)?.trim() ?? "";
    return key === "" ? missingVariable(apiKeyEnv) : key;
  }
  if (apiKeyFile === undefined) return undefined;
  const file = expandHome(apiKeyFile, userHome);
  const text = (await readKeyFile(file, platform)).trim();
  if (text === "") throw new InvalidConfig(`its key file ${file} is empty`, { next: writeKey(file) });
  if (/\s/.test(text)) {
    throw new InvalidConfig(`its key file ${file} contains more than a key`, { next: writeKey(file) });
  }
  return text;
}

function missingVariable(name: string): never {
  if (name.startsWith("OLLM_")) {
    throw new InvalidConfig(`the variable ${name} with its key is not set for this process`, {
      next: [
        { step: "restartDaemon", after: `set ${name} where the client or shell starts` },
        advice("put the key into a file and name it in apiKeyFile"),
      ],
    });
  }
  throw new InvalidConfig(
    `the variable ${name} with its key is not set for this process: only variables named OLLM_... reach the daemon`,
    {
      next: advice(`rename it OLLM_${name} in apiKeyEnv and where it is set, or put the key into a file (apiKeyFile)`),
    },
  );
}

async function readKeyFile(file: string, platform: NodeJS.Platform): Promise<string> {
  let handle: FileHandle;
  try {
    handle = await openRegular(file);
  } catch (error) {
    const code = codeOf(error) ?? String(error);
    const problem = code === "ENOENT" ? "does not exist" : `can't be read (${code})`;
    throw new InvalidConfig(`its key file ${file} ${problem}`, { next: writeKey(file) });
  }
  try {
    const facts = await handle.stat();
    if (!facts.isFile() || facts.size > maxKeyBytes) {
      throw new InvalidConfig(`its key file ${file} is not a small regular file`, { next: writeKey(file) });
    }
    if (platform !== "win32" && (facts.mode & 0o077) !== 0) {
      const mode = (facts.mode & 0o777).toString(8).padStart(4, "0");
      throw new InvalidConfig(`its key file ${file} can be read by other users (mode ${mode})`, {
        next: advice(`run chmod 600 ${file}, and replace the key if others could have read it`),
      });
    }
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

function writeKey(file: string): NextSteps {
  return advice(`write nothing but the key into ${file} and run chmod 600 ${file}`);
}
