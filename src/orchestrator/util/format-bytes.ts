/** `5.7 GB`, `98.1 MB`: decimal units with one decimal place, like Ollama. Negative values count as 0. */
export function formatBytes(bytes: number): string {
  const value = Math.max(0, bytes);
  if (value < 1e3) return `${Math.round(value)} bytes`;
  // 999,950 bytes would round to "1000.0 kB".
  if (value < 999_950) return `${(value / 1e3).toFixed(1)} kB`;
  if (value < 999_950_000) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}
