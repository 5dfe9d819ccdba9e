"""The REST contract, tried with what its own OpenAPI allows and what it doesn't (schemathesis)."""

from __future__ import annotations

import pytest

import lookalike

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis isn't installed")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from served import Site  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    path = tmp_path_factory.mktemp("contract") / "digits.lookalike"
    lookalike.build_index("mnist:test[0:60]", "hog", path)
    made = Site(path)
    yield made
    made.stop()


OFTEN = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: What can be asked; the test that lists them fails where a path is missing here.
PATHS = [
    "/api/search", "/api/search/upload", "/api/uploads", "/api/upload", "/api/encode", "/api/denoise", "/api/images",
    "/api/image", "/api/thumbnail", "/api/picture", "/api/original", "/api/download", "/api/info", "/api/files",
    "/api/reports", "/api/suggest", "/api/health", "/api/ready", "/metrics",

    "/api/explain", "/api/map", "/api/map/ids",
]  # fmt: skip


@pytest.fixture(scope="module")
def contract(site):
    return schemathesis.openapi.from_url(f"{site.url}/api/openapi.json")


def test_every_path_is_tried(contract):
    paths = {result.ok().path for result in contract.get_all_operations()}
    assert set(PATHS) <= paths
    assert paths - set(PATHS) <= {"/api/events"}  # the answer of events never ends


@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_asked_the_answer_is_as_documented(contract, path):
    for operation in contract[path].values():

        @given(case=operation.as_strategy())
        @OFTEN
        def ask(case):
            # That a well-formed request is accepted can't be asked for: ids, crops and filters must also be there.
            case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=60)

        ask()


GOOD = [
    ("/api/search", "POST", {"body": {"images": [{"id": "3"}], "k": 3}}),
    ("/api/search", "POST", {"body": {"likes": ["3"], "dislikes": ["4"], "group": 0.1, "offset": 2}}),
    ("/api/search", "POST", {"body": {"where": "width = 28"}}),
    ("/api/search", "POST", {"body": {"images": [{"id": "3"}], "within": 0}}),
    ("/api/encode", "POST", {"body": {"image": {"id": "3", "crop": [2, 2, 20, 20]}}}),
    ("/api/denoise", "POST", {"body": {"image": {"id": "3"}, "k": 2}}),
    ("/api/download", "POST", {"body": {"ids": ["3"]}}),
    *((f"/api/{name}", "GET", {"query": {"id": "3"}}) for name in ("image", "thumbnail", "picture", "original")),
]


@pytest.mark.parametrize(("path", "method", "asked"), GOOD)
def test_a_good_request_is_answered_as_documented(contract, path, method, asked):
    more = {"media_type": "application/json"} if method == "POST" else {}
    response = contract[path][method].Case(**asked, **more).call_and_validate(timeout=60)
    assert response.status_code == 200
