"""What a state that contradicts itself can raise in whoever reads it: its records keep their bounds, their sum needn't make sense."""

from __future__ import annotations

BAD_STATE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
