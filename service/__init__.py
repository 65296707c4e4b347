"""Processes: sockets, threads, clocks, files, the page, the PVs and the command line."""
