"""Send a probe and watch where the kernel takes it, with the kernel's own means: no eBPF, no kprobes.

A source says before it starts what it can't see here (`can_run`), counts what it lost, and leaves nothing behind:
sockets and the mount of tracefs end with the process; a trace instance whose process was killed is removed by the next.
"""
