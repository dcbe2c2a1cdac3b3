"""Tests of the precision of weights."""
