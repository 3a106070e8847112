"""A thin rtnetlink codec for dumps: bytes in, records of `netviz.core.model` out.

`wire` frames requests, receives whole dumps and splits attributes; one module a family of messages
decodes them. The `parse_*` functions are pure. Tests hold them against pyroute2's decoding.
"""
