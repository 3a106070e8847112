"""NetworkPolicies as the API has them, held against what the nodes' kernels do."""
