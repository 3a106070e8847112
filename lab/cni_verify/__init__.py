"""Hold a CNI plugin to the specification and to the pod network's contract, on emulated nodes (`lab cni-verify`)."""
