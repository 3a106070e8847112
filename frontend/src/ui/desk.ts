// How one gets anywhere without the mouse: search box, command palette, keys, and the help that lists them.

import type { Api } from "../api.js";
import { commandsOf, type Doing } from "../commands.js";
import { KeyTaker } from "../find/commands.js";
import type { Graph } from "../graph/store.js";
import { KeyHelp } from "./keyhelp.js";
import { Palette } from "./palette.js";
import { SearchBox } from "./searchbox.js";
import type { SearchHost } from "./searching.js";
import { Toast } from "./toast.js";

export class Desk {
  readonly searchBox: SearchBox;
  readonly toast = new Toast();
  readonly dialogs: HTMLElement[];
  private readonly keys: KeyTaker;

  constructor(
    private readonly page: Doing,
    api: Api,
    graph: Graph,
  ) {
    const commands = () =>
      commandsOf(page, {
        search: () => this.searchBox.focus(),
        palette: () => palette.toggle(),
        help: () => help.toggle(),
      });
    const host: SearchHost = {
      search: (text) => api.search(text),
      addrOf: (key) => graph.netns.get(key)?.addrs[0]?.split("/")[0] ?? null,
      choose: (route) => page.choose(route),
    };
    const palette = new Palette(host, commands);
    const help = new KeyHelp(commands);
    this.searchBox = new SearchBox(host);
    this.keys = new KeyTaker(commands);
    this.dialogs = [help.element, palette.element, this.toast.element];
  }

  /** Take a key press, or leave it to `further`, which tells whether it took it. */
  key(event: KeyboardEvent, further: () => boolean): void {
    if (event.defaultPrevented) return;
    const at = event.target instanceof HTMLElement ? event.target : null;
    const isField = at?.matches("input, select, textarea") ?? false;
    const inDialog = at?.closest("dialog") != null;
    if (event.key === "Escape") {
      if (inDialog) return;
      if (isField) at?.blur();
      else this.page.go({ page: "home" });
      return;
    }
    const taken = this.keys.take(event, isField || inDialog, performance.now());
    if (taken === null) {
      if (!isField && !inDialog && further()) event.preventDefault();
      return;
    }
    event.preventDefault();
    if (taken !== "begun" && !taken.why) taken.run();
  }
}
