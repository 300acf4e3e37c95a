"""Pure rules of a job: its states, its ids, what it asks for."""
