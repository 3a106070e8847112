"""Make who guesses wait, and nobody else.

Each attempt is charged to one or more budgets before its password is looked at, and given back when the
password was right; so attempts that run at the same time, in whatever process, share one budget. A
budget has free failures, after which each failure doubles the wait: 1 s, 2 s, 4 s ... 15 min.

- name and address: 5 free failures. This is the budget that a guesser meets first.
- address: 50 free failures, against one who tries many names.
- name: refuses nobody. While it has 20 failures, an address has one free failure for that name; of IPv6
  a site's /48 then counts as one address, or its 65,536 networks would have one each.
- name and browser, in place of all these: a browser that has logged in as that name before proves it
  by a signed cookie, and answers for its own failures alone.

So a wait hits one name from one address, or an address that fails for many names. It never hits a
browser whose user has logged in with it before, nor the first attempt from an address without
failures: nobody locks a colleague out from elsewhere, and from the same address only out of browsers
that they never used. The budgets are in the database: all processes share them, and they hold while
Redis is away.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from netviz.inventory.address import party_of
from netviz.inventory.models import Budget

LONGEST_WAIT_S = 900
# Failures are forgotten when none was added for so long.
FORGET_AFTER = timedelta(hours=24)
NAME_UNDER_ATTACK = 20


@dataclass(frozen=True)
class Account:
    """One budget: its key in the database, and how many failures cost nothing. None: it counts only."""

    key: str
    free: int | None


def _account(free: int | None, *words: str) -> Account:
    return Account(hashlib.sha256("\0".join(words).encode()).hexdigest(), free)


def _of_name(name: str) -> Account:
    return _account(None, "name", name.casefold())


def login_accounts(name: str, address: str, browser: str = "") -> list[Account]:
    """The budgets that a login as `name` is charged to; `browser` is the number in its cookie."""
    if browser:
        return [_account(5, "browser", name.casefold(), browser)]
    by_name = _of_name(name)
    attacked = Budget.objects.filter(
        key=by_name.key, failures__gte=NAME_UNDER_ATTACK, last_at__gt=timezone.now() - FORGET_AFTER
    ).exists()
    return [
        _account(
            1 if attacked else 5,
            "name and address",
            name.casefold(),
            party_of(address, 48 if attacked else 64),
        ),
        _account(50, "address", party_of(address)),
        by_name,
    ]


def token_accounts(address: str) -> list[Account]:
    """The budget that a wrong token is charged to."""
    return [_account(50, "tokens", party_of(address))]


def charge(accounts: Iterable[Account]) -> int:
    """Charge an attempt as if it had failed; return 0, or how many seconds it has to wait instead."""
    now = timezone.now()
    with transaction.atomic():
        held = [(account, _locked(account, now)) for account in sorted(accounts, key=lambda one: one.key)]
        wait_s = max((budget.wait_until - now).total_seconds() for _, budget in held)
        if wait_s > 0:
            return math.ceil(wait_s)
        for account, budget in held:
            if now - budget.last_at > FORGET_AFTER:
                budget.failures = 0
            budget.failures += 1
            budget.last_at = now
            if account.free is not None and budget.failures >= account.free:
                doubled = 2.0 ** min(budget.failures - account.free, 20)
                budget.wait_until = now + timedelta(seconds=min(doubled, LONGEST_WAIT_S))
            budget.save()
    # Not with rows locked: two that lock in different orders would wait for each other.
    if any(budget.failures == 1 for _, budget in held):
        Budget.objects.filter(last_at__lt=now - FORGET_AFTER).delete()
    return 0


def succeeded(accounts: list[Account]) -> None:
    """The attempt was right: its own budget (the first) begins anew, the others are as before it."""
    own, *others = accounts
    now = timezone.now()
    with transaction.atomic():
        for account in sorted(others, key=lambda one: one.key):
            budget = _locked(account, now)
            budget.failures = max(0, budget.failures - 1)
            budget.wait_until = now
            budget.save()
    Budget.objects.filter(key=own.key).delete()


def _locked(account: Account, now: datetime) -> Budget:
    Budget.objects.get_or_create(key=account.key, defaults={"last_at": now, "wait_until": now})
    return Budget.objects.select_for_update().get(key=account.key)
