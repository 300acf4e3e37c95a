"""The only place with Redis rules: slots, rates and pauses, one Lua file per atomic action."""
