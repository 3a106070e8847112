"""Bodies kept encoded."""

from __future__ import annotations

import pytest

from netviz.core.model.netfilter import ChainBody, NftExpr, NftRuleBody, body_digest, encode_body
from netviz.core.state.bodies import Decoded, EncodedBodies

BODIES = [
    ChainBody((NftRuleBody((NftExpr("match", {"name": "comment", "rev": n, "info": bytes(99)}),)),))
    for n in range(3)
]
ENCODED = {body_digest(body): encode_body(body) for body in BODIES}


def test_a_body_is_decoded_once() -> None:
    """Equal to what was encoded, and the same object at the next look, through another view as well."""
    decoded = Decoded()
    view = EncodedBodies(ENCODED, decoded)
    assert dict(view) == {body_digest(body): body for body in BODIES}
    digest = body_digest(BODIES[1])
    assert view[digest] is EncodedBodies(ENCODED, decoded)[digest]
    assert digest in view
    assert len(view) == len(BODIES)


def test_the_first_decoded_goes_past_the_bound() -> None:
    """What goes is decoded again."""
    view = EncodedBodies(ENCODED, Decoded(max_bytes=1))
    first, second = list(ENCODED)[:2]
    kept = view[first]
    assert view[first] is kept
    assert view[second] is view[second]
    assert view[first] == kept
    assert view[first] is not kept


def test_a_body_that_cannot_be_decoded_is_missing() -> None:
    """Also one that is not there, and one that a view no longer has."""
    decoded = Decoded()
    digest = body_digest(BODIES[0])
    assert EncodedBodies(ENCODED, decoded)[digest] == BODIES[0]
    assert EncodedBodies({}, decoded).get(digest) is None
    assert EncodedBodies({b"x": b"\xc1"}).get(b"x") is None
    with pytest.raises(KeyError):
        EncodedBodies({})[b"y"]
