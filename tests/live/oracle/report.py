"""What a campaign showed, as text for a terminal and as docs/accuracy.md."""

from __future__ import annotations

import platform
from collections import Counter

from tests.live.oracle import lacking
from tests.live.oracle.run import Summary


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def text(summary: Summary) -> str:
    """Render for a terminal."""
    lines = []
    for failure in summary.failures[:20]:
        lines += [f"WRONG seed {failure.seed} probe {failure.number}: {failure.why}", f"  {failure.packet}"]
        lines += [f"  predicted: {failure.predicted}", *(f"  {line}" for line in failure.happened)]
    lines.append("how often each feature decided a packet (networks that have it):")
    for feature in sorted(summary.present):
        lines.append(f"  {feature:32} {summary.decided.get(feature, 0):6} ({summary.present[feature]})")
    if summary.refused:
        lines.append("refused by the kernel:")
        lines += [f"  {count:4} {line}" for line, count in Counter(summary.refused).most_common(20)]
    lines.append("drop reasons:")
    lines += [f"  {count:6} {reason}" for reason, count in Counter(summary.reasons).most_common()]
    lines.append("UNKNOWN by cause:")
    lines += [f"  {count:6} {cause}" for cause, count in Counter(summary.unknown).most_common()]
    wrong = summary.verdicts.get("wrong", 0)
    unknown = summary.verdicts.get("unknown", 0)
    lines.append(
        f"{summary.packets} packets over {summary.networks} networks: {wrong} wrong, {unknown} UNKNOWN "
        f"({_share(unknown, summary.packets)}), {summary.verdicts.get('right', 0)} right, "
        f"{summary.verdicts.get('one of', 0)} among the predicted branches, "
        f"{summary.verdicts.get('disturbed', 0)} right only when sent alone"
    )
    return "\n".join(lines)


def markdown(summary: Summary, seed: int, seconds: float, lookups: int, different: int) -> str:
    """Render docs/accuracy.md."""
    wrong = summary.verdicts.get("wrong", 0)
    unknown = summary.verdicts.get("unknown", 0)
    rows = [
        "# Accuracy of predicted traces",
        "",
        "The last big run of the oracle (`make oracle PACKETS=N`): random networks built on a real kernel, read by "
        "the real collector, and every prediction compared with what happened to a real packet: devices crossed in "
        "order, headers at each, final disposition, what a listener saw, and the answer.",
        "",
        f"Linux {platform.release()}, seeds {seed} to {seed + summary.networks - 1} and above, {seconds:.0f} s.",
        "",
        "| packets | networks | wrong | UNKNOWN | right and certain | among the predicted branches | right when sent alone |",
        "|---|---|---|---|---|---|---|",
        f"| {summary.packets} | {summary.networks} | {wrong} | {unknown} ({_share(unknown, summary.packets)}) | "
        f"{summary.verdicts.get('right', 0)} | {summary.verdicts.get('one of', 0)} | {summary.verdicts.get('disturbed', 0)} |",
        "",
        f"Routing alone (RTM_GETROUTE, what `ip route get` asks): {lookups} lookups, {different} different.",
        "",
        "## UNKNOWN by cause",
        "",
        "| packets | cause |",
        "|---|---|",
        *(f"| {count} | {cause} |" for cause, count in Counter(summary.unknown).most_common()),
        "",
        "## Drop reasons",
        "",
        "Of packets rightly predicted to be dropped, where skb:kfree_skb named a reason while they were on the way.",
        "",
        "| packets | reason |",
        "|---|---|",
        *(f"| {count} | {reason} |" for reason, count in Counter(summary.reasons).most_common()),
        "",
        "## How packets ended (predicted)",
        "",
        "| packets | disposition and reason |",
        "|---|---|",
        *(f"| {count} | {end} |" for end, count in Counter(summary.ends).most_common()),
        "",
        "## How often each feature decided a packet",
        "",
        "A feature decided a packet when the trace's evidence names what the feature put there; counted are packets "
        "that were rightly predicted, and apart from them those that are UNKNOWN.",
        "",
        "| feature | packets decided | UNKNOWN | networks that have it |",
        "|---|---|---|---|",
        *(
            f"| {name} | {summary.decided.get(name, 0)} | {summary.undecided.get(name, 0)} | {summary.present[name]} |"
            for name in sorted(summary.present)
        ),
        "",
        *lacking.markdown(),
    ]
    return "\n".join(rows)
