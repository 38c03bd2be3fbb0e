"""How fast purifiers are, engine by engine, beside what a user would take instead."""
