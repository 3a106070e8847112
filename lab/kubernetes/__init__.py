"""Kubernetes in the lab: the API's objects that fit a cluster, and what its agents write on nodes from them.

`objects` keeps the API's lists; `shapes` invents services; `ports` reads services and their endpoints out
of the lists, as kube-proxy does; `proxy_iptables` and `proxy_nftables` write kube-proxy's rules,
`policies` those of a NetworkPolicy agent; `agent` does so on all nodes; `dns` and `health` answer.
"""
