"""Settings of schemathesis that its configuration can't express: which of its findings are false alarms, and why.

Every check stays on. What is let pass is told by the check, the status and the code of the problem, as narrowly as can be.
"""

import atexit
import collections
import itertools
import json
import pathlib
import re

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData, ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario
from schemathesis.openapi.checks import RejectedPositiveData

# Refusals of well-formed values for what they mean, which no schema can tell: by pointer and code. Whatever else is refused of a request that
# the description allows (as malformed, too long, of a wrong type, unknown) is a finding.
MEANINGS = [
    (r"Merx-Min-Position", "out_of_range"),  # beyond the head of the log
    (r"\?(after|cursor)", "out_of_range"),  # likewise
    (r"\?cursor", "unknown_cursor"),  # of another list
    (r"\?(after|at)", "conflicting"),  # with another parameter
    (r"\?currency", "currency_required"),  # products have prices in several
    (r"\?(from|price_min)", "out_of_range"),  # greater than its counterpart
    (r"(?s)\?(facets|attributes\..*)", "unknown_value"),  # no product has such an attribute
    (r"/category|/parent", "unknown_category"),
    (r"/parent", "too_deep"),
    (r"/(items/\d+/)?sku", "unknown_product"),
    (r"/items/\d+/sku", "repeated"),  # with another quantity
    (r"/shipment", "unknown_shipment"),
    (r"/amount/amount", "invalid_amount"),  # 0, or more decimals than the currency has
    (r"/(amount|price)/currency", "currency_mismatch"),  # with the order, or the product
    (r"/price/amount", "price_not_lower"),
    (r"/ends_at", "invalid_window|sale_too_long"),
]
# The code of the problem, where it is not that values are wrong.
CODES = {
    "currency_required",
    "price_not_lower",
    "idempotency_key_reused",  # keys are few where they are made up
}

counter = itertools.count()

# Answers of each operation by their status, counted for the test that starts this.
answered = collections.defaultdict(collections.Counter)
atexit.register(lambda: pathlib.Path("answered.json").write_text(json.dumps(answered)))

# Addresses that mail can be sent to, which their format alone does not make.
schemathesis.openapi.format("idn-email", st.from_regex(r"[a-z]{1,8}(\.[a-z0-9]{1,8})?@[a-z]{1,8}\.example", fullmatch=True))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Lets most requests past what nothing that is made up gets past: a key that was used before, and a cursor that no page gave."""
    key = case.headers.get("Idempotency-Key")
    if key is not None and re.fullmatch("[!-~]{1,8}", key) and next(counter) % 16:
        case.headers["Idempotency-Key"] = f"{key}-{next(counter)}"
    if case.meta is None or not case.meta.generation.mode.is_positive or not case.query:
        return
    if next(counter) % 16:
        case.query.pop("cursor", None)
    if "wait" in case.query:
        # The log has events, so that this is answered at once.
        for name in ("after", "category", "cursor", "types"):
            case.query.pop(name, None)


@schemathesis.hook
def after_call(context, case, response):
    answered[f"{case.method.upper()} {case.operation.path}"][response.status_code] += 1


def is_about_meaning(problem):
    if problem["code"] != "invalid_request" and problem["code"] not in CODES:
        return False
    errors = [(error["pointer"], error["code"]) for error in problem.get("errors", [])]
    return all(any(re.fullmatch(at, pointer) and re.fullmatch(known, code) for at, known in MEANINGS) for pointer, code in errors)


def is_only_about_an_unknown_header(case):
    """Headers that are not described may always be sent (RFC 9110, 5.1). The tool knows that, but not where another header is an integer."""
    what = case.meta.phase.data
    is_unknown = isinstance(what, CoveragePhaseData) and what.scenario == CoverageScenario.OBJECT_UNEXPECTED_PROPERTIES
    return is_unknown and what.parameter_location == ParameterLocation.HEADER


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Tells what is a finding."""
    status = response.status_code
    if isinstance(failure, RejectedPositiveData):
        # 412: no tag that is made up names the version that there is.
        return status != 412 and not (status == 422 and is_about_meaning(response.json()))
    if isinstance(failure, AcceptedNegativeData):
        return not is_only_about_an_unknown_header(case)
    if isinstance(failure, ServerError):
        # What the server can't do now it says to try again: a read model lags, or the machine is busy with other tests. That it is rare is seen
        # by the test that counts the answers.
        return not (status == 503 and "Retry-After" in response.headers)
    return True
