"""A judge made up for tests, so that none goes by what the real one learnt from collections with labels."""

from __future__ import annotations

from lookalike.selection.judge import AIMS, SCORES

#: What it says with a verdict.
EVIDENCE = {
    "collections": 21,
    "cases": 21,
    "within .02": 16,
    "greatest loss": 0.05,
    "mean gain": 0.03,
    "least gain": -0.02,
}


def made_up(spread=0.01, **effects):
    """Return a judge's coefficients: effects by name under ``P1`` and ``mAP``, and no figure counts."""
    by_score = {score: effects.get(score.replace("@", ""), {}) for score in SCORES}
    spreads = {"same encoder": spread, "known encoder": 2 * spread, "unknown encoder": 3 * spread}
    return {
        "scores": {score: {"figures": {}, "effects": by_score[score], "spread": spreads} for score in SCORES},
        "evidence": {of: {aim: dict(EVIDENCE) for aim in AIMS} for of in ("compare", "adapt")},
    }


def judging(monkeypatch, spread=0.01, **effects):
    """Let the judge be a made-up one, as of :func:`made_up`; return its coefficients, which may be changed."""
    made = made_up(spread, **effects)
    monkeypatch.setattr("lookalike.selection.judge.learnt", lambda: made)
    return made
