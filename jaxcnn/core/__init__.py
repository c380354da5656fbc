"""Pure functions: arrays in, arrays out. Nothing here reads a config, a file or a clock."""
