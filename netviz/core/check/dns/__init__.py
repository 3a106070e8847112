"""Whom pods ask for names by their resolv.conf, held against the cluster's DNS service."""
