"""What several tests need: catalogs, jobs on their way, servers to call. None of it stands in for code of ours."""
