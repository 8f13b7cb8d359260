import { formatConnections } from "../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../tools/index.ts";
import { Badge, Button, Card, Details, Empty, Show, type Tone } from "./components.tsx";
import { useData } from "./data.ts";
import { Values } from "./fields.tsx";
import { formatCount, given, visibleName } from "./format.ts";
import names from "./connection-names.json" with { type: "json" };
import { client } from "./state.ts";

type Status = ToolAnswers["system_status"];
/** Health of an engine: the word, how it looks, and what it means. */
const healths: Readonly<Record<string, readonly [word: string, tone: Tone, meaning: string]>> = {
  ok: ["ok", "good", ""],
  not_installed: ["not installed", "plain", "It is installed when it is first needed, for example by the first pull."],
  unreachable: ["unreachable", "bad", "Its server does not answer. Start it, or change its address in the settings."],
  stuck: ["stuck", "bad", "It answers, but generates no tokens. Restart its server."],
  not_contacted: [
    "not contacted",
    "plain",
    "It is not on this machine, and privacy is local_only: nothing is sent to it, not even to ask whether it is there.",
  ],
};

/** Where models run, whether each engine is well, and whether anything leaves this machine. */
export function Engines() {
  const found = useData(() => client.callTool("system_status", {}), ["memory", "models", "tools"]);
  return (
    <Show of={found}>
      {(status) => (
        <>
          <Privacy status={status} />
          <section class="columns" aria-label="Engines">
            {status.engines.map((engine) => (
              <EngineCard key={engine.id} engine={engine} />
            ))}
          </section>
          {status.engines.length === 0 && (
            <Empty title="No engine is enabled.">
              <p>
                Enable one in the <a href="#/settings">settings</a>, under providers.
              </p>
            </Empty>
          )}
          <div class="toolbar">
            <Button text="Check again" onRun={found.reload} />
            <span class="muted">
              ollm {visibleName(status.version)}, home <code>{visibleName(status.home)}</code>
            </span>
          </div>
          {(status.warnings ?? []).map((warning) => (
            <p key={warning} class="banner wrap">
              {visibleName(warning)}
            </p>
          ))}
        </>
      )}
    </Show>
  );
}

/** Whether anything left this machine, and how one knows. */
function Privacy({ status }: { readonly status: Status }) {
  const { privacy, remote_requests, remote_text, engines } = status;
  const isLocal = privacy === "local_only";
  const remote = engines.filter(({ is_remote }) => is_remote === true);
  const uncontacted = remote.filter(({ health }) => health === "not_contacted");
  return (
    <Card
      title="Privacy"
      actions={<Badge tone={isLocal ? "good" : "warning"}>{isLocal ? "local only" : "remote allowed"}</Badge>}
    >
      <p class="statement">{visibleName(remote_text)}.</p>
      <p class="muted">
        {isLocal
          ? "A lock in front of the engines refuses every call of an engine that is not on this machine, also after a failure. The daemon counts each prompt that passes it."
          : "Requests may go to the remote engines below when no local model suits. Set privacy to local_only in the settings to refuse that."}
      </p>
      <Values
        rows={[
          ["Remote engines", formatCount(remote.length)],
          ["Not contacted", remote.length === 0 ? undefined : formatCount(uncontacted.length)],
          ["Prompts sent to them", formatCount(remote_requests)],
        ]}
      />
    </Card>
  );
}

function EngineCard({ engine }: { readonly engine: Status["engines"][number] }) {
  const { id, health, is_remote, version, message, model_count, connections } = engine;
  const [word, tone, meaning] = healths[health] ?? [health, "warning", ""];
  return (
    <Card title={visibleName(id)} actions={<Badge tone={tone}>{word}</Badge>}>
      {meaning !== "" && <p class="muted">{meaning}</p>}
      {message !== undefined && <p class="wrap">{visibleName(message)}</p>}
      <Values
        rows={[
          ["Where", is_remote === true ? <Badge tone="warning">another machine</Badge> : "this machine"],
          ["Version", given(version, visibleName)],
          ["Models", formatCount(model_count)],
        ]}
      />
      {connections !== undefined && <Connections numbers={connections} />}
    </Card>
  );
}

/** What the names of the numbers mean. */
const connectionNames: Readonly<Record<string, string>> = names;

function Connections({ numbers }: { readonly numbers: Readonly<Record<string, number>> }) {
  return (
    <Details summary={visibleName(formatConnections(numbers))}>
      <Values
        rows={Object.entries(numbers).map(([name, count]) => [
          connectionNames[name] ?? visibleName(name),
          formatCount(count),
        ])}
      />
    </Details>
  );
}
