"""The house's own import contract finds what it is there for."""

from __future__ import annotations

from typing import Any

from tests.architecture.contracts import AcyclicModules


class Imports:
    """As much of an import graph as the contract asks for."""

    def __init__(self, needs: dict[str, set[str]]) -> None:
        self.needs = needs

    def find_descendants(self, package: str) -> set[str]:
        return {one for one in self.needs if one.startswith(f"{package}.")}

    def find_modules_directly_imported_by(self, module: str) -> set[str]:
        return set(self.needs.get(module, ()))


def check(needs: dict[str, set[str]]) -> Any:
    return AcyclicModules("a contract", {}, {"packages": ["p"]}).check(Imports(needs), False)


def test_a_circle_is_found() -> None:
    circle = {"p.a": {"p.b"}, "p.b": {"p.c", "q"}, "p.c": {"p.a"}}
    found = check(circle)
    assert not found.kept
    assert set(found.metadata["circle"]) == {"p.a", "p.b", "p.c"}
    assert check({**circle, "p.c": {"q"}}).kept
