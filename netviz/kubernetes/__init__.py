"""What the Kubernetes API has, held beside the nodes' state: services, workloads, namespaces, as JSON for the page."""
