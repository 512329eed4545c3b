"""Tests of C{qmon fleet}: C{fakes.py} has the fleet in memory that they talk to."""
