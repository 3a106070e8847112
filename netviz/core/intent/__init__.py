"""What Kubernetes' objects ask of the network: endpoints wanted, and flows allowed."""
