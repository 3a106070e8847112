"""Fixtures that several folders of tests share."""

from __future__ import annotations

from tests.stack import netviz as netviz
