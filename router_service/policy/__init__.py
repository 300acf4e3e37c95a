"""What follows an outcome. Decides, never acts."""
