/** Runs in the page: finds its controls as a user does, and tells what has changed since one was pressed. */

/** A control that is seen now. */
export interface Control {
  /** `Delete this template? / button Delete`: the same after the page is drawn anew; of equal ones `#2` is the second. */
  readonly key: string;
  readonly kind: "text" | "select" | "check" | "radio" | "summary" | "button" | "link" | "scrolled";
  readonly name: string;
  /** The dialog that it stands in; empty on the page itself. */
  readonly dialog: string;
  /** The chosen radio button, the link to this very page: pressing it changes nothing. */
  readonly isCurrent: boolean;
  readonly isOff: boolean;
  /** A search field, whose text has to change the list. */
  readonly isFilter: boolean;
  readonly value: string;
  readonly options: readonly string[];
}

const selector = "a[href], button, input, select, textarea, summary, [tabindex='0'], [role=button], [role=menuitem]";
/** Ages and counts change by themselves. */
const agos = /just now|\b\d+ (?:s|min|h|days)\b(?: \d+ min)?(?: ago)?/g;
let found: HTMLElement[] = [];
let changes: string[] = [];
let pressed: HTMLElement | undefined;
/** Whether that stands in a notice. */
let isNotice = false;
/** From `place` to `state`: whether the pointer met something else, because what lies above had grown meanwhile. */
let isMissed: boolean | undefined;

function textOf(element: Element): string {
  const all = [...element.childNodes].map((node) => {
    if (node instanceof Element) return node.getAttribute("aria-hidden") === "true" ? "" : textOf(node);
    return node.textContent ?? "";
  });
  return all.join("").replace(/\s+/g, " ").trim();
}

function nameOf(element: HTMLElement): string {
  const label = element.getAttribute("aria-label");
  if (label !== null) return label;
  const labels = "labels" in element ? [...((element.labels as NodeListOf<HTMLElement> | null) ?? [])] : [];
  const legend = element.closest("fieldset.segmented")?.querySelector("legend")?.textContent ?? "";
  const own = labels.length > 0 ? labels.map(textOf).join(" ") : textOf(element);
  return `${legend === "" ? "" : `${legend}: `}${own}`;
}

function kindOf(element: HTMLElement): Control["kind"] {
  if (element instanceof HTMLInputElement && (element.type === "checkbox" || element.type === "radio"))
    return element.type === "radio" ? "radio" : "check";
  if (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement) return "text";
  if (element instanceof HTMLSelectElement) return "select";
  if (element instanceof HTMLAnchorElement) return "link";
  if (element.tagName === "SUMMARY") return "summary";
  return element.matches("button, [role=button], [role=menuitem]") ? "button" : "scrolled";
}

/** What is pressed for it: of a hidden radio button its label. */
const faceOf = (element: HTMLElement): HTMLElement =>
  element instanceof HTMLInputElement && element.type === "radio" ? (element.closest("label") ?? element) : element;

const isSeen = (element: HTMLElement): boolean => {
  const { width, height } = faceOf(element).getBoundingClientRect();
  return width > 0 && height > 0 && faceOf(element).checkVisibility({ visibilityProperty: true });
};

/** Below an open dialog nothing can be pressed. */
const topmost = (): HTMLElement => [...document.querySelectorAll<HTMLElement>("dialog:modal")].at(-1) ?? document.body;

/** In a long list, below ten rows that have the same. */
function isAlike(element: HTMLElement): boolean {
  const row = element.closest("tr");
  const rows = Number(row?.closest("table")?.getAttribute("aria-rowcount"));
  return rows > 41 && Number(row?.getAttribute("aria-rowindex")) > 11;
}

/** All controls that are seen. */
function controls(): Control[] {
  const top = topmost();
  const dialog = top === document.body ? "" : (top.querySelector("h2")?.textContent ?? "");
  const counts = new Map<string, number>();
  found = [...top.querySelectorAll<HTMLElement>(selector)].filter(
    (each) => isSeen(each) && each.tabIndex >= 0 && !isAlike(each),
  );
  return found.map((element) => {
    const kind = kindOf(element);
    const name = nameOf(element);
    const isWarning = name.startsWith("Dismiss: ");
    const plain =
      kind === "summary" ? name.replace(/ ?\d.*/, "") : isWarning ? plainOf(name) : name.replaceAll(agos, "…");
    const form = kind === "button" ? (element.closest("form")?.querySelector("label")?.textContent ?? "") : "";
    // Many settings may be edited at once.
    const within = form.startsWith("New value of") ? form : dialog;
    const key = `${within === "" ? "" : `${within} / `}${kind} ${plain}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    const field = element as HTMLInputElement;
    const choices = element instanceof HTMLSelectElement ? [...element.options] : [];
    const isHere = element instanceof HTMLAnchorElement && element.getAttribute("aria-current") === "page";
    return {
      key: count === 1 ? key : `${key} #${count}`,
      kind,
      name,
      dialog,
      isCurrent: isHere || (kind === "radio" && field.checked),
      isOff: element.getAttribute("aria-disabled") === "true" || field.readOnly,
      isFilter: field.type === "search" && field.form === null,
      value: kind === "check" || kind === "radio" ? String(field.checked) : (field.value ?? ""),
      options: choices.map((option) => option.value),
    };
  });
}

/** Where to press a control; a text: why it can't be pressed. */
function place(key: string): { readonly x: number; readonly y: number } | string {
  const element = found[controls().findIndex((each) => each.key === key)];
  if (element === undefined) return "it is not there any more";
  const face = faceOf(element);
  // The focus moves from what was pressed before; that says nothing. And what only the keyboard shows is seen.
  element.focus();
  face.scrollIntoView({ block: "center", behavior: "instant" });
  const { left, top, width, height } = face.getBoundingClientRect();
  // A name that is cut may lie partly outside.
  const [x, y] = [left + Math.min(width / 2, 60), top + height / 2];
  const there = document.elementFromPoint(x, y);
  if (there === null || !(face.contains(there) || there.contains(face)))
    return `something lies over it: ${there?.outerHTML.slice(0, 120) ?? "nothing"}`;
  pressed = element;
  isMissed = false;
  isNotice = element.closest(".notices") !== null;
  changes = [];
  return { x, y };
}

for (const type of ["mousedown", "click"])
  addEventListener(
    type,
    (event) => {
      const { target } = event;
      const face = pressed === undefined ? document.body : faceOf(pressed);
      // A label clicks its field as well.
      if (
        isMissed === undefined ||
        !event.isTrusted ||
        face.contains(target as Node) ||
        face.closest("label")?.contains(target as Node)
      )
        return;
      isMissed = true;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );

const plainOf = (text: string | null | undefined): string =>
  (text ?? "").replaceAll(/[\d.,]+/g, "0").replaceAll(agos, "…");

/** Figures and ages that change by themselves, and what a button says of itself, are no answer to a press. */
function changeOf({ type, target, attributeName, oldValue, addedNodes, removedNodes }: MutationRecord): string {
  const element = target instanceof Element ? target : target.parentElement;
  if (element === null || element.closest(".course, .lane, .u-wrap, time") !== null) return "";
  // A notice goes by itself.
  if (!isNotice && element.closest(".notices") !== null && addedNodes.length === 0) return "";
  if (type === "characterData") {
    const text = plainOf(target.textContent);
    return text === plainOf(oldValue) ? "" : `text ${text.slice(0, 60)}`;
  }
  if (type === "attributes") {
    const value = element.getAttribute(attributeName ?? "");
    if (element === pressed && /^aria-(busy|disabled)$/.test(attributeName ?? "")) return "";
    const isSame = (value === null) === (oldValue === null) && plainOf(value) === plainOf(oldValue);
    return isSame ? "" : `${attributeName} ${value?.slice(0, 60)}`;
  }
  const [added = "", removed = ""] = [addedNodes, removedNodes].map((nodes) =>
    [...nodes]
      .map((node) => plainOf(node.textContent))
      .join(" ")
      .slice(0, 60),
  );
  return added === removed && addedNodes.length === removedNodes.length ? "" : `+${added} -${removed}`;
}

addEventListener("DOMContentLoaded", () => {
  new MutationObserver((records) => changes.push(...records.map(changeOf).filter(Boolean))).observe(
    document.documentElement,
    {
      subtree: true,
      childList: true,
      characterData: true,
      characterDataOldValue: true,
      attributes: true,
      attributeOldValue: true,
    },
  );
});

const walked: { readonly key: string; readonly isOutlined: boolean }[] = [];

/** Whether a user sees that it has the focus: of a hidden radio button, at the text beside it. */
function isOutlined(element: HTMLElement): boolean {
  const shown = kindOf(element) === "radio" ? (element.nextElementSibling ?? element) : element;
  const { outlineStyle, boxShadow } = getComputedStyle(shown);
  return outlineStyle !== "none" || boxShadow !== "none";
}

/** Notes each control that gets the focus. */
addEventListener("focusin", ({ target }) => {
  const key = controls()[found.indexOf(target as HTMLElement)]?.key;
  if (key !== undefined) walked.push({ key, isOutlined: isOutlined(target as HTMLElement) });
});

const numbers = new WeakMap<Element, number>();
let lastNumber = 0;

/** What a press may change besides elements: the address, and a focus elsewhere than on what was pressed. */
function outside(): string {
  const at = document.activeElement;
  if (at === null || at === document.body || at === pressed) return location.hash;
  if (!numbers.has(at)) numbers.set(at, (lastNumber += 1));
  return `${location.hash} ${numbers.get(at)}`;
}

export const inPage = {
  controls,
  place,
  /** The controls that had the focus since the last call. */
  walked: () => walked.splice(0),
  /** The value of the control that is pressed. */
  value: (): string => {
    const field = pressed as HTMLInputElement | undefined;
    return field?.type === "checkbox" || field?.type === "radio" ? String(field.checked) : (field?.value ?? "");
  },
  /** The page now, and what has changed since `place`. */
  state: () => {
    const wasMissed = isMissed === true;
    isMissed = undefined;
    return {
      isMissed: wasMissed,
      outside: outside(),
      changes,
      room: /^#\/([\w-]*)/.exec(location.hash)?.[1] || "overview",
      /** Notices and errors that say that something failed. */
      failures: [...document.querySelectorAll(".notice.failed p, .failure p")].map(
        (each) => each.textContent?.slice(0, 200) ?? "",
      ),
      /** A button that waits for the answer to a question is below its dialog. */
      isBusy: topmost().querySelector("button[aria-busy=true], main .loading, .dialog .loading") !== null,
      isEmpty: (document.querySelector("main")?.innerText.length ?? 0) < 20,
      isSignedOut: document.querySelector("main.closed") !== null,
    };
  },
};

Object.assign(globalThis, { ollmInPage: inPage });
