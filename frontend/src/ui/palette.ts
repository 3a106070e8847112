// The command palette (Ctrl or Cmd with K): what can be done, and what can be found, in one field.

import { type Command, fitting, keyNames } from "../find/commands.js";
import { h, icon } from "./dom.js";
import { Picker, type PickGroup } from "./picker.js";
import { type SearchHost, Searching } from "./searching.js";

export const IS_MAC = navigator.platform.startsWith("Mac");

export class Palette {
  readonly element: HTMLDialogElement;
  private readonly input = h("input", {
    type: "text",
    class: "palette-input",
    placeholder: "A command, or anything to find",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "A command, or anything to find",
    "data-testid": "palette-input",
  });
  private readonly picker = new Picker(this.input, "palette-list", "Commands and results");
  private readonly searching: Searching;
  private found: PickGroup[] = [];

  constructor(
    host: SearchHost,
    private readonly commands: () => Command[],
  ) {
    this.searching = new Searching(
      host,
      this.picker,
      (groups) => {
        this.found = groups;
        this.render(true);
      },
      () => this.element.close(),
    );
    this.element = h(
      "dialog",
      { class: "palette", "aria-label": "Commands", "data-testid": "palette" },
      h("div", { class: "palette-field" }, icon("search"), this.input, h("kbd", {}, "Esc")),
      this.picker.list,
      this.searching.note,
      this.searching.status,
    );
    this.input.addEventListener("input", () => {
      this.searching.ask(this.input.value);
      if (this.input.value.trim() === "") this.found = [];
      this.render(false);
    });
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
    this.element.addEventListener("close", () => {
      this.searching.stop();
      this.picker.close();
    });
  }

  toggle(): void {
    if (this.element.open) {
      this.element.close();
      return;
    }
    this.input.value = "";
    this.found = [];
    this.element.showModal();
    this.render(false);
    this.input.focus();
  }

  private render(isAnswer: boolean): void {
    const fit = fitting(this.commands(), this.input.value);
    const groups = new Map<string, PickGroup>();
    for (const command of fit) {
      const group = groups.get(command.group) ?? { title: command.group, picks: [] };
      groups.set(command.group, group);
      group.picks.push({
        title: command.title,
        kind: "",
        place: "",
        why: command.why,
        isSettled: true,
        ...(command.keys ? { keys: keyNames(command.keys, IS_MAC) } : {}),
        choose: () => {
          this.element.close();
          command.run();
        },
      });
    }
    this.picker.show([...groups.values(), ...this.found], isAnswer);
  }
}
