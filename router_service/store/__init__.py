"""The only place with SQL. One file per noun; statements in `queries/`, one per file."""
