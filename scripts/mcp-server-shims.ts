/**
 * Takes the place of `@modelcontextprotocol/server/_shims` in the bundle. The SDK's own light variants also replace
 * `process` by a stub without stdin, which a stdio server needs. Not imported from `node:process`, which opens stdin,
 * stdout and stderr to look at them: 2 ms of every start.
 */
export { CfWorkerJsonSchemaValidator as DefaultJsonSchemaValidator } from "@modelcontextprotocol/server/validators/cf-worker";
const ownProcess = process;
export { ownProcess as process };
