"""The command line: each command parses, wires parts together, calls one verb, prints one result."""
