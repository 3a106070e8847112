"""Routing: rules, tables, nexthops, source addresses, the way back."""
