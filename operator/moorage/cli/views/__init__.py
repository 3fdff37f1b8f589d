"""What the commands show, computed from objects without I/O: the same as JSON and on a terminal."""
