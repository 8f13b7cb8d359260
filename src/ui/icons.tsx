import paths from "./icons.json" with { type: "json" };

export type IconName = keyof typeof paths;

/** A line icon on a grid of 16, drawn for this page; always beside a text, so it is hidden from screen readers. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
