"""Tests of the project itself: its rules, its documentation, its examples, its packages, its checks."""
