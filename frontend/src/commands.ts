// What can be done anywhere on the page: the keys, the palette and the help are made of this list.

import type { Command } from "./find/commands.js";
import { isOn, toggleExplanations } from "./learn/learn.js";
import type { Route } from "./route.js";
import { VIEWER_REASON } from "./ui/context.js";

export interface Doing {
  readonly role: string;
  readonly mayTrace: boolean;
  /** The server is a demo's, whose lab can be broken. */
  readonly hasLab: boolean;
  /** What the panel that is open can do besides. */
  panelCommands(): Command[];
  go(route: Route): void;
  /** Go to what was found. */
  choose(route: Route): void;
  focusFilter(): void;
  toggleTheme(): void;
  togglePods(): void;
  showAll(): void;
  focusMap(): void;
  savePicture(form: "svg" | "png"): Promise<void>;
}

export interface Opening {
  search(): void;
  palette(): void;
  help(): void;
}

export function commandsOf(page: Doing, open: Opening): Command[] {
  const go = (route: Route) => () => page.go(route);
  const leave = (href: string) => () => location.assign(href);
  const why = page.mayTrace ? {} : { why: VIEWER_REASON };
  const commands: Command[] = [
    ...page.panelCommands(),
    {
      id: "trace",
      title: "Trace a packet",
      group: "Do",
      keys: "t",
      words: "path follow from to",
      ...why,
      run: go({ page: "compose", from: "", to: "" }),
    },
    { id: "search", title: "Search", group: "Do", keys: "/", words: "find", run: () => open.search() },
    {
      id: "filter",
      title: "Filter the list of pods",
      group: "Do",
      keys: "f",
      words: "narrow namespace label service",
      run: () => page.focusFilter(),
    },
    { id: "all", title: "Show the whole map", group: "Do", words: "fit zoom out", run: () => page.showAll() },
    {
      id: "map",
      title: "Go to the map",
      group: "Go",
      keys: "g m",
      words: "home",
      run: () => {
        page.go({ page: "home" });
        page.focusMap();
      },
    },
    {
      id: "problems",
      title: "Go to the problems",
      group: "Go",
      keys: "g p",
      words: "errors alerts",
      run: go({ page: "problems", id: null, list: "now" }),
    },
    {
      id: "checks",
      title: "Go to the checks",
      group: "Go",
      words: "what was checked problems",
      run: go({ page: "problems", id: null, list: "checks" }),
    },
    {
      id: "services",
      title: "Go to the services",
      group: "Go",
      keys: "g s",
      run: go({ page: "kube", kind: "services", id: null }),
    },
    {
      id: "workloads",
      title: "Go to the workloads",
      group: "Go",
      keys: "g w",
      words: "deployments",
      run: go({ page: "kube", kind: "workloads", id: null }),
    },
    {
      id: "namespaces",
      title: "Go to the namespaces",
      group: "Go",
      run: go({ page: "kube", kind: "namespaces", id: null }),
    },
    ...(["png", "svg"] as const).map((form) => ({
      id: `save-${form}`,
      title: `Save what the map shows as ${form.toUpperCase()}`,
      group: "Save",
      words: "download picture image export trace",
      run: () => void page.savePicture(form),
    })),
    { id: "palette", title: "Commands", group: "Page", keys: "ctrl k", run: () => open.palette() },
    { id: "help", title: "Keys", group: "Page", keys: "?", words: "help shortcuts", run: () => open.help() },
    {
      id: "theme",
      title: "Change between light and dark",
      group: "Page",
      words: "theme colours",
      run: () => page.toggleTheme(),
    },
    {
      id: "learn",
      title: isOn() ? "Hide the explanations" : "Show explanations of what is shown",
      group: "Page",
      words: "learn help texts teach",
      run: () => void toggleExplanations(),
    },
    {
      id: "pods",
      title: "Show or hide the list of pods",
      group: "Page",
      words: "tree sidebar",
      run: () => page.togglePods(),
    },
  ];
  if (page.hasLab)
    commands.push({
      id: "faults",
      title: "Break something in the demo",
      group: "Do",
      words: "faults mend lab learn",
      run: go({ page: "faults" }),
    });
  if (page.role === "administrator")
    commands.push(
      {
        id: "enrol",
        title: "Enrol a collector",
        group: "Admin",
        words: "node token add",
        run: leave("/admin/inventory/collector/add/"),
      },
      {
        id: "collectors",
        title: "Collectors",
        group: "Admin",
        words: "nodes approve revoke admin",
        run: leave("/admin/inventory/collector/"),
      },
    );
  return commands;
}
