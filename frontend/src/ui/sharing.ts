// Copy or save a trace: for a ticket, a document, a program, or as a picture.

import type { Command } from "../find/commands.js";
import { type Shared, traceMermaid, traceTicket } from "../share/tracetext.js";
import type { Context } from "./context.js";
import { copyText, wordedCopy } from "./dom.js";
import { download, fileName } from "./download.js";
import { menu, menuItem } from "./menu.js";

type Get = () => Shared | null;

const COPIES: { id: string; words: string; keys?: string; text(shared: Shared): string }[] = [
  { id: "link", words: "Copy link", text: (shared) => shared.url },
  { id: "text", words: "Copy text", keys: "c", text: (shared) => traceTicket(shared, "text") },
  { id: "markdown", words: "Copy Markdown", text: (shared) => traceTicket(shared, "markdown") },
  { id: "mermaid", words: "Copy Mermaid", text: (shared) => traceMermaid(shared.trace, shared.branch) },
  { id: "json", words: "Copy JSON", text: (shared) => `${JSON.stringify(shared.trace, null, 2)}\n` },
];

function saveJson(get: Get): void {
  const shared = get();
  if (shared)
    download(
      `${fileName("trace", shared.run.id)}.json`,
      `${JSON.stringify(shared.trace, null, 2)}\n`,
      "application/json",
    );
}

export function shareMenu(get: Get, context: Context): HTMLElement {
  const textOf = (make: (shared: Shared) => string) => () => {
    const shared = get();
    return shared ? make(shared) : "";
  };
  return menu(
    "Copy or save",
    "share",
    ...COPIES.map(({ id, words, text }) =>
      wordedCopy(textOf(text), words, `${words} of this trace`, `copy-${id}`),
    ),
    menuItem("Save JSON", "save-json", () => saveJson(get)),
    menuItem("Save SVG", "save-svg", () => void context.savePicture("svg")),
    menuItem("Save PNG", "save-png", () => void context.savePicture("png")),
  );
}

export function shareCommands(get: Get, context: Context): Command[] {
  const shared = get();
  if (!shared) return [];
  return [
    ...COPIES.map(({ id, words, keys, text }) => ({
      id: `copy-${id}`,
      title: `${words} of this trace`,
      group: "This trace",
      words: "ticket share",
      ...(keys ? { keys } : {}),
      run: () =>
        void copyText(text(shared)).then((done) => context.announce(done ? "Copied." : "Not copied.")),
    })),
    { id: "trace-json", title: "Save this trace as JSON", group: "This trace", run: () => saveJson(get) },
  ];
}
