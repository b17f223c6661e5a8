"""The API against its own OpenAPI, by schemathesis: what it says is what it does, whatever is asked."""

import contextlib
import copy
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import checks

from alexnet import load
from alexnet.web.api import app_of
from alexnet.web.guards import Guard, own_names
from alexnet.web.served import Ready, served
from alexnet.web.similar import Similar
from tests.web.test_api import BAD, FILES

EXAMPLES = 12  # of each address
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
BODIES = [FILES[name] for name in ("photo.jpg", "clear.png", "photo.webp")] + [BAD["cut"][0], BAD["bomb"][0]]
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from(BODIES) | st.binary(max_size=64))


NAMES = {
    "layer": ["conv2", "fc3"],
    "run": ["run", "other"],
    "unit": [0, 3],
    "row": [0, 48],
    "place": [0, 5],
}  # that there are


@pytest.fixture(scope="module")
def schema(run, other, dataset, index) -> Iterator:
    """What the server says of itself, with the server in this process behind it; and which names there are."""
    classifier = load(run)
    runs = [Ready(classifier, dataset, Similar(str(index), classifier)), Ready(load(other), dataset)]
    with served(runs) as content:
        app = app_of(content)
        said = copy.deepcopy(app.openapi())
        for operation in (operation for methods in said["paths"].values() for operation in methods.values()):
            for parameter in operation.get("parameters", []):
                if parameter["name"] in NAMES:
                    parameter["required"] |= "default" in parameter["schema"]  # fc7, which this net does not have
                    parameter["schema"] = {"enum": NAMES[parameter["name"]]}
        loaded = schemathesis.openapi.from_dict(said)
        loaded.app = Guard(app, own_names("testserver"))
        yield loaded


def statuses_of(operation, mode) -> set[int]:
    """The statuses of answers to requests that are as the OpenAPI says, or are not; each answer is checked."""
    statuses = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case):
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # nothing that could be wrong
        asked()
    return statuses


def test_every_answer_is_one_that_the_openapi_names(schema):
    statuses = {}
    for operation in (result.ok() for result in schema.get_all_operations()):
        statuses[operation.label] = {status for mode in MODES for status in statuses_of(operation, mode)}
    assert len(statuses) == 19, sorted(statuses)
    assert all(200 in codes for codes in statuses.values()), statuses
