/**
 * Prints the closing line of `.ci/run`, alone on its line: `N passed, N failed`, then `, N skipped` if any.
 * Arguments: vitest's JSON report, the number of checks that failed before the tests, vitest's exit status.
 * Exits with 1 when anything failed.
 */
import { readFile } from "node:fs/promises";

interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

const [reportFile = "", failedChecks = "0", testStatus = "0"] = process.argv.slice(2);

/** A run that ended before it could report counts as one failure, with any number of passed tests. */
async function readReport(): Promise<TestReport | undefined> {
  try {
    return JSON.parse(await readFile(reportFile, "utf8")) as TestReport;
  } catch (error) {
    console.error(`no test report at ${reportFile}: ${String(error)}`);
    return undefined;
  }
}

const report = await readReport();
// A file that can't even be imported fails without any test in it failing.
const brokenFiles =
  report?.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && !assertionResults.some((test) => test.status === "failed"),
  ).length ?? 0;
let failed = Number(failedChecks) + (report?.numFailedTests ?? 1) + brokenFiles;
// Unhandled errors and a failed global setup are visible only in the exit status.
if (failed === Number(failedChecks) && testStatus !== "0") failed += 1;
const skipped = (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);

console.log(`${report?.numPassedTests ?? 0} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failed > 0 ? 1 : 0;
