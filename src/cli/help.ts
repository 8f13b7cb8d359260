/** `ollm --help`. */
export const help = `ollm: local language models for MCP hosts

Usage
  ollm [options]                 MCP server on stdin and stdout, for a host to start
  ollm import FILE NAME          take a local GGUF file into the model store

Options
  --standalone                   owner and server in one process
  --root DIR                     folder whose files tools may read and write (repeatable)
  --model NAME                   model used when a request names none
  --host URL                     address of the Ollama server
  --temperature N  --max-tokens N  --context-size N
  --version, --help

Examples
  claude mcp add ollm -- ollm --root ~/projects
  ollm import ./qwen2.5-0.5b-q4_k_m.gguf qwen2.5:0.5b
  OLLM_HOME=/data/ollm ollm --standalone

Settings: OLLM_HOME/config.yaml and OLLM_* variables. OLLM_HOME is ~/.ollm unless that variable names another folder.
`;
