"""The list of what the tests' kernel lacks is real: each feature has a test that names it and runs."""

from __future__ import annotations

import re

import pytest

from tests.live.oracle.lacking import LACKING, ROOT, Lacking, markdown

TEST = re.compile(r"^(?:def|    def) (test_\w+)", re.MULTILINE)


@pytest.mark.parametrize("entry", LACKING, ids=lambda entry: entry.feature)
def test_a_feature_has_tests_that_name_it(entry: Lacking) -> None:
    text = (ROOT / entry.tests).read_text()
    tests = TEST.split(text)[1:]
    named = [name for name, body in zip(tests[::2], tests[1::2], strict=True) if entry.word in name + body]
    assert named or (entry.word in text and tests), entry


def test_the_report_lists_them() -> None:
    rows = markdown()
    assert all(any(entry.tests in row and entry.feature in row for row in rows) for entry in LACKING)
