"""Ophyd classes of the beamline, one device a file; PV names come as arguments only."""
