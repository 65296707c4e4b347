"""pytest plugin: a simulated beamline for tests of your own plans."""
