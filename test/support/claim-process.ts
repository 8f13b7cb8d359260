/** Claims the home of its first argument, prints the outcome, and holds it until it is killed or its input ends. */
import { claimHome } from "../../src/ipc/claim.ts";
import { introducingServer } from "./ipc-home.ts";

const home = process.argv[2] ?? "";
try {
  const claim = await claimHome({ home, version: "1.0.0+a", isStandalone: false, server: introducingServer(home) });
  process.stdout.write(`held ${claim.record.generation}\n`);
  process.stdin.on("end", () => {
    claim.release();
    process.exit(0);
  });
  process.stdin.resume();
} catch (error) {
  process.stdout.write(`refused ${error instanceof Error ? error.message : String(error)}\n`);
}
