"""Services as the API has them, held against what each node's rules do."""
