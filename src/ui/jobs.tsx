import { useSignal } from "@preact/signals";
import { formatBytes, formatDuration } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import {
  Badge,
  Button,
  Card,
  Dialog,
  Empty,
  Failure,
  Name,
  NameButton,
  Show,
  type Tone,
  Table,
} from "./components.tsx";
import { useData } from "./data.ts";
import { Filter, Progress, Values, TextBlock, When, isMatch } from "./fields.tsx";
import { formatCount, given, visibleName, visibleText } from "./format.ts";
import { cancel } from "./model-actions.ts";
import { client } from "./state.ts";

type Job = ResourceData["ollm://jobs"]["jobs"][number];
type WholeJob = ResourceData["ollm://jobs/{id}"];

const tones: Readonly<Record<Job["state"], Tone>> = {
  running: "warning",
  succeeded: "good",
  failed: "bad",
  cancelled: "plain",
};

/** Calls that took longer than their client waits, with what has become of them. */
export function Jobs() {
  const found = useData(() => client.readResource("ollm://jobs"), ["job"]);
  const query = useSignal("");
  const opened = useSignal<string | undefined>(undefined);
  return (
    <>
      <Show of={found}>
        {({ jobs }) => {
          if (jobs.length === 0) {
            return (
              <Empty title="There are no jobs.">
                <p>
                  A call that takes longer than its client waits, such as a large download or a long answer, continues
                  as a job. Its result is kept here for a day.
                </p>
              </Empty>
            );
          }
          const shown = jobs.filter((job) => isMatch(query.value, job.id, job.title, job.client, job.state));
          return (
            <Card title="Jobs, newest first">
              <div class="toolbar">
                <Filter label="Filter jobs" query={query} />
              </div>
              <Table
                label="Jobs"
                rows={shown}
                keyOf={({ id }) => id}
                columns={[
                  {
                    title: "Job",
                    show: ({ id, title }) => <NameButton name={title} onOpen={() => (opened.value = id)} />,
                  },
                  { title: "State", show: ({ state }) => <Badge tone={tones[state]}>{state}</Badge> },
                  { title: "Progress", show: (job) => <JobProgress job={job} /> },
                  { title: "Client", show: (job) => <Name text={job.client} /> },
                  { title: "Started", show: (job) => <When iso={job.started_at} /> },
                  {
                    title: "",
                    show: (job) => job.state === "running" && <CancelButton job={job} />,
                  },
                ]}
              >
                <p class="muted">No job matches the filter.</p>
              </Table>
            </Card>
          );
        }}
      </Show>
      {opened.value !== undefined && <OneJob id={opened.value} onClose={() => (opened.value = undefined)} />}
    </>
  );
}

function JobProgress({ job: { progress, error, state, title } }: { readonly job: Job }) {
  if (error !== undefined) return <span class="wrap">{visibleText(error)}</span>;
  if (progress === undefined || state !== "running") return null;
  return (
    <>
      <span class="wrap">{visibleName(progress.message)}</span>
      {progress.total_bytes !== undefined && (
        <Progress label={title} value={progress.completed_bytes ?? 0} total={progress.total_bytes} />
      )}
    </>
  );
}

function CancelButton({ job: { id, title } }: { readonly job: Pick<Job, "id" | "title"> }) {
  return (
    <Button
      text="Cancel"
      of={title}
      question={{
        title: "Cancel this job?",
        text: `${visibleName(title)} stops. What it has done so far is kept where that is possible.`,
        action: "Cancel the job",
      }}
      onRun={() => cancel(id)}
    />
  );
}

function OneJob({ id, onClose }: { readonly id: string; readonly onClose: () => void }) {
  const found = useData(() => client.readResource("ollm://jobs/{id}", { id }), ["job"], id);
  return (
    <Dialog title="Job" onClose={onClose}>
      <Show of={found}>{(job) => <JobDetails job={job} />}</Show>
    </Dialog>
  );
}

function JobDetails({ job }: { readonly job: WholeJob }) {
  const { progress, error, note, result } = job;
  return (
    <>
      <Values
        rows={[
          ["Work", <Name text={job.title} />],
          ["State", <Badge tone={tones[job.state]}>{job.state}</Badge>],
          ["Id", <code>{visibleName(job.id)}</code>],
          ["Asked by", <Name text={`${job.client} (${job.tool})`} />],
          ["Started", <When iso={job.started_at} />],
          ["Took", given(job.ended_at, (end) => formatDuration(Date.parse(end) - Date.parse(job.started_at)))],
          ["Now", given(progress?.message, visibleName)],
          ["Bytes", given(progress, bytesText)],
          ["Tokens", given(progress?.completion_tokens, formatCount)],
        ]}
      />
      {error !== undefined && <Failure error={error} />}
      {note !== undefined && <p class="muted">{visibleText(note)}</p>}
      {job.partial_answers === undefined && job.partial_text !== undefined && (
        <TextBlock label="Text so far" text={job.partial_text} />
      )}
      {job.partial_answers?.map(({ model, text }) => (
        <TextBlock key={model} title={model} label={`${model}: text so far`} text={text} />
      ))}
      {result !== undefined && <TextBlock label="Result" text={resultText(result)} />}
      {job.state === "running" && (
        <div class="row-actions">
          <CancelButton job={job} />
        </div>
      )}
    </>
  );
}

function bytesText(progress: NonNullable<WholeJob["progress"]>): string | undefined {
  const { completed_bytes, total_bytes, bytes_per_second } = progress;
  if (completed_bytes === undefined) return undefined;
  const total = total_bytes === undefined ? "" : ` of ${formatBytes(total_bytes)}`;
  const speed = bytes_per_second === undefined ? "" : `, ${formatBytes(bytes_per_second)}/s`;
  return `${formatBytes(completed_bytes)}${total}${speed}`;
}

/** The text of a result, or all of it as JSON. */
function resultText(result: Readonly<Record<string, unknown>>): string {
  const { text } = result;
  return typeof text === "string" ? text : JSON.stringify(result, undefined, 2);
}
