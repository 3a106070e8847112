"""What a trace's steps mean in Kubernetes' terms, laid over the kernel's facts.

`overlay.py` goes over a finished trace; each other file recognises one program's chains, sets and
devices, and gives a phrase for what a step shows of them, or "".
"""
