import { Card, Loading } from "./components.tsx";
import { live } from "./state.ts";

/** What happens now. */
export function Overview() {
  if (live.value === undefined) return <Loading />;
  return <Card title="Memory">{live.value.memory.models.length}</Card>;
}
