"""What must hold in a pod network, judged from state alone, and what is wrong where it doesn't."""
