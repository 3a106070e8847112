"""The door: how a node's words become state, wherever they come from (a session, a file, a journal, Redis).

A delta is decoded at once, with all ranges, and its records are checked (`netviz.core.model.check`): that is
how nearly all of them come in. Where that fails, it is decoded piece by piece: what cannot be
read is left out, is not said to be what it was before, and is named in the namespace's section
`refused`. So a delta that comes out of here is always right, and says itself what is missing in it.

`settle` ends refusals: a record that is told right, or dropped, is missing no more. Both are pure; what was
refused is remembered by the state, so it outlives a server, a connection and a journal.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from netviz.core.model.bounds import ShortName, Words
from netviz.core.model.check import decoder_words, wrong_records
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import MORE, NETNS, Netns, Refused
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, ObjectsDelta, apply
from netviz.core.state.node import SECTIONS, NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS

# What reading damaged bytes raises (a DecodeError and broken UTF-8 are ValueErrors).
UNREADABLE = (ValueError, RecursionError)
# More of one section and message, or of one namespace in all, aren't named one by one.
MAX_NAMED = 64
MAX_REFUSED = 512
# A node's sections are its namespaces' and some sources'; more names than these are made up.
MAX_STATUS = 64
REASON_CHARS = 300
RECORD_CHARS = 200

_Wrong = dict[str, str]  # a record's key as text -> reason
D = TypeVar("D", bound=NetnsDelta | ObjectsDelta)


class _LooseDelta(msgspec.Struct):
    netns: tuple[msgspec.Raw, ...] = ()
    gone: tuple[NetnsKey, ...] = ()
    status: dict[ShortName, msgspec.Raw] = {}
    kernel: Words | None = None
    boot_id: ShortName | None = None
    objects: msgspec.Raw = msgspec.Raw()


class _LooseChange(msgspec.Struct, array_like=True):
    put: tuple[msgspec.Raw, ...] = ()
    drop: tuple[msgspec.Raw, ...] = ()


class _Root(msgspec.Struct):
    root: bool = False


_HINTS = {
    **typing.get_type_hints(NetnsDelta, include_extras=True),
    **typing.get_type_hints(ObjectsDelta, include_extras=True),
}
_ALL_SECTIONS = tuple(dict.fromkeys((*SECTIONS, *OBJECT_SECTIONS)))


def _raws(names: Iterable[str]) -> list[tuple[str, Any, Any]]:
    return [(name, msgspec.Raw, msgspec.Raw()) for name in names]


_LooseNetns: Any = msgspec.defstruct("_LooseNetns", [("key", NetnsKey), *_raws((NETNS, *SECTIONS))])
_LooseObjects: Any = msgspec.defstruct("_LooseObjects", _raws(OBJECT_SECTIONS))


def _change_of(section: str) -> Any:
    return typing.get_args(_HINTS[section])[0]


_delta_decoder = msgspec.msgpack.Decoder(NodeDelta)
_netns_delta_decoder = msgspec.msgpack.Decoder(NetnsDelta)
_netns_decoder = msgspec.msgpack.Decoder(Netns)
_root_decoder = msgspec.msgpack.Decoder(_Root)
_status_decoder = msgspec.msgpack.Decoder(SectionStatus)
_body_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)
_loose_delta_decoder = msgspec.msgpack.Decoder(_LooseDelta)
_loose_netns_decoder = msgspec.msgpack.Decoder(_LooseNetns)
_objects_delta_decoder = msgspec.msgpack.Decoder(ObjectsDelta)
_loose_objects_decoder = msgspec.msgpack.Decoder(_LooseObjects)
_loose_change_decoder = msgspec.msgpack.Decoder(_LooseChange)
_change_decoders = {name: msgspec.msgpack.Decoder(_change_of(name)) for name in _ALL_SECTIONS}
_record_kinds = {name: typing.get_args(_change_of(name))[0] for name in _ALL_SECTIONS}
_record_decoders = {name: msgspec.msgpack.Decoder(kind) for name, kind in _record_kinds.items()}
_key_decoders = {
    name: msgspec.msgpack.Decoder(typing.get_args(_change_of(name))[1]) for name in _ALL_SECTIONS
}
_any_decoder = msgspec.msgpack.Decoder()
_MORE_OF = frozenset((NETNS, *_ALL_SECTIONS))


def read_delta(data: bytes | memoryview | msgspec.Raw) -> NodeDelta:
    """Read an encoded delta, without what breaks a bound; that is named in `refused`.

    Raises: ValueError, RecursionError when it is no delta at all, or what it says of the node itself cannot be
    read: a namespace's key, the name of a section, the kernel.
    """
    try:
        return sift(_delta_decoder.decode(data))
    except UNREADABLE:
        loose = _loose_delta_decoder.decode(data)
    status: dict[str, SectionStatus] = {}
    for section, raw in loose.status.items():
        try:
            status[section] = _status_decoder.decode(raw)
        except UNREADABLE as err:
            status[section] = SectionStatus(whole=False, reason=_reason(err))
    return NodeDelta(
        tuple(_read_netns(raw) for raw in loose.netns),
        loose.gone,
        status,
        loose.kernel,
        loose.boot_id,
        _read_objects(loose.objects),
    )


def sift(delta: NodeDelta) -> NodeDelta:
    """Leave out of a decoded delta the records that break a bound. Returns `delta` itself when none does."""
    sifted = tuple(_sift_netns(change) for change in delta.netns)
    objects = delta.objects and _sift(delta.objects, OBJECT_SECTIONS, {}, {})
    if objects is delta.objects and all(new is old for new, old in zip(sifted, delta.netns, strict=True)):
        return delta
    return msgspec.structs.replace(delta, netns=sifted, objects=objects)


def refusals(delta: NodeDelta) -> Iterator[tuple[NetnsKey | None, Refused]]:
    """Yield what a delta says was refused, with its namespace; a cluster's objects are in none."""
    told: list[tuple[NetnsKey | None, Change[Refused, Any] | None]]
    told = [(change.key, change.refused) for change in delta.netns]
    if delta.objects is not None:
        told.append((None, delta.objects.refused))
    for key, refused in told:
        for one in refused.put if refused is not None else ():
            yield key, one


def settle(state: NodeState, delta: NodeDelta) -> NodeDelta:
    """Let a delta that is to be folded into `state` end what it mends, and keep what stays refused bounded.

    So are the sections that a node names. Returns `delta` itself when there is nothing to do.
    """
    settled = []
    for change in delta.netns:
        ns = state.netns.get(change.key)
        held = ns.refused if ns is not None else {}
        settled.append(_settle(held, change) if held or change.refused else change)
    objects = delta.objects and _settle(state.objects.refused, delta.objects)
    status = _settle_status(state.status, delta.status)
    same = status is delta.status and objects is delta.objects
    if same and all(new is old for new, old in zip(settled, delta.netns, strict=True)):
        return delta
    return msgspec.structs.replace(delta, netns=tuple(settled), status=status, objects=objects)


def wrong_bodies(bodies: Sequence[Body]) -> Iterator[tuple[Body, str]]:
    """Yield each decoded body that breaks a bound, and how."""
    kinds: dict[type[Any], list[Body]] = {}
    for body in bodies:
        kinds.setdefault(type(body), []).append(body)
    for found in kinds.values():
        yield from wrong_records(found)


def fold(state: NodeState, delta: NodeDelta) -> NodeState:
    """Fold a delta in that was read back from where it was kept. Raises: KeyError as `apply`."""
    return apply(state, settle(state, delta))


def read_body(data: bytes | memoryview | msgspec.Raw) -> Body:
    """Read an encoded netfilter body. Raises: ValueError, RecursionError; the message says what is wrong."""
    body = _body_decoder.decode(data)
    for _, reason in wrong_records((body,)):
        raise ValueError(reason)
    return body


def key_text(key: Any) -> str:
    """A record's key as people read it and refusals know it: packed bytes in hexadecimal."""
    if isinstance(key, tuple | list):
        return ",".join(map(key_text, key))[:RECORD_CHARS]
    return (key.hex() if isinstance(key, bytes) else ascii(key).strip("'"))[:RECORD_CHARS]


def _reason(err: Exception) -> str:
    return decoder_words(err)[:REASON_CHARS]


def _read_netns(raw: msgspec.Raw) -> NetnsDelta:
    try:
        return _sift_netns(_netns_delta_decoder.decode(raw))
    except UNREADABLE:
        loose = _loose_netns_decoder.decode(raw)
    record: dict[str, Any] = {}
    unreadable: dict[str, _Wrong] = {}
    if loose.netns:
        try:
            record[NETNS] = _netns_decoder.decode(loose.netns)
        except UNREADABLE as err:
            record[NETNS] = Netns(loose.key, root=_is_root(loose.netns))
            unreadable[NETNS] = {str(loose.key): _reason(err)}
    changes, wrong = _read_changes(loose, SECTIONS)
    return _with_refused(_sift_netns(NetnsDelta(loose.key, **record, **changes)), {**unreadable, **wrong})


def _read_objects(raw: msgspec.Raw) -> ObjectsDelta | None:
    """Read what a delta says of a cluster's objects. Raises: ValueError when it is no such thing at all."""
    if not raw:
        return None
    try:
        return _sift(_objects_delta_decoder.decode(raw), OBJECT_SECTIONS, {}, {})
    except UNREADABLE:
        changes, wrong = _read_changes(_loose_objects_decoder.decode(raw), OBJECT_SECTIONS)
        return _with_refused(_sift(ObjectsDelta(**changes), OBJECT_SECTIONS, {}, {}), wrong)


def _read_changes(loose: object, sections: Iterable[str]) -> tuple[dict[str, Any], dict[str, _Wrong]]:
    """Read each section's change by itself; also tell what of each is left out."""
    changes: dict[str, Any] = {}
    wrong: dict[str, _Wrong] = {}
    for section in sections:
        if piece := getattr(loose, section):
            changes[section], wrong[section] = _read_change(section, piece)
    return changes, wrong


def _is_root(raw: msgspec.Raw) -> bool:
    try:
        return _root_decoder.decode(raw).root
    except UNREADABLE:
        return False


def _read_change(section: str, raw: msgspec.Raw) -> tuple[Change[Any, Any] | None, _Wrong]:
    """Read one section's change; also tell what of it is left out."""
    try:
        return _change_decoders[section].decode(raw), {}
    except UNREADABLE:
        pass
    try:
        loose = _loose_change_decoder.decode(raw)
    except UNREADABLE as err:
        return None, {"": _reason(err)}
    put, drop, wrong = [], [], {}
    for one in loose.drop:
        try:
            drop.append(_key_decoders[section].decode(one))
        except UNREADABLE:
            continue  # nothing that is held has such a key; a refusal of it goes with the next snapshot
    for one in loose.put:
        try:
            put.append(_record_decoders[section].decode(one))
        except UNREADABLE as err:
            key = _guess_key(section, one)
            wrong[key_text(key) if key is not None else ""] = _reason(err)
            if key is not None and _fits(section, key):
                drop.append(key)
    return Change(tuple(put), tuple(drop)), wrong


def _guess_key(section: str, raw: msgspec.Raw) -> Any:
    """The key that a record would have which cannot be read, as far as that can be told; else None."""
    kind = _record_kinds[section]
    try:
        told = _any_decoder.decode(raw)
        if isinstance(told, dict):
            return kind(**{name: told[name] for name in kind.__struct_fields__ if name in told}).key
        return kind(*told[: len(kind.__struct_fields__)]).key
    except (*UNREADABLE, TypeError, AttributeError):
        return None


def _fits(section: str, key: Any) -> bool:
    """Tell whether a held record may have such a key."""
    try:
        msgspec.convert(key, typing.get_args(_change_of(section))[1], builtin_types=(bytes,))
    except UNREADABLE:
        return False
    return True


def _sift_netns(change: NetnsDelta) -> NetnsDelta:
    wrong: dict[str, _Wrong] = {}
    kept: dict[str, Any] = {}
    if change.netns is not None:
        reason = next((words for _, words in wrong_records((change.netns,))), "")
        if change.netns.key != change.key:
            reason = f"the record of {change.netns.key}"
        if reason:
            wrong[NETNS] = {str(change.key): reason}
            kept[NETNS] = Netns(change.key, root=change.netns.root)
    return _sift(change, SECTIONS, kept, wrong)


def _sift(change: D, sections: Iterable[str], kept: dict[str, Any], wrong: dict[str, _Wrong]) -> D:
    """Leave out of some sections the records that break a bound, beside what else is `wrong`."""
    for section in sections:
        records = getattr(change, section)
        if records is None or not (bad := list(wrong_records(records.put))):
            continue
        out = {id(record) for record, _ in bad}
        put = tuple(record for record in records.put if id(record) not in out)
        kept[section] = Change(put, (*records.drop, *(record.key for record, _ in bad)))
        wrong[section] = {key_text(record.key): reason for record, reason in bad}
    return _with_refused(msgspec.structs.replace(change, **kept), wrong) if wrong else change


def _with_refused(change: D, wrong: Mapping[str, _Wrong]) -> D:
    """Say in a delta what was left out of it."""
    refused: list[Refused] = []
    for section, found in wrong.items():
        named = list(found.items())
        refused.extend(Refused(section, record, reason) for record, reason in named[:MAX_NAMED])
        if len(named) > MAX_NAMED:
            refused.append(Refused(section, MORE, f"{len(named) - MAX_NAMED} more records"))
    if not refused:
        return change
    before = change.refused or Change()
    return msgspec.structs.replace(change, refused=Change((*before.put, *refused), before.drop))


def _settle(held: Mapping[tuple[str, str], Refused], change: D) -> D:
    """Drop the refusals of records that `change` puts or drops, and of more than are kept the last ones."""
    refused: Change[Refused, tuple[str, str]] = change.refused or Change()
    again = {one.key for one in refused.put}
    told = _told_keys(change, {section for section, _ in held})
    ended = [key for key in held if key not in again and key[1] in told.get(key[0], ())]
    room = MAX_REFUSED - sum(not _says_more(one) for one in held.values()) + len(ended)
    put = [one for one in refused.put if one.key in held or _says_more(one) or (room := room - 1) >= 0]
    if room < 0:
        sections = {one.section for one in refused.put} & _MORE_OF
        put += [Refused(section, MORE, f"more than {MAX_REFUSED} records") for section in sorted(sections)]
    if not ended and len(put) == len(refused.put):
        return change
    return msgspec.structs.replace(change, refused=Change(tuple(put), (*refused.drop, *ended)))


def _says_more(one: Refused) -> bool:
    """Tell whether this stands for records that aren't named: there is one of a section at the most."""
    return one.record == MORE and one.section in _MORE_OF


def _settle_status(
    held: Mapping[str, SectionStatus], told: dict[str, SectionStatus]
) -> dict[str, SectionStatus]:
    """Leave out the sections that are more than a node may name, and say so."""
    if len({*held, *told} - {MORE}) <= MAX_STATUS:
        return told
    room = MAX_STATUS - len(held.keys() - {MORE})
    kept = {
        name: one for name, one in told.items() if name in held or name == MORE or (room := room - 1) >= 0
    }
    kept[MORE] = SectionStatus(whole=False, reason=f"more than {MAX_STATUS} sections")
    return kept


def _told_keys(change: NetnsDelta | ObjectsDelta, sections: Iterable[str]) -> dict[str, set[str]]:
    """The keys, as text, of what a delta puts and drops in some sections."""
    told: dict[str, set[str]] = {}
    if isinstance(change, NetnsDelta) and change.netns is not None:
        told[NETNS] = {str(change.key)}
    for section in sections:
        if (records := getattr(change, section, None)) is not None and section != NETNS:
            told[section] = {key_text(key) for key in records.drop}
            told[section].update(key_text(one.key) for one in records.put)
    return told
