/**
 * Takes the place of `@modelcontextprotocol/server/_shims` in the bundle. The SDK's own light variants also replace
 * `process` by a stub without stdin, which a stdio server needs.
 */
export { CfWorkerJsonSchemaValidator as DefaultJsonSchemaValidator } from "@modelcontextprotocol/server/validators/cf-worker";
export { default as process } from "node:process";
