// What can be done by a key or from the palette: one list, which the keys, the palette and the help are made of. Pure.

export interface Command {
  id: string;
  title: string;
  group: string;
  /** One key (`t`), two after each other (`g m`), or with Ctrl or Cmd (`ctrl k`). */
  keys?: string;
  /** More words by which the palette finds it. */
  words?: string;
  /** Why it can't be done now; it is listed with this reason. */
  why?: string;
  run(): void;
}

export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

const SECOND_KEY_MS = 1500;

/** Takes key presses and says which command they are. */
export class KeyTaker {
  private first = "";
  private firstAt = 0;

  constructor(private readonly commands: () => Command[]) {}

  /** The command that a press completes; "begun": it may be the first of two; null: neither. */
  take(press: KeyPress, inField: boolean, now: number): Command | "begun" | null {
    if (press.altKey) return null;
    const commands = this.commands();
    const key = press.key.toLowerCase();
    if (press.ctrlKey || press.metaKey) return commands.find((one) => one.keys === `ctrl ${key}`) ?? null;
    if (inField) return null;
    const first = now - this.firstAt <= SECOND_KEY_MS ? this.first : "";
    this.first = "";
    const found = commands.find((one) => one.keys === (first ? `${first} ${key}` : key));
    if (found) return found;
    if (!commands.some((one) => one.keys?.startsWith(`${key} `))) return null;
    this.first = key;
    this.firstAt = now;
    return "begun";
  }
}

/** The commands that fit what is typed: all its words, in the title first. */
export function fitting(commands: Command[], typed: string): Command[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const scored = commands.flatMap((command) => {
    const title = command.title.toLowerCase();
    const all = `${title} ${command.group.toLowerCase()} ${command.words?.toLowerCase() ?? ""}`;
    if (!words.every((word) => all.includes(word))) return [];
    const starts = words.filter((word) => title.split(/\s+/).some((part) => part.startsWith(word))).length;
    return [{ command, starts }];
  });
  return scored.sort((a, b) => b.starts - a.starts).map(({ command }) => command);
}

/** Keys as they are written on a keyboard. */
export function keyNames(keys: string, isMac: boolean): string[] {
  return keys
    .split(" ")
    .map((key) => (key === "ctrl" ? (isMac ? "⌘" : "Ctrl") : key.length === 1 ? key.toUpperCase() : key));
}
