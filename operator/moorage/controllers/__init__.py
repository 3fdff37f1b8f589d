"""The reconcilers, one short module per kind: observe, decide, act, report."""
