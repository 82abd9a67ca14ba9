"""Neighbours: one file for each program that uses published likelihoods."""
