"""GPU engine. Importing this package imports no CuPy; its modules do."""
