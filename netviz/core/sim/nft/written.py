"""Rules as their tools write them, each written once: the texts are kept with the body that the rules are of."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from netviz.core.model.netfilter import ChainBody, NftRuleBody
from netviz.core.sim.index import Index
from netviz.core.sim.nft.text import Elements, rule_text
from netviz.core.sim.xtables.text_matches import Sets

# iptables-save writes `--comment WORD` or `--comment "WORDS"`, nft `comment "WORDS"`.
_COMMENT = re.compile(r'comment (?:"((?:[^"\\]|\\.)*)"|(?!--)(\S+))')
_TARGET = re.compile(r"(?:^| )(?:-[jg]|jump|goto) (\S+)")


class WrittenRule:
    """A rule's text, as nft or iptables-save write it, and what it says."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def comments(self) -> tuple[str, ...]:
        """All its comments, in order."""
        if "comment" not in self.text:
            return ()
        return tuple(quoted or word for quoted, word in _COMMENT.findall(self.text))

    @cached_property
    def target(self) -> str:
        """The chain that it jumps or goes to, or its target; "" where a map chooses one."""
        found = _TARGET.search(self.text) if "vmap" not in self.text else None
        return found[1] if found is not None else ""


# By number, family and whether it is legacy: the text, and what the rule's sets were when it was written.
_Texts = dict[tuple[int, int, bool], tuple[dict[str, Any], WrittenRule]]
_texts: Index[ChainBody, _Texts] = Index(lambda _body: {})


def written(
    body: ChainBody,
    number: int,
    family: int,
    legacy: bool = False,
    sets: Sets | None = None,
    elements: Elements = lambda _name: None,
) -> WrittenRule:
    """Return one of a body's rules as it is written in a table of `family` (see `rule_text`)."""
    rule = body.rules[number]
    if _names_ipset(rule):
        return WrittenRule(rule_text(rule, family, sets, legacy, elements))
    texts, key = _texts(body), (number, family, legacy)
    known = texts.get(key)
    if known is not None:
        shown, text = known
        if all(elements(name) == was for name, was in shown.items()):
            return text
    asked: dict[str, Any] = {}

    def looked_up(name: str) -> Any:
        return asked.setdefault(name, elements(name))

    made = WrittenRule(rule_text(rule, family, sets, legacy, looked_up))
    texts[key] = asked, made
    return made


def _names_ipset(rule: NftRuleBody) -> bool:
    """Tell whether a rule knows an ipset by its number, of which each namespace has its own."""
    return any(
        expr.name in ("match", "target") and expr.attrs.get("name") in ("set", "SET") for expr in rule.exprs
    )
