import { render } from "preact";
import { App } from "./app.tsx";
import { start } from "./state.ts";

render(<App />, document.body);
void start();
