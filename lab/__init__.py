"""Emulated clusters in network namespaces on a real kernel: the demo's cluster and the tests' truth.

How it hangs together: `supervisor` is one small process for each cluster. It forks every emulated
node as the first process of a PID namespace (`nodeinit`), which in turn starts the pods' processes.
`cluster` is the Python API; it asks the supervisor for namespaces and processes, and configures
links, addresses and routes itself over netlink (`rtnl`, `netns`, `nft`). All stand on the same
underlay (`fabric`) with the same names and addresses (`plan`); how pods are plugged in and nodes
joined is the business of a kind of network (`kinds`). Killing the supervisor ends every process of the cluster,
and the supervisor itself undoes everything when the process that asked for the cluster is gone.
"""
