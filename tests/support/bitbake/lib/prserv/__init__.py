"""Stand-in for BitBake's PR service, which the wheel lacks and no test uses."""
