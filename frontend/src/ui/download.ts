// A file made on the page.

import { h } from "./dom.js";

export function download(name: string, content: string | Blob, type = "text/plain"): void {
  const blob = typeof content === "string" ? new Blob([content], { type: `${type};charset=utf-8` }) : content;
  const href = URL.createObjectURL(blob);
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** A name for a file, of what people call a thing. */
export function fileName(...parts: string[]): string {
  const name = parts.join("-").replace(/[^\w.-]+/g, "-");
  return name.replace(/^-+|-+$/g, "") || "netviz";
}
