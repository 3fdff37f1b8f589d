"""Programs that run in the virtual environment of the OpenStack services, with this folder on their path."""
