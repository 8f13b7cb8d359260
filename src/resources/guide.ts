/**
 * What an assistant should know to hand work to local models; the same for every client. With what surrounds it at most 300
 * tokens (o200k). The costs are those that `npm run bench -- answers` measures. Lines fit into 60 columns with an indent.
 */
export const guideText = `## Local models (ollm)

ollm's tools run language models on this machine: free,
private, slower and weaker than you.

Hand over with \`route_and_generate\`: summaries,
extraction, classification, translation, first drafts,
commit messages, boilerplate, bulk work, and text that
must stay on this machine.
Do yourself: careful reasoning, changes across files, and
what needs this conversation or current knowledge.

- Don't read long input: name it in \`files\` (paths, or
  \`git:staged\`), and the server reads it.
- Set \`output_path\` for a long result you needn't read.
- The model sees only your prompt: say what to do and in
  what form. For data, set \`format\` to a JSON Schema.
- A call costs prompt and answer plus about 40 tokens;
  reading 16 kB costs about 3,800.
- Check before use: facts against the source, code by
  running it, bulk work by samples.
- If a call fails or an answer is poor, do the task
  yourself.
`;

/** Agent Skills require that `name` is the name of the folder. */
const fields = {
  name: "ollm",
  description:
    "Hand work to local models (ollm). Use before summarising, extracting, classifying, translating, drafting, or reading a long file or diff.",
};
/** The guide as a skill: its address for clients of MCP, its front matter, and the lines that begin its file. */
export const skill = {
  uri: `skill://${fields.name}/SKILL.md`,
  fields,
  head: `---\nname: ${fields.name}\ndescription: ${fields.description}\n---\n`,
} as const;
