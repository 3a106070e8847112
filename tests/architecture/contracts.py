"""An import contract that import-linter doesn't have (.importlinter): no module in a circle, over all folders.

What a module imports only for its types counts as any other import.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

from importlinter import Contract, ContractCheck, fields, output


class AcyclicModules(Contract):
    """No module of the packages imports itself by way of others."""

    type_name = "acyclic_modules"

    packages = fields.ListField(subfield=fields.StringField())

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        packages: list[str] = self.packages  # type: ignore[assignment]
        modules = {one for package in packages for one in (package, *graph.find_descendants(package))}
        needs = {one: graph.find_modules_directly_imported_by(one) & modules for one in modules}
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as err:
            return ContractCheck(kept=False, metadata={"circle": err.args[1]})
        return ContractCheck(kept=True)

    def render_broken_contract(self, check: ContractCheck) -> None:
        output.print("These modules import each other in a circle:")
        output.print("  " + " -> ".join(reversed(check.metadata["circle"])))
