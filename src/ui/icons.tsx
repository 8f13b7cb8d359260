/** Line icons on a grid of 16, drawn for this page; always beside a text, so they are hidden from screen readers. */
const paths = {
  overview: "M2 9.5h3l2-6 3 9 2-5h2",
  models: "M8 1.8 14 5v6l-6 3.2L2 11V5zM2 5l6 3.2L14 5M8 8.2v6",
  history: "M2 2v12h12M4.5 10.5 7 7.5l2.5 2L13.5 5",
  decisions: "M3 2.5v11M3 5h6.5a2 2 0 0 1 0 4H3M9.5 5 12 2.5M9.5 9l2.5 2.5",
  profiles: "M2 4h7M12 4h2M2 12h2M7 12h7M10.5 2.5v3M5.5 10.5v3M2 8h4M9 8h5M7.5 6.5v3",
  jobs: "M2 3.5h3v3H2zM2 9.5h3v3H2zM8 5h6M8 11h6",
  pipelines: "M2 3h4v4H2zM10 9h4v4h-4zM6 5h3v6h1",
  memory: "M4 2h8v12l-4-3-4 3z",
  templates: "M3 2h7l3 3v9H3zM10 2v3h3M5.5 8h5M5.5 11h5",
  compare: "M2.5 3h4v10h-4zM9.5 3h4v10h-4z",
  evals: "M2.5 13.5v-4h3v4zM6.5 13.5v-8h3v8zM10.5 13.5v-6h3v6zM6.5 2.8l1.2 1.2 2-2.2",
  settings:
    "M8 10.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4zM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M3.4 12.6l1.4-1.4M11.2 4.8l1.4-1.4",
  engines: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01M8 5h3M8 11h3",
  more: "M3 8h.01M8 8h.01M13 8h.01",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  keyboard: "M1.5 4h13v8h-13zM4 6.5h.01M7 6.5h.01M10 6.5h.01M12.5 6.5h.01M5 9.5h6",
  pin: "M6 2h4l-.5 4L12 8.5V10H4V8.5L6.5 6zM8 10v4",
  close: "M4 4l8 8M12 4l-8 8",
  warning: "M8 2 14.5 13.5h-13zM8 6.5v3.2M8 11.6h.01",
  check: "M3 8.5l3.2 3L13 4.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
