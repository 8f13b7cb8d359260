/** A process that applies the changes of a worker, for tests that kill it: `HOME BASE ID COUNT`. Kills itself after COUNT files. */
import { applyWork } from "../../src/server/files/apply-work.ts";

const [home = "", base = "", id = "", count = "0"] = process.argv.slice(2);
let done = 0;
await applyWork(home, id, { folders: [base], closed: home }, async () => {
  done += 1;
  if (done === Number(count)) process.kill(process.pid, "SIGKILL");
});
