"""What a query is answered with: a page of matches, and the sentences that say what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lookalike.search.calibration import PValue
from lookalike.search.engine import Match
from lookalike.search.request import Query
from lookalike.transforms.restorer import RestoredImages


@dataclass(frozen=True)
class Response:
    """A page of answers.

    Attributes
    ----------
    query : str
        What a person calls the query.
    matches : list of Match
        In their order; ranks count from the first page.
    total : int
        Images that pass the filter, the words and the threshold, folded or not.
    offset : int
        Answers on the pages before.
    next : int or None
        Offset of the next page, if there is one.
    gap_after : int or None
        The rank after which the answers are set apart from all others.
    nothing_like_it : bool
        Whether there seems to be nothing like the query here.
    message : str
        All that in a sentence.
    denoised : RestoredImages or None
        The images that were searched with in the place of the query's, where that was asked for.
    how : str
        Whether they were found by ``exact`` or ``approximate`` search.
    """

    query: str
    matches: list[Match]
    total: int
    offset: int
    next: int | None
    gap_after: int | None
    nothing_like_it: bool
    message: str
    denoised: RestoredImages | None = None
    how: str = "exact"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        denoised = {} if self.denoised is None else {"denoised": self.denoised.to_json()}
        return {
            "query": self.query,
            "search": self.how,
            "matches": [m.to_json() for m in self.matches],
            "total": self.total,
            "offset": self.offset,
            "next": self.next,
            "gap_after": self.gap_after,
            "nothing_like_it": self.nothing_like_it,
            "message": self.message,
            **denoised,
        }


def response_of(
    query: Query, matches: list[Match], total: int, answers: int, gap: int | None, nothing: bool, message: str
) -> Response:
    """Put a page together.

    Parameters
    ----------
    query : Query
        What was asked.
    matches : list of Match
        Of this page.
    total : int
        Images that pass.
    answers : int
        Answers there are, or at least one more than this page's end.
    gap : int or None
        The rank after which the first are set apart.
    nothing : bool
        Whether there seems to be nothing like the query.
    message : str
        What it means, without a full stop.

    Returns
    -------
    Response
    """
    end = query.offset + len(matches)
    if total and not matches:
        message = (
            f"No answer stands at offset {query.offset:,}, as there are {answers:,}; {message[0].lower()}{message[1:]}"
        )
    elif total and query.by_image and query.within is None and query.offset == 0 and answers < query.k:
        message += f"; these are all {answers:,} there are, of {query.k:,} asked for"
    return Response(
        query.title,
        matches,
        total,
        query.offset,
        end if matches and end < answers else None,
        gap,
        nothing,
        f"{message}.",
    )


#: Why no answers stand out from the rest: a gap was looked for, or can't be.
FADING = "No clear gap separates the first answers from the rest"
REORDERED = "Re-ranked answers are not checked for a gap"
UNTOLD = "Whether the first answers stand out can't be told here"
TOO_FEW = "There are too few images to tell whether some stand out"


def gap_message(gap: int | None, why_none: str, p_value: PValue | None, doubt: str) -> str:
    """Say whether the first answers are set apart from the rest.

    Parameters
    ----------
    gap : int or None
        The rank after which they are.
    why_none : str
        What is said where they aren't.
    p_value : PValue or None
        How rare such a distance is.
    doubt : str
        Why it can't be said that there is nothing like the query; empty where there is no doubt.

    Returns
    -------
    str
        Without a full stop.
    """
    if gap is None:
        rare = "" if p_value is None else f"; {p_value.clause('as close as the nearest')}"
        return f"{why_none}{rare}{doubt and f'; {doubt}'}"
    rare = "" if p_value is None else f"; {p_value.clause('this close')}"
    return f"The first {'answer stands' if gap == 1 else f'{gap:,} answers stand'} out from the rest{rare}"


def verified_message(count: int) -> str:
    """Say that a geometric check has found the query's own details.

    Parameters
    ----------
    count : int
        In how many answers.

    Returns
    -------
    str
        Without a full stop.
    """
    answers = "The first answer shows" if count == 1 else f"The first {count:,} answers show"
    return f"{answers} the query's own details in the same arrangement"


def title_of(query: Query) -> str:
    """Say by what words and filter a query selects.

    Parameters
    ----------
    query : Query
        Any.

    Returns
    -------
    str
        Empty where it has neither.
    """
    parts = [f"Words {query.words!r}"] if query.words else []
    parts += [f"filter {query.where!r}"] if query.where else []
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def none_message(query: Query) -> str:
    """Say that nothing passes, and what it would have to.

    Parameters
    ----------
    query : Query
        Any.

    Returns
    -------
    str
        Without a full stop.
    """
    within = [] if query.within is None else [f"within a distance of {query.within:g}"]
    why = ", ".join([part for part in (title_of(query), *within) if part])
    return f"{why[:1].upper()}{why[1:]}: no image" if why else "No image is left beside those that are disliked"
