"""Emulated clusters in network namespaces on a real kernel: the demo's cluster and the tests' truth.

How it hangs together: `supervisor` is one small process for each cluster. It forks every emulated
node as the first process of a PID namespace (`nodeinit`), which in turn starts the pods' processes.
`cluster` is the Python API; it asks the supervisor for namespaces and processes, and configures
links, addresses and routes itself over netlink (`rtnl`, `netns`, `nft`). What is built where is the
business of a topology kind (`textbook`). Killing the supervisor ends every process of the cluster,
and the supervisor itself undoes everything when the process that asked for the cluster is gone.
"""
