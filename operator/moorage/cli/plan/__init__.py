"""`moorage plan`: what would happen if these files were applied now, found by the controller's own decisions."""
