"""What the controllers run on: keyed work queue, rate budgets, service connections, clock, metrics, logs, health."""
