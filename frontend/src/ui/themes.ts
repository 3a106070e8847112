// Light or dark: the system's choice until the user makes another, which is remembered.

const KEY = "netviz-theme";

export function applyTheme(): void {
  const chosen = read();
  if (chosen) document.documentElement.dataset.theme = chosen;
}

export function toggleTheme(): void {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Storage is refused (private window): the choice lasts as long as the page.
  }
}

function read(): string | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}
