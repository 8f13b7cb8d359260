import { signal } from "@preact/signals";
import uPlot from "uplot";

const count = signal(0);

/** The frame of the dashboard: navigation, state of the connection, and the page that the address names. */
export function App() {
  return (
    <main>
      <h1>
        ollm {count} {uPlot.name}
      </h1>
    </main>
  );
}
