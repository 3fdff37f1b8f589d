"""`moorage simulate`: a policy played against a recorded or written course of events."""
