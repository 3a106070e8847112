"""Routing: rules, tables, nexthops, source addresses, what refuses a packet, ICMP errors."""
