// Building DOM without markup strings: text is always text, and the content policy allows no inline
// styles or handlers.

type Child = Node | string | null | undefined | false;

interface Attributes {
  [name: string]: string | number | boolean | null | undefined | ((event: never) => void);
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag) as SVGElementTagNameMap[K];
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function")
      element.addEventListener(name.replace(/^on/, ""), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function append(element: Element, children: Child[]): void {
  for (const child of children)
    if (child !== null && child !== undefined && child !== false) element.append(child);
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that copies a text, or what a function says when it is pressed. */
export function copyButton(text: string | (() => string), label = "Copy"): HTMLButtonElement {
  const button = h("button", {
    type: "button",
    class: "copy",
    title: label,
    "aria-label": typeof text === "string" ? `${label}: ${text}` : label,
  });
  button.append(icon("copy"));
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    const done = await copyText(typeof text === "string" ? text : text());
    button.classList.toggle("done", done);
    button.firstElementChild?.replaceWith(icon(done ? "check" : "cross"));
    window.setTimeout(() => {
      button.classList.remove("done");
      button.firstElementChild?.replaceWith(icon("copy"));
    }, 1200);
  });
  return button;
}

/** The same as a button with words, which say for a moment that it is done. */
export function wordedCopy(
  text: () => string | Promise<string>,
  words: string,
  label: string,
  testid: string,
): HTMLButtonElement {
  const said = h("span", {}, words);
  const button = h(
    "button",
    { type: "button", title: label, "aria-label": label, "data-testid": testid },
    said,
  );
  button.addEventListener("click", async () => {
    button.style.minWidth = `${button.offsetWidth}px`;
    const found = await Promise.resolve(text()).catch(() => null);
    setText(said, found !== null && (await copyText(found)) ? "Copied" : "Not copied");
    window.setTimeout(() => setText(said, words), 2000);
  });
  return button;
}

/** Tabs of which one is in the Tab order; the arrow keys, Home and End go to the others. */
export function tabList(attributes: Attributes, tabs: HTMLElement[]): HTMLElement {
  for (const tab of tabs) {
    tab.setAttribute("role", "tab");
    tab.setAttribute("tabindex", tab.getAttribute("aria-selected") === "true" ? "0" : "-1");
  }
  const list = h("div", { role: "tablist", ...attributes }, ...tabs);
  moveByArrows(list, "[role=tab]", (tab) => tab.click());
  return list;
}

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Let the arrow keys, Home and End move the focus among what `selector` finds in `box`. */
export function moveByArrows(
  box: HTMLElement,
  selector: string,
  onMove: (element: HTMLElement) => void = () => {},
): void {
  box.addEventListener("keydown", (event) => {
    const items = [...box.querySelectorAll<HTMLElement>(selector)];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const by = STEPS[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : by && at + by;
    const next = at < 0 || to === undefined ? undefined : items[to];
    if (!next) return;
    event.preventDefault();
    next.focus();
    onMove(next);
  });
}

/** The clipboard interface needs a secure origin; a plain http address falls back to a selection. */
export async function copyText(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Refused by the browser: try the older way below.
    }
  }
  const area = h("textarea", { class: "offscreen", readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

const ICONS: Record<string, string> = {
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  check: "M3 8.5l3.2 3.2L13 4.8",
  play: "M5 3.500l7.500 4.500L5 12.500z",
  pause: "M5.500 3.500v9M10.500 3.500v9",
  stepback: "M4 3.500v9M12 3.500L6 8l6 4.500z",
  stepon: "M12 3.500v9M4 3.500L10 8l-6 4.500z",
  cross: "M4 4l8 8M12 4l-8 8",
  close: "M4 4l8 8M12 4l-8 8",
  again: "M13 8a5 5 0 1 1-1.5-3.600M11.800 1.500v3.200h-3.200",
  search: "M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM10.7 10.7L14 14",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  list: "M2.5 4h11M2.5 8h11M2.5 12h11",
  alert: "M8 2L1.8 13.2h12.4zM8 6.5v3M8 11.4v.3",
  path: "M2.5 12.5h3v-9h5v9h3",
  passes: "M8 14.200a6.200 6.200 0 1 0 0-12.400 6.200 6.200 0 0 0 0 12.400zM5.200 8.200l2 2 3.600-4",
  breaks:
    "M8 14.200a6.200 6.200 0 1 0 0-12.400 6.200 6.200 0 0 0 0 12.400zM5.800 5.800l4.400 4.400M10.200 5.800l-4.400 4.400",
  none: "M8 14.200a6.200 6.200 0 1 0 0-12.400 6.200 6.200 0 0 0 0 12.400zM5.500 8h5",
  clock: "M8 14.200a6.200 6.200 0 1 0 0-12.400 6.200 6.200 0 0 0 0 12.400zM8 4.500V8l2.400 1.600",
  "under-way": "M8 1.800a6.200 6.200 0 1 1-6.200 6.200M8 4.500V8l2.400 1.600",
  doubt:
    "M8 1.800a6.200 6.200 0 0 1 3 .8M13.400 4.900a6.200 6.200 0 0 1 .8 3.800M13 11.700a6.200 6.200 0 0 1-2.700 2M7.300 14.200a6.200 6.200 0 0 1-3.500-1.600M2.100 10a6.200 6.200 0 0 1 .1-4M3.700 3.500a6.200 6.200 0 0 1 1.700-1.200",
  comment: "M2.500 3.500h11v7.500H8l-3 2.500V11H2.500z",
  mute: "M8 2.500a3.500 3.500 0 0 1 3.500 3.500v3l1.300 2H3.200l1.300-2V6A3.500 3.500 0 0 1 8 2.500zM2.500 2.500l11 11M6.800 13.300h2.400",
  pod: "M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.800zM2.500 4.800L8 8l5.500-3.200M8 8v6.200",
  node: "M2.500 3h11v4h-11zM2.500 9h11v4h-11zM5 5h.2M5 11h.2",
  end: "M8 13.500A5.500 5.500 0 1 0 8 2.500a5.500 5.500 0 0 0 0 11zM8 9.200a1.200 1.200 0 1 0 0-2.400 1.200 1.200 0 0 0 0 2.400z",
  route: "M8 14V2M8 3.500h4.500L14 5l-1.500 1.500H8M8 7.500H3.500L2 9l1.500 1.500H8",
  tx: "M2.500 8h10M9 4.500L12.500 8 9 11.500",
  rx: "M13.500 8h-10M7 4.500L3.500 8 7 11.500",
  bridge: "M1.500 6h13M4 6v6M8 6v6M12 6v6",
  shield: "M8 1.800l5 2v4c0 3.200-2.200 5.400-5 6.400-2.800-1-5-3.200-5-6.400v-4z",
  swap: "M3 5.500h9M9.500 3L12 5.500 9.500 8M13 10.500H4M6.500 8L4 10.500 6.500 13",
  box: "M2.500 4.500h11v8h-11zM2.500 7h11M8 4.500V7",
  gauge: "M2.500 11.500a5.500 5.500 0 1 1 11 0M8 11.500l2.500-4",
  tag: "M2.500 2.500h5l6 6-5 5-6-6zM5.300 5.300h.1",
  unknown: "M5.800 6a2.200 2.200 0 1 1 3.200 2c-.7.400-1 .8-1 1.600M8 12.200v.2",
};

export function icon(name: string): SVGSVGElement {
  const path = s("path", { d: ICONS[name] ?? (ICONS.unknown as string) });
  return s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}
