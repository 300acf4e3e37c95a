"""The whole batch at once: which job goes to which model, under quality, limits, deadline and budget. Pure."""
