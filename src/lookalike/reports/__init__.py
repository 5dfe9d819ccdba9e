"""Scores, figures and pages for people."""
