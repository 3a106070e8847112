"""The Kubernetes API's JSON, read straight into the records that netviz keeps: `api` is the way in."""
