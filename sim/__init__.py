"""The beamline without hardware: one caproto IOC a file, all on one physical state."""
