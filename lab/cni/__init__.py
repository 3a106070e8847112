"""CNI as a container runtime does it: networks' configurations, and plugins called as the specification says."""
